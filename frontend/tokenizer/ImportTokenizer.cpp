#include "frontend/tokenizer/ImportTokenizer.h"

#include "frontend/tokenizer/Companions.h"
#include "frontend/tokenizer/TokenizerJson.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace moec;

/// Larger than any tokenizer; a model's weights given by mistake are refused
/// before they are read.
static constexpr uint64_t kMaxFileBytes = 256u << 20;

static std::string sibling(llvm::StringRef folder, llvm::StringRef name) {
  llvm::SmallString<256> path(folder);
  llvm::sys::path::append(path, name);
  return std::string(path);
}

static llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>>
readFile(llvm::StringRef path) {
  Location loc = Location::inFile(path.str());
  uint64_t bytes = 0;
  if (std::error_code failure = llvm::sys::fs::file_size(path, bytes))
    return error(loc) << "cannot be read: " << failure.message();
  if (bytes > kMaxFileBytes)
    return error(loc) << "expected a tokenizer of at most " << kMaxFileBytes
                      << " bytes, got " << bytes;
  auto buffer = llvm::MemoryBuffer::getFile(path);
  if (!buffer)
    return error(loc) << "cannot be read: " << buffer.getError().message();
  return std::move(*buffer);
}

static llvm::Expected<TokenizerAsset> importPair(llvm::StringRef folder,
                                                 const JsonDocument &doc) {
  std::string mergesPath = sibling(folder, "merges.txt");
  MOEC_ASSIGN(auto merges, readFile(mergesPath));
  return importGpt2Files(doc, merges->getBuffer(), mergesPath);
}

static llvm::Expected<TokenizerAsset> importFile(llvm::StringRef path) {
  MOEC_ASSIGN(auto file, readFile(path));
  llvm::StringRef bytes = file->getBuffer();
  llvm::StringRef folder = llvm::sys::path::parent_path(path);
  if (bytes.starts_with("MOECTOK"))
    return deserializeTokenizer(bytes, path);
  if (bytes.ltrim().starts_with("{")) {
    MOEC_ASSIGN(auto doc, JsonDocument::parse(bytes.str(), path));
    // A vocabulary may have pieces of any name, but their values are ids.
    const JsonValue *model = doc->root().find("model");
    const JsonValue *version = doc->root().find("version");
    bool isWhole =
        (model && !model->isNumber()) || (version && !version->isNumber());
    MOEC_ASSIGN(TokenizerAsset asset,
                isWhole ? importTokenizerJson(*doc) : importPair(folder, *doc));
    MOEC_TRY(readCompanions(folder, /*fromModelFile=*/!isWhole, asset));
    return asset;
  }
  if (llvm::sys::path::filename(path) == "merges.txt") {
    MOEC_ASSIGN(auto doc, JsonDocument::load(sibling(folder, "vocab.json")));
    MOEC_ASSIGN(TokenizerAsset asset, importPair(folder, *doc));
    MOEC_TRY(readCompanions(folder, /*fromModelFile=*/true, asset));
    return asset;
  }
  // A SentencePiece model starts with the field of its first piece and that
  // piece's length; llama2.c's file with a small number of four bytes.
  if (bytes.size() > 1 && bytes[0] == '\n' && bytes[1] != 0) {
    MOEC_ASSIGN(TokenizerAsset asset, importSentencePiece(bytes, path));
    MOEC_TRY(readCompanions(folder, /*fromModelFile=*/true, asset));
    return asset;
  }
  if (bytes.size() > 4 && bytes[2] == 0 && bytes[3] == 0)
    return importLlama2cTokenizer(bytes, path);
  return error(Location::inFile(path.str()))
         << "expected a tokenizer: tokenizer.json, vocab.json with merges.txt, "
            "a SentencePiece model, llama2.c's tokenizer.bin or a stored asset";
}

llvm::Expected<TokenizerAsset> moec::importTokenizer(llvm::StringRef path) {
  if (!llvm::sys::fs::is_directory(path))
    return importFile(path);
  for (const char *name :
       {"tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer.bin"}) {
    std::string candidate = sibling(path, name);
    if (llvm::sys::fs::exists(candidate))
      return importFile(candidate);
  }
  return error(Location::inFile(path.str()))
         << "expected a folder with tokenizer.json, tokenizer.model, "
            "vocab.json with merges.txt, or tokenizer.bin; found none of them";
}
