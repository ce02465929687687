// A Hugging Face folder: its settings, shards and their index, and the files
// beside a tokenizer. A line `---- NAME` begins each file of the input.

#include "frontend/hf/HfDirectory.h"
#include "frontend/tokenizer/ImportTokenizer.h"
#include "tests/fuzz/ModelFuzz.h"
#include "tests/fuzz/TokenizerFuzz.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"

#include <fstream>
#include <string>
#include <vector>

using namespace moec;

static constexpr llvm::StringLiteral kNames[] = {
    "a.safetensors",           "b.safetensors",
    "chat_template.jinja",     "config.json",
    "generation_config.json",  "merges.txt",
    "model.safetensors",       "model.safetensors.index.json",
    "special_tokens_map.json", "tokenizer.json",
    "tokenizer_config.json",   "vocab.json",
};

namespace {
/// Of this process, removed at its end.
struct Folder {
  Folder() {
    llvm::SmallString<128> made;
    if (llvm::sys::fs::createUniqueDirectory("moec-fuzz", made))
      std::abort();
    path = made.str().str();
  }
  ~Folder() { (void)llvm::sys::fs::remove_directories(path); }
  std::string path;
};
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static const Folder folder;
  llvm::SmallVector<llvm::StringRef> parts;
  asText(bytes, size).split(parts, "---- ");
  std::vector<std::string> written;
  for (llvm::StringRef part : parts) {
    auto [name, contents] = part.split('\n');
    if (!llvm::is_contained(kNames, name))
      continue;
    written.push_back(folder.path + "/" + name.str());
    std::ofstream file(written.back(), std::ios::binary);
    file.write(contents.data(), std::streamsize(contents.size()));
  }
  useCheckpoint(openHfDirectory(folder.path));
  useTokenizer(importTokenizer(folder.path));
  for (const std::string &path : written)
    (void)llvm::sys::fs::remove(path);
  return 0;
}
