#include "ir/support/Hash.h"

#include "ir/support/MappedFile.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"

using namespace moec;

void Sha256::update(llvm::ArrayRef<uint8_t> bytes) { state.update(bytes); }

void Sha256::update(llvm::StringRef text) { state.update(text); }

void Sha256::updateU64(uint64_t value) {
  std::array<uint8_t, 8> bytes;
  llvm::support::endian::write64le(bytes.data(), value);
  state.update(llvm::ArrayRef<uint8_t>(bytes));
}

void Sha256::updateSized(llvm::StringRef text) {
  updateU64(text.size());
  update(text);
}

Digest Sha256::finish() { return state.final(); }

Digest moec::sha256(llvm::ArrayRef<uint8_t> bytes) {
  return llvm::SHA256::hash(bytes);
}

Digest moec::sha256(llvm::StringRef text) {
  return sha256(llvm::arrayRefFromStringRef(text));
}

llvm::Expected<Digest> moec::hashFile(llvm::StringRef path,
                                      ProgressFn progress) {
  auto file = MappedFile::open(path);
  if (!file)
    return file.takeError();
  return (*file)->digest(progress);
}

std::string moec::toHex(llvm::ArrayRef<uint8_t> bytes) {
  return llvm::toHex(bytes, /*LowerCase=*/true);
}

std::optional<Digest> moec::parseDigest(llvm::StringRef hex) {
  Digest digest;
  if (hex.size() != 2 * digest.size())
    return std::nullopt;
  for (size_t i = 0; i < digest.size(); ++i) {
    unsigned high = llvm::hexDigitValue(hex[2 * i]);
    unsigned low = llvm::hexDigitValue(hex[2 * i + 1]);
    if (high > 15 || low > 15)
      return std::nullopt;
    digest[i] = uint8_t(high << 4 | low);
  }
  return digest;
}
