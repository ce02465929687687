#include "frontend/tokenizer/SentencePieceLibrary.h"

#include "ir/support/Diagnostic.h"

#include <exception>
#include <sentencepiece_processor.h>

using namespace moec;

static llvm::Error load(sentencepiece::SentencePieceProcessor &processor,
                        llvm::StringRef bytes, llvm::StringRef name) {
  auto status = processor.LoadFromSerializedProto(
      std::string_view(bytes.data(), bytes.size()));
  if (status.ok())
    return llvm::Error::success();
  return error(Location::inFile(name.str()))
         << "expected a SentencePiece model, which the library refuses: "
         << status.ToString();
}

template <typename T, typename Body>
static llvm::Expected<T> guarded(llvm::StringRef name, Body body) {
  try {
    return body();
  } catch (const std::exception &failure) {
    return error(Location::inFile(name.str()))
           << "expected a SentencePiece model, but the library failed: "
           << failure.what();
  }
}

llvm::Expected<SentencePieceVocabulary>
moec::loadWithSentencePiece(llvm::StringRef bytes, llvm::StringRef name) {
  using Result = llvm::Expected<SentencePieceVocabulary>;
  return guarded<SentencePieceVocabulary>(name, [&]() -> Result {
    sentencepiece::SentencePieceProcessor processor;
    MOEC_TRY(load(processor, bytes, name));
    SentencePieceVocabulary vocabulary;
    for (int id = 0; id < processor.GetPieceSize(); ++id) {
      SentencePieceVocabulary::Entry entry;
      entry.text = processor.IdToPiece(id);
      entry.score = processor.GetScore(id);
      entry.isUnknown = processor.IsUnknown(id);
      entry.isControl = processor.IsControl(id);
      entry.isUnused = processor.IsUnused(id);
      entry.isByte = processor.IsByte(id);
      vocabulary.pieces.push_back(std::move(entry));
    }
    vocabulary.bos = processor.bos_id();
    vocabulary.eos = processor.eos_id();
    vocabulary.unknown = processor.unk_id();
    vocabulary.pad = processor.pad_id();
    return vocabulary;
  });
}

llvm::Expected<std::vector<int32_t>>
moec::encodeWithSentencePiece(llvm::StringRef model, llvm::StringRef text) {
  using Result = llvm::Expected<std::vector<int32_t>>;
  return guarded<std::vector<int32_t>>("model", [&]() -> Result {
    sentencepiece::SentencePieceProcessor processor;
    MOEC_TRY(load(processor, model, "model"));
    std::vector<int> ids;
    auto status =
        processor.Encode(std::string_view(text.data(), text.size()), &ids);
    if (!status.ok())
      return error() << "the library cannot encode: " << status.ToString();
    return std::vector<int32_t>(ids.begin(), ids.end());
  });
}
