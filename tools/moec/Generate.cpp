#include "tools/moec/Command.h"

#include "ir/support/Escape.h"
#include "ir/support/WholeFile.h"
#include "runtime/generate/Generate.h"
#include "runtime/text/Tokenizer.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"

#include <ctime>

using namespace moec;
using namespace moec::runtime;
namespace cl = llvm::cl;

static cl::SubCommand flags("generate", "continue a text");
static ModelFlags model(flags);
static RunFlags runFlags(flags);
static cl::opt<std::string> prompt("prompt", cl::value_desc("text"),
                                   cl::desc("the text to continue"),
                                   cl::sub(flags));
static cl::opt<std::string>
    promptFile("file", cl::value_desc("file"),
               cl::desc("the prompt from a file; - is standard input"),
               cl::sub(flags));
static NumberList<int32_t> promptIds("prompt-ids", AtLeast(0),
                                     cl::CommaSeparated, cl::value_desc("ids"),
                                     cl::desc("the prompt as token ids"),
                                     cl::sub(flags));
static cl::opt<bool> chat("chat",
                          cl::desc("put the prompt into the model's chat "
                                   "template as a user's message"),
                          cl::sub(flags));
static cl::opt<std::string> system_("system", cl::value_desc("text"),
                                    cl::desc("the system message of --chat"),
                                    cl::sub(flags));
static NumberFlag<int64_t> maxTokens("max-tokens", AtLeast(0), cl::init(128),
                                     cl::value_desc("count"),
                                     cl::desc("most tokens to generate (128)"),
                                     cl::sub(flags));
static cl::OptionCategory sampling("sampling");
static NumberFlag<double>
    temperature("temperature", cl::init(0), cl::value_desc("number"),
                cl::desc("0 takes the likeliest token (0)"), cl::cat(sampling),
                cl::sub(flags));
static NumberFlag<uint32_t>
    topK("top-k", cl::init(0), cl::value_desc("count"),
         cl::desc("keep the k likeliest tokens (0: all)"), cl::cat(sampling),
         cl::sub(flags));
static cl::alias oldTopK("sample-top-k", cl::aliasopt(topK), cl::Hidden);
static NumberFlag<double>
    topP("top-p", cl::init(1), cl::value_desc("number"),
         cl::desc("keep the likeliest of this probability together (1)"),
         cl::cat(sampling), cl::sub(flags));
static NumberFlag<double>
    minP("min-p", cl::init(0), cl::value_desc("number"),
         cl::desc("keep those of this share of the likeliest's probability "
                  "(0)"),
         cl::cat(sampling), cl::sub(flags));
static NumberFlag<double>
    penalty("repetition-penalty", cl::init(1), cl::value_desc("number"),
            cl::desc("divides the logits of tokens that were there (1)"),
            cl::cat(sampling), cl::sub(flags));
static NumberFlag<uint64_t> seed("seed", cl::init(0), cl::value_desc("count"),
                                 cl::desc("of the sampler (0)"),
                                 cl::cat(sampling), cl::sub(flags));
static cl::opt<bool> ignoreEnd("ignore-eos",
                               cl::desc("go on behind the end token"),
                               cl::sub(flags));
static cl::opt<bool> stats("stats",
                           cl::desc("timings and expert load below the text"),
                           cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));

/// Flags that contradict each other, before anything is loaded.
static llvm::Error checkFlags(const SamplerOptions &sampler) {
  auto fail = [](const char *problem) {
    return llvm::make_error<UsageError>(problem);
  };
  int prompts = bool(prompt.getNumOccurrences()) +
                bool(promptFile.getNumOccurrences()) +
                bool(promptIds.getNumOccurrences());
  if (prompts > 1)
    return fail("give one of --prompt, --file and --prompt-ids");
  if (chat && promptIds.getNumOccurrences())
    return fail("--chat wants a text, --prompt-ids has none");
  if (system_.getNumOccurrences() && !chat)
    return fail("--system goes with --chat");
  return Sampler::create(sampler).takeError();
}

/// As chat templates write it: `26 Jul 2024`.
static std::string today() {
  std::time_t now = std::time(nullptr);
  std::tm local = {};
  ::localtime_r(&now, &local);
  char text[32];
  return std::string(text,
                     std::strftime(text, sizeof(text), "%d %b %Y", &local));
}

static llvm::Expected<std::vector<int32_t>> encodePrompt(const Model &loaded,
                                                         llvm::StringRef text) {
  if (promptIds.getNumOccurrences())
    return std::vector<int32_t>(promptIds.begin(), promptIds.end());
  const Tokenizer *tokenizer = loaded.tokenizer();
  if (!tokenizer)
    return error(Location::inFile(model.path))
           << "brings no tokenizer; give --tokenizer FILE, or --prompt-ids";
  if (!chat)
    return tokenizer->encode(text, EncodeOptions());
  std::vector<ChatMessage> messages;
  if (system_.getNumOccurrences())
    messages.push_back({"system", system_});
  messages.push_back({"user", text.str()});
  ChatOptions chatOptions;
  chatOptions.addGenerationPrompt = true;
  if (tokenizer->asset().chat.asksDate())
    chatOptions.date = today();
  MOEC_ASSIGN(std::string rendered,
              tokenizer->renderChat(messages, chatOptions));
  EncodeOptions options;
  options.addSpecial = false;
  options.parseSpecial = true;
  return tokenizer->encode(rendered, options);
}

