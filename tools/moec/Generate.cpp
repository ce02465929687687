#include "tools/moec/Command.h"

#include "runtime/generate/Generate.h"
#include "runtime/text/Tokenizer.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Format.h"

using namespace moec;
using namespace moec::runtime;
namespace cl = llvm::cl;

static cl::SubCommand flags("generate", "continue a text");
static ModelFlags model(flags);
static RunFlags runFlags(flags);
static cl::opt<std::string> prompt("prompt", cl::value_desc("text"),
                                   cl::desc("the text to continue"),
                                   cl::sub(flags));
static cl::list<int32_t> promptIds("prompt-ids", cl::CommaSeparated,
                                   cl::value_desc("ids"),
                                   cl::desc("the prompt as token ids"),
                                   cl::sub(flags));
static cl::opt<bool> chat("chat",
                          cl::desc("put the prompt into the model's chat "
                                   "template as a user's message"),
                          cl::sub(flags));
static cl::opt<std::string> system_("system", cl::value_desc("text"),
                                    cl::desc("the system message of --chat"),
                                    cl::sub(flags));
static cl::opt<int64_t> maxTokens("max-tokens", cl::init(128),
                                  cl::value_desc("count"),
                                  cl::desc("most tokens to generate"),
                                  cl::sub(flags));
static cl::opt<double> temperature("temperature", cl::init(0),
                                   cl::desc("0 is greedy"), cl::sub(flags));
static cl::opt<unsigned> topK("sample-top-k", cl::init(0),
                              cl::desc("keep the k likeliest tokens"),
                              cl::sub(flags));
static cl::opt<double> topP("top-p", cl::init(1),
                            cl::desc("keep the likeliest of this probability"),
                            cl::sub(flags));
static cl::opt<double> minP("min-p", cl::init(0),
                            cl::desc("keep those of this share of the best"),
                            cl::sub(flags));
static cl::opt<double> penalty("repetition-penalty", cl::init(1),
                               cl::desc("1 changes nothing"), cl::sub(flags));
static cl::opt<uint64_t> seed("seed", cl::init(0), cl::desc("of the sampler"),
                              cl::sub(flags));
static cl::opt<bool> ignoreEnd("ignore-eos",
                               cl::desc("go on behind the end token"),
                               cl::sub(flags));
static cl::opt<bool> stats("stats", cl::desc("timings and expert load"),
                           cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));

static llvm::Expected<std::vector<int32_t>> encodePrompt(const Model &loaded) {
  if (promptIds.getNumOccurrences())
    return std::vector<int32_t>(promptIds.begin(), promptIds.end());
  const Tokenizer *tokenizer = loaded.tokenizer();
  if (!tokenizer)
    return error(Location::inFile(model.path))
           << "brings no tokenizer; give --tokenizer FILE, or --prompt-ids";
  if (!chat)
    return tokenizer->encode(prompt.getValue(), EncodeOptions());
  std::vector<ChatMessage> messages;
  if (!system_.empty())
    messages.push_back({"system", system_});
  messages.push_back({"user", prompt});
  ChatOptions chatOptions;
  chatOptions.addGenerationPrompt = true;
  MOEC_ASSIGN(std::string rendered,
              tokenizer->renderChat(messages, chatOptions));
  EncodeOptions options;
  options.addSpecial = false;
  options.parseSpecial = true;
  return tokenizer->encode(rendered, options);
}

static llvm::json::Object timingsJson(const Timings &t) {
  return llvm::json::Object{
      {"load_seconds", t.loadSeconds},
      {"first_token_seconds", t.firstTokenSeconds},
      {"prefill_seconds", t.prefillSeconds},
      {"decode_seconds", t.decodeSeconds},
      {"prompt_tokens_per_second", t.promptTokensPerSecond()},
      {"decode_tokens_per_second", t.decodeTokensPerSecond()}};
}

static llvm::Error run() {
  MOEC_ASSIGN(AnyModel opened, model.open());
  MOEC_ASSIGN(auto loaded, runFlags.load(std::move(opened)));
  MOEC_ASSIGN(std::vector<int32_t> ids, encodePrompt(*loaded));
  if (ids.empty())
    return error() << "the prompt has no tokens; give --prompt TEXT";
  if (int64_t(ids.size()) > loaded->context())
    return error() << "the prompt has " << ids.size()
                   << " tokens, but the model's context holds "
                   << loaded->context();
  MOEC_ASSIGN(auto session, Session::create(loaded));
  GenerateOptions options;
  options.maxTokens = maxTokens;
  options.ignoreEnd = ignoreEnd;
  options.sampler.temperature = temperature;
  options.sampler.topK = topK;
  options.sampler.topP = topP;
  options.sampler.minP = minP;
  options.sampler.repetitionPenalty = penalty;
  options.sampler.seed = seed;
  const Tokenizer *tokenizer = loaded->tokenizer();
  std::optional<StreamDecoder> stream;
  if (tokenizer && !json) {
    // A chat shows the answer alone; a continuation, the whole text.
    if (!chat)
      llvm::outs() << prompt;
    stream.emplace(*tokenizer);
  }
  MOEC_ASSIGN(GenerateResult result,
              generate(*session, ids, options, [&](int32_t id) {
                if (stream) {
                  llvm::outs() << stream->push(id);
                  llvm::outs().flush();
                }
                return !llvm::outs().has_error();
              }));
  if (json) {
    llvm::json::Object answer{{"prompt_ids", llvm::json::Array(ids)},
                              {"ids", llvm::json::Array(result.tokens)},
                              {"stop", stopReasonName(result.reason)},
                              {"timings", timingsJson(result.timings)}};
    if (tokenizer) {
      DecodeOptions decode;
      answer["text"] = tokenizer->decode(result.tokens, decode);
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
  const Timings &t = result.timings;
  llvm::outs() << "\n";
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
  table.print(llvm::outs());
  MOEC_ASSIGN(auto counters, session->expertCounters());
  if (counters.empty())
    return llvm::Error::success();
  llvm::outs() << "\n";
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
  load.print(llvm::outs());
  return llvm::Error::success();
}

const Command moec::kGenerateCommand = {&flags, run};
