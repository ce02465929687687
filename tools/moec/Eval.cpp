#include "tools/moec/Command.h"

#include "ir/support/AtomicFile.h"
#include "ir/support/WholeFile.h"
#include "runtime/generate/Evaluate.h"
#include "runtime/text/Tokenizer.h"
#include "llvm/Support/Format.h"

using namespace moec;
using namespace moec::runtime;
namespace cl = llvm::cl;

static cl::SubCommand flags("eval", "perplexity of a text, or logits of ids");
static ModelFlags model(flags);
static RunFlags runFlags(flags);
static cl::opt<std::string>
    text("text", cl::value_desc("file"),
         cl::desc("text to predict; - is standard input"), cl::sub(flags));
static cl::alias alsoText("file", cl::aliasopt(text),
                          cl::desc("the same as --text"));
static NumberList<int32_t> ids("ids", AtLeast(0), cl::CommaSeparated,
                               cl::value_desc("ids"),
                               cl::desc("token ids to predict"),
                               cl::sub(flags));
static cl::opt<std::string>
    logits("logits", cl::value_desc("file.npy"),
           cl::desc("write float32 [tokens, vocabulary], and no perplexity"),
           cl::sub(flags));
static NumberFlag<int64_t>
    step("step", AtLeast(0), cl::init(0), cl::value_desc("tokens"),
         cl::desc("tokens of --ids a step (0: as many as fit; 1: decode)"),
         cl::sub(flags));
static NumberFlag<int64_t> window("window", AtLeast(0), cl::init(0),
                                  cl::value_desc("tokens"),
                                  cl::desc("tokens a window (0: the context)"),
                                  cl::sub(flags));
static NumberFlag<int64_t> stride("stride", AtLeast(0), cl::init(0),
                                  cl::value_desc("tokens"),
                                  cl::desc("between windows (0: the window)"),
                                  cl::sub(flags));
static NumberFlag<int64_t> limit("max-tokens", AtLeast(0), cl::init(0),
                                 cl::value_desc("tokens"),
                                 cl::desc("use only the first tokens (0: all)"),
                                 cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));

/// NumPy's format, version 1.0: a header padded to 64 bytes, then the numbers.
static std::string npyHeader(int64_t rows, int64_t columns) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                       std::to_string(rows) + ", " + std::to_string(columns) +
                       "), }";
  size_t total = (10 + header.size() + 1 + 63) / 64 * 64;
  header.append(total - 10 - header.size() - 1, ' ');
  header += '\n';
  std::string magic("\x93NUMPY\x01\x00", 8);
  magic += char(header.size() & 0xff);
  magic += char(header.size() >> 8);
  return magic + header;
}

static llvm::Error writeLogits(Session &session,
                               llvm::ArrayRef<int32_t> tokens) {
  MOEC_ASSIGN(AtomicFile file, AtomicFile::create(logits));
  MOEC_TRY(file.append(npyHeader(tokens.size(), session.model().vocabulary())));
  MOEC_TRY(forEachLogits(
      session, tokens,
      [&](int64_t, llvm::ArrayRef<float> rows) {
        return file.append(llvm::ArrayRef(
            reinterpret_cast<const uint8_t *>(rows.data()), rows.size() * 4));
      },
      step));
  return file.commit();
}

static llvm::Expected<std::vector<int32_t>>
readTokens(const Model &loaded, llvm::StringRef content) {
  if (ids.getNumOccurrences())
    return std::vector<int32_t>(ids.begin(), ids.end());
  if (!loaded.tokenizer())
    return error(Location::inFile(model.path))
           << "brings no tokenizer; give --tokenizer FILE, or --ids";
  return loaded.tokenizer()->encode(content, EncodeOptions());
}

static llvm::Error checkFlags() {
  auto fail = [](const char *problem) {
    return llvm::make_error<UsageError>(problem);
  };
  if (bool(ids.getNumOccurrences()) == bool(text.getNumOccurrences()))
    return fail("give either --text FILE or --ids 1,2,3");
  if (!logits.empty() &&
      (window.getNumOccurrences() || stride.getNumOccurrences()))
    return fail("--window and --stride are the perplexity's, --logits asks for "
                "none");
  if (logits.empty() && step.getNumOccurrences())
    return fail("--step goes with --logits");
  if (json && !logits.empty())
    return fail("--json is the perplexity's, --logits asks for none");
  return llvm::Error::success();
}

static llvm::Error run() {
  MOEC_TRY(checkFlags());
  std::string content;
  if (text.getNumOccurrences()) {
    MOEC_ASSIGN(content, readWholeFile(text));
  }
  MOEC_ASSIGN(AnyModel opened, model.open({{{logits}}, {text}}));
  MOEC_ASSIGN(auto loaded, runFlags.load(std::move(opened)));
  MOEC_ASSIGN(std::vector<int32_t> tokens, readTokens(*loaded, content));
  if (limit && int64_t(tokens.size()) > limit)
    tokens.resize(limit);
  MOEC_ASSIGN(auto session, Session::create(loaded));
  if (!logits.empty())
    return writeLogits(*session, tokens);
  if (tokens.size() < 2)
    return error() << "a text of " << tokens.size()
                   << " tokens predicts nothing; expects 2 or more";
  EvaluationOptions options;
  options.window = window;
  options.stride = stride;
  Evaluation result;
  {
    Progress progress("evaluating");
    MOEC_ASSIGN(result, evaluate(*session, tokens, options,
                                 [&](int64_t done, int64_t all) {
                                   progress.update(done, all);
                                 }));
  }
  if (json) {
    printJson(llvm::json::Object{{"tokens", result.tokens},
                                 {"nll", result.nll},
                                 {"mean_nll", result.nll / result.tokens},
                                 {"perplexity", result.perplexity()},
                                 {"seconds", result.seconds}});
    return llvm::Error::success();
  }
  llvm::outs() << llvm::format("perplexity %.4f", result.perplexity())
               << " (mean negative log-likelihood "
               << llvm::format("%.4f", result.nll / result.tokens)
               << " nats over " << formatCount(result.tokens) << " tokens, "
               << formatSeconds(result.seconds) << ")\n";
  return llvm::Error::success();
}

const Command moec::kEvalCommand = {&flags, run};
