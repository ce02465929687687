#include "frontend/tokenizer/PieceIndex.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"

using namespace moec;

PieceIndex::PieceIndex(llvm::ArrayRef<Piece> pieces) {
  ids.reserve(pieces.size());
  for (auto [id, piece] : llvm::enumerate(pieces))
    if (!piece.text.empty())
      ids.try_emplace(llvm::CachedHashStringRef(piece.text), int32_t(id));
}

int32_t PieceIndex::find(llvm::StringRef text) const {
  auto found = ids.find(llvm::CachedHashStringRef(text));
  return found == ids.end() ? -1 : found->second;
}

llvm::Expected<Merge>
PieceIndex::merge(llvm::StringRef left, llvm::StringRef right,
                  llvm::function_ref<ErrorBuilder()> fail) const {
  llvm::SmallString<64> joined(left);
  joined += right;
  int32_t ids[3];
  const llvm::StringRef texts[3] = {left, right, joined};
  for (auto [text, id] : llvm::zip(texts, ids)) {
    id = find(text);
    if (id < 0)
      return fail() << "expected a merge of two pieces of the vocabulary into "
                       "a third, got '"
                    << left << "' and '" << right << "', and '" << text
                    << "' is no piece";
  }
  return Merge{uint32_t(ids[0]), uint32_t(ids[1]), uint32_t(ids[2])};
}

llvm::Expected<Merge>
PieceIndex::merge(llvm::StringRef line,
                  llvm::function_ref<ErrorBuilder()> fail) const {
  auto [left, right] = line.split(' ');
  if (left.empty() || right.empty() || right.contains(' '))
    return fail() << "expected a merge as two pieces with a space between, "
                     "got '"
                  << line << "'";
  return merge(left, right, fail);
}
