#include "tools/moec/Command.h"

#include "ir/support/AtomicFile.h"
#include "runtime/generate/Evaluate.h"
#include "runtime/text/Tokenizer.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace moec;
using namespace moec::runtime;
namespace cl = llvm::cl;

static cl::SubCommand flags("eval", "perplexity of a text, or logits of ids");
static ModelFlags model(flags);
static RunFlags runFlags(flags);
static cl::opt<std::string> text("text", cl::value_desc("file"),
                                 cl::desc("text to predict"), cl::sub(flags));
static cl::list<int32_t> ids("ids", cl::CommaSeparated, cl::value_desc("ids"),
                             cl::desc("token ids to predict"), cl::sub(flags));
static cl::opt<std::string>
    logits("logits", cl::value_desc("file.npy"),
           cl::desc("write float32 [tokens, vocabulary] of --ids"),
           cl::sub(flags));
static cl::opt<int64_t>
    step("step", cl::init(0), cl::value_desc("tokens"),
         cl::desc("tokens of --ids a step (0: as many as fit; 1: decode)"),
         cl::sub(flags));
static cl::opt<int64_t> window("window", cl::init(0), cl::value_desc("tokens"),
                               cl::desc("tokens a window (0: the context)"),
                               cl::sub(flags));
static cl::opt<int64_t> stride("stride", cl::init(0), cl::value_desc("tokens"),
                               cl::desc("between windows (0: the window)"),
                               cl::sub(flags));
static cl::opt<int64_t> limit("max-tokens", cl::init(0),
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

static llvm::Expected<std::vector<int32_t>> readTokens(const Model &loaded) {
  if (ids.getNumOccurrences())
    return std::vector<int32_t>(ids.begin(), ids.end());
  if (text.empty())
    return error() << "nothing to evaluate; give --text FILE or --ids 1,2,3";
  if (!loaded.tokenizer())
    return error(Location::inFile(model.path))
           << "brings no tokenizer; give --tokenizer FILE, or --ids";
  auto buffer = llvm::MemoryBuffer::getFile(text);
  if (!buffer)
    return error(Location::inFile(text))
           << "cannot be read: " << buffer.getError().message();
  return loaded.tokenizer()->encode((*buffer)->getBuffer(), EncodeOptions());
}

static llvm::Error run() {
  MOEC_ASSIGN(AnyModel opened, model.open());
  MOEC_ASSIGN(auto loaded, runFlags.load(std::move(opened)));
  MOEC_ASSIGN(std::vector<int32_t> tokens, readTokens(*loaded));
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
  Progress progress("evaluating");
  MOEC_ASSIGN(Evaluation result, evaluate(*session, tokens, options,
                                          [&](int64_t done, int64_t all) {
                                            progress.update(done, all);
                                          }));
  if (json) {
    printJson(llvm::json::Object{{"tokens", result.tokens},
                                 {"nll", result.nll},
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
