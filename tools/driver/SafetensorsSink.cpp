#include "tools/driver/SafetensorsSink.h"

#include "ir/support/Parallel.h"

using namespace moec;

std::vector<SafetensorsLayout>
moec::safetensorsLayout(llvm::ArrayRef<ExportTensor> tensors) {
  std::vector<SafetensorsLayout> layout;
  for (const ExportTensor &tensor : tensors)
    layout.push_back({tensor.name, tensor.type, tensor.shape});
  return layout;
}

SafetensorsMetadata moec::safetensorsMetadata() {
  return {{"format", "pt"}, {"producer", "moec " MOEC_VERSION}};
}

llvm::Expected<SafetensorsSink> SafetensorsSink::create(
    llvm::StringRef folder, llvm::ArrayRef<ExportTensor> tensors,
    uint64_t maxShardBytes, llvm::StringRef identity, unsigned threads) {
  MOEC_ASSIGN(SafetensorsWriter writer,
              SafetensorsWriter::create(folder, safetensorsLayout(tensors),
                                        maxShardBytes, safetensorsMetadata(),
                                        identity,
                                        threads ? threads : defaultThreads()));
  return SafetensorsSink(std::move(writer));
}

uint64_t SafetensorsSink::bytes() const {
  uint64_t total = 0;
  for (const SafetensorsShard &shard : shards.shards())
    total += shard.fileBytes;
  return total;
}

llvm::Error moec::withResumeNote(llvm::Error err, llvm::StringRef temporary) {
  return withNote(std::move(err), Location::inFile(temporary.str()),
                  "what is written so far stays here; once the cause is gone, "
                  "the same command goes on with it");
}
