#include "frontend/checkpoint/Checkpoint.h"

#include "ir/support/QuantizedBlocks.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/Path.h"

#include <cassert>

using namespace moec;

llvm::StringRef moec::formatName(CheckpointFormat format) {
  switch (format) {
  case CheckpointFormat::huggingFace:
    return "hf";
  case CheckpointFormat::gguf:
    return "gguf";
  case CheckpointFormat::llama2c:
    return "llama2c";
  }
  llvm_unreachable("all formats are listed");
}

unsigned Checkpoint::addFile(std::shared_ptr<const MappedFile> file) {
  mappedFiles.push_back(std::move(file));
  return unsigned(mappedFiles.size() - 1);
}

bool Checkpoint::addTensor(CheckpointTensor tensor) {
  assert(tensor.byteOffset <= mappedFiles[tensor.file]->size() &&
         tensor.byteSize <=
             mappedFiles[tensor.file]->size() - tensor.byteOffset &&
         "readers check that a tensor lies inside its file");
  if (!byName.try_emplace(tensor.name, allTensors.size()).second)
    return false;
  allTensors.push_back(std::move(tensor));
  return true;
}

bool Checkpoint::addAlias(llvm::StringRef name, llvm::StringRef stored) {
  auto it = byName.find(stored);
  return it != byName.end() && byName.try_emplace(name, it->second).second;
}

const CheckpointTensor *Checkpoint::find(llvm::StringRef name) const {
  auto it = byName.find(name);
  return it == byName.end() ? nullptr : &allTensors[it->second];
}

Location Checkpoint::locationOf(const CheckpointTensor &tensor) const {
  Location loc = Location::atByte(filePath(tensor), int64_t(tensor.byteOffset));
  loc.object = "tensor '" + tensor.name + "'";
  return loc;
}

void Checkpoint::readF32(const CheckpointTensor &tensor, uint64_t first,
                         llvm::MutableArrayRef<float> out) const {
  decodeRangeToF32(tensor.type, bytes(tensor), first, out);
}

void Checkpoint::dropPages(const CheckpointTensor &tensor) const {
  mappedFiles[tensor.file]->dropPages(tensor.byteOffset, tensor.byteSize);
}

llvm::Expected<Digest> Checkpoint::digest(ProgressFn progress) const {
  uint64_t totalBytes = 0, doneBytes = 0;
  for (const auto &file : mappedFiles)
    totalBytes += file->size();
  Sha256 hash;
  hash.updateSized(config.text());
  for (const auto &file : mappedFiles) {
    auto digest = file->digest([&](uint64_t done, uint64_t) {
      if (progress)
        progress(doneBytes + done, totalBytes);
    });
    if (!digest)
      return digest.takeError();
    doneBytes += file->size();
    hash.updateSized(llvm::sys::path::filename(file->path()));
    hash.update(llvm::ArrayRef<uint8_t>(*digest));
  }
  return hash.finish();
}
