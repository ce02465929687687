#include "tools/moec/Command.h"

#include "frontend/llama2c/Llama2c.h"
#include "frontend/tokenizer/ImportTokenizer.h"
#include "ir/binary/Binary.h"
#include "ir/support/Escape.h"
#include "ir/support/MappedFile.h"
#include "ir/support/WholeFile.h"
#include "runtime/program/Plan.h"
#include "runtime/schema/plan_generated.h"
#include "runtime/text/Tokenizer.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("tokenize", "show the tokens of a text");
static cl::opt<std::string> path(cl::Positional, cl::Required,
                                 cl::desc("MODEL or tokenizer"),
                                 cl::sub(flags));
static cl::opt<std::string> text("text", cl::value_desc("text"),
                                 cl::desc("the text"), cl::sub(flags));
static cl::opt<std::string> textFile("file", cl::value_desc("file"),
                                     cl::desc("read the text from here; - is "
                                              "standard input"),
                                     cl::sub(flags));
static cl::opt<std::string> tokenizerPath("tokenizer", cl::value_desc("path"),
                                          cl::desc("tokenizer file or folder, "
                                                   "for a model without one"),
                                          cl::sub(flags));
static cl::opt<bool> noSpecial("no-special",
                               cl::desc("add no begin or end token"),
                               cl::sub(flags));
static cl::opt<bool> json("json", cl::desc("answer as JSON"), cl::sub(flags));

/// Whether a file is a model that a tokenizer may be part of, by its contents.
static llvm::Expected<bool> holdsModel(llvm::StringRef file) {
  // A folder that moec wrote holds its module.
  if (llvm::sys::fs::is_directory(file))
    return llvm::sys::fs::exists(file + "/module.moe");
  if (file.ends_with(".moe"))
    return true;
  MOEC_ASSIGN(auto mapped, MappedFile::open(file));
  if (isLlama2c(mapped->bytes(), mapped->size()))
    return error(Location::inFile(file.str()))
           << "is a llama2.c checkpoint, which brings no tokenizer; give "
              "--tokenizer FILE";
  llvm::StringRef bytes = llvm::toStringRef(mapped->bytes());
  return bytes.starts_with("GGUF") || looksLikeBinary(bytes) ||
         runtime::looksLikePlan(mapped->bytes());
}

static llvm::Expected<std::unique_ptr<Tokenizer>> openTokenizer() {
  std::string file = tokenizerPath.empty() ? path : tokenizerPath;
  if (std::error_code problem = llvm::sys::fs::access(
          path.getValue(), llvm::sys::fs::AccessMode::Exist))
    return error(Location::inFile(path))
           << "cannot open the file: " << problem.message();
  bool isModel = false;
  if (tokenizerPath.empty()) {
    MOEC_ASSIGN(isModel, holdsModel(file));
  }
  if (isModel) {
    MOEC_ASSIGN(AnyModel model, openAnyModel(file));
    llvm::StringRef blob;
    if (model.plan) {
      if (auto *bytes = (*model.plan)->tokenizer())
        blob = {reinterpret_cast<const char *>(bytes->data()), bytes->size()};
    } else if (model.module) {
      blob = model.module->assets["tokenizer"];
    }
    if (blob.empty())
      return error(Location::inFile(file)) << "holds no tokenizer";
    return Tokenizer::load(blob, file);
  }
  MOEC_ASSIGN(TokenizerAsset asset, importTokenizer(file));
  return Tokenizer::create(std::move(asset), file);
}

static llvm::Expected<std::string> readText() {
  if (bool(text.getNumOccurrences()) == bool(textFile.getNumOccurrences()))
    return llvm::make_error<UsageError>(
        "give either --text TEXT or --file FILE");
  if (text.getNumOccurrences())
    return text.getValue();
  return readWholeFile(textFile);
}

static llvm::Error run() {
  MOEC_ASSIGN(std::string input, readText());
  MOEC_ASSIGN(std::unique_ptr<Tokenizer> tokenizer, openTokenizer());
  EncodeOptions options;
  options.addSpecial = !noSpecial;
  MOEC_ASSIGN(std::vector<int32_t> ids, tokenizer->encode(input, options));
  if (json) {
    llvm::json::Array pieces;
    for (int32_t id : ids)
      // A piece of bytes may be no text.
      pieces.push_back(toUtf8(tokenizer->idToPiece(id)));
    printJson(llvm::json::Object{{"ids", llvm::json::Array(ids)},
                                 {"pieces", std::move(pieces)}});
    return llvm::Error::success();
  }
  Table table({"id", "piece"});
  for (int32_t id : ids)
    table.addRow({std::to_string(id), tokenizer->idToPiece(id).str()});
  table.print(llvm::outs());
  return llvm::Error::success();
}

const Command moec::kTokenizeCommand = {&flags, run};