/// Decodes what follows the prompt, with the spaces that it has there. The
/// answer of a chat begins a text of its own.
static StreamDecoder decoderAfter(const Tokenizer &tokenizer,
                                  llvm::ArrayRef<int32_t> ids) {
  StreamDecoder stream(tokenizer);
  if (!chat)
    for (int32_t id : ids)
      stream.push(id);
  return stream;
}

static llvm::json::Object timingsJson(const Timings &t) {
  return llvm::json::Object{
      {"load_seconds", t.loadSeconds},
      {"first_token_seconds", t.firstTokenSeconds},
      {"prompt_tokens", t.promptTokens},
      {"decoded_tokens", t.decodedTokens},
      {"prefill_seconds", t.prefillSeconds},
      {"decode_seconds", t.decodeSeconds},
      {"prompt_tokens_per_second", t.promptTokensPerSecond()},
      {"decode_tokens_per_second", t.decodeTokensPerSecond()}};
}

/// How often each expert was chosen, by layer.
static void printLoad(llvm::ArrayRef<ExpertCounter> counters) {
  std::vector<std::string> header{"experts chosen"};
  for (size_t e = 0; e < counters[0].counts.size(); ++e)
    header.push_back("e" + std::to_string(e));
  Table load(header);
  for (auto &counter : counters) {
    std::vector<std::string> row{counter.name};
    for (int64_t count : counter.counts)
      row.push_back(std::to_string(count));
    load.addRow(std::move(row));
  }
  llvm::outs() << "\n";
  load.print(llvm::outs());
}

static void printStats(const GenerateResult &result) {
  const Timings &t = result.timings;
  Table table({"phase", "tokens", "time", "tokens/s"});
  auto rate = [](double value) {
    std::string text;
    llvm::raw_string_ostream(text) << llvm::format("%.1f", value);
    return text;
  };
  table.addRow({"load", "", formatSeconds(t.loadSeconds), ""});
  table.addRow({"prefill", std::to_string(t.promptTokens),
                formatSeconds(t.prefillSeconds),
                rate(t.promptTokensPerSecond())});
  table.addRow({"decode", std::to_string(t.decodedTokens),
                formatSeconds(t.decodeSeconds),
                rate(t.decodeTokensPerSecond())});
  llvm::outs() << "\n";
  table.print(llvm::outs());
  llvm::outs() << "\nstopped after " << result.tokens.size()
               << " tokens: " << stopReasonName(result.reason) << "\n";
}

static llvm::Error run() {
  GenerateOptions options;
  options.maxTokens = maxTokens;
  options.ignoreEnd = ignoreEnd;
  options.sampler.temperature = temperature;
  options.sampler.topK = topK;
  options.sampler.topP = topP;
  options.sampler.minP = minP;
  options.sampler.repetitionPenalty = penalty;
  options.sampler.seed = seed;
  MOEC_TRY(checkFlags(options.sampler));
  std::string text = prompt;
  if (promptFile.getNumOccurrences()) {
    MOEC_ASSIGN(text, readWholeFile(promptFile));
  }
  MOEC_ASSIGN(AnyModel opened, model.open());
  MOEC_ASSIGN(auto loaded, runFlags.load(std::move(opened)));
  MOEC_ASSIGN(std::vector<int32_t> ids, encodePrompt(*loaded, text));
  if (ids.empty())
    return error() << "the prompt has no tokens; give --prompt TEXT";
  if (int64_t(ids.size()) > loaded->context())
    return error() << "the prompt has " << ids.size()
                   << " tokens, but the model's context holds "
                   << loaded->context();
  MOEC_ASSIGN(auto session, Session::create(loaded));
  const Tokenizer *tokenizer = loaded->tokenizer();
  std::optional<StreamDecoder> stream;
  if (tokenizer && !json) {
    // A chat shows the answer alone; a continuation, the whole text.
    if (promptIds.getNumOccurrences())
      llvm::outs() << tokenizer->decode(ids);
    else if (!chat)
      llvm::outs() << text;
    stream.emplace(decoderAfter(*tokenizer, ids));
  }
  MOEC_ASSIGN(GenerateResult result,
              generate(*session, ids, options, [&](int32_t id) {
                if (stream) {
                  llvm::outs() << stream->push(id);
                  llvm::outs().flush();
                }
                return !llvm::outs().has_error();
              }));
  MOEC_ASSIGN(auto counters, session->expertCounters());
  if (json) {
    llvm::json::Object answer{{"prompt_ids", llvm::json::Array(ids)},
                              {"ids", llvm::json::Array(result.tokens)},
                              {"stop", stopReasonName(result.reason)},
                              {"timings", timingsJson(result.timings)}};
    if (tokenizer) {
      StreamDecoder after = decoderAfter(*tokenizer, ids);
      std::string decoded;
      for (int32_t id : result.tokens)
        decoded += after.push(id);
      answer["text"] = toUtf8(decoded + after.finish());
    }
    if (!counters.empty()) {
      llvm::json::Array load;
      for (auto &counter : counters)
        load.push_back(
            llvm::json::Object{{"name", toUtf8(counter.name)},
                               {"counts", llvm::json::Array(counter.counts)}});
      answer["expert_load"] = std::move(load);
    }
    printJson(std::move(answer));
    return llvm::Error::success();
  }
  if (stream)
    llvm::outs() << stream->finish();
  else
    llvm::interleaveComma(result.tokens, llvm::outs());
  llvm::outs() << "\n";
  if (!stats)
    return llvm::Error::success();
  printStats(result);
  if (!counters.empty())
    printLoad(counters);
  return llvm::Error::success();
}

const Command moec::kGenerateCommand = {&flags, run};
