#include "tools/driver/Lineage.h"

#include "ir/support/Hash.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace moec;

/// A card's head is a page at most.
static constexpr uint64_t kHeadBytes = 1 << 16;

std::string moec::licenceOf(llvm::StringRef modelPath) {
  llvm::SmallString<256> path(modelPath);
  llvm::sys::path::append(path, "README.md");
  auto file = llvm::MemoryBuffer::getFile(path);
  if (!file)
    return "";
  llvm::StringRef text = (*file)->getBuffer().take_front(kHeadBytes);
  if (!text.consume_front("---\n"))
    return "";
  while (!text.empty()) {
    auto [line, rest] = text.split('\n');
    text = rest;
    if (line.rtrim() == "---")
      return "";
    if (line.consume_front("license:"))
      return line.trim(" \t\r\"'").str();
  }
  return "";
}

std::string moec::sourceDigest(llvm::ArrayRef<std::string> digests) {
  if (digests.size() == 1)
    return digests[0];
  std::string lines;
  for (const std::string &digest : digests)
    lines += digest + "\n";
  return toHex(sha256(llvm::StringRef(lines)));
}

std::string moec::lastPart(llvm::StringRef path) {
  return llvm::sys::path::filename(path.rtrim('/')).str();
}
