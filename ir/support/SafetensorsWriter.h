//===- SafetensorsWriter.h - streaming, sharded, resumable ----------------===//
//
// The layout is known first; the data then comes in any order and from any
// thread. Bytes depend on the layout and the data only.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/AtomicFile.h"
#include "ir/support/ElementType.h"
#include "ir/support/Hash.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace moec {

/// A tensor to be written.
struct SafetensorsLayout {
  std::string name;
  ElementType type = ElementType::f32;
  std::vector<int64_t> shape;
};

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

/// The tensors of one file, with their places.
struct SafetensorsShard {
  /// `model.safetensors`, or `model-00001-of-00003.safetensors`.
  std::string fileName;
  /// Length field and JSON.
  std::string header;
  /// Header and data.
  uint64_t fileBytes = 0;
  struct Tensor {
    /// Index into the layout that was given.
    size_t index = 0;
    /// From the start of the file.
    uint64_t byteOffset = 0;
    uint64_t byteSize = 0;
  };
  std::vector<Tensor> tensors;
};

/// Places tensors in files, in the order given: a new file starts where the
/// next tensor would bring the data above `maxShardBytes` (0: one file).
/// Tensors inside a file keep their order. Fails on duplicate names, types
/// that the format has not, and sizes that overflow.
llvm::Expected<std::vector<SafetensorsShard>>
layoutSafetensors(llvm::ArrayRef<SafetensorsLayout> tensors,
                  uint64_t maxShardBytes, const SafetensorsMetadata &metadata);

/// Writes the shards of one model into a directory, which its caller commits.
///
/// Resuming: `create` on a directory in which an earlier run was stopped reads
/// the journal `moec-journal.jsonl`. Its first line is a digest of `identity`
/// and the layout; if it differs, the output starts anew. Each further line
/// names a finished tensor and its digest, which is checked against the file;
/// what fails the check is written again.
class SafetensorsWriter {
public:
  /// `identity` says all that decides the bytes (recipe, seed, sources).
  static llvm::Expected<SafetensorsWriter>
  create(llvm::StringRef directory, llvm::ArrayRef<SafetensorsLayout> tensors,
         uint64_t maxShardBytes, const SafetensorsMetadata &metadata,
         llvm::StringRef identity, unsigned threads = 1);

  SafetensorsWriter(SafetensorsWriter &&);
  SafetensorsWriter &operator=(SafetensorsWriter &&);
  ~SafetensorsWriter();

  llvm::ArrayRef<SafetensorsShard> shards() const;
  /// Whether an earlier run has finished tensor `index`.
  bool isComplete(size_t index) const;
  /// Tensors that an earlier run has finished.
  size_t resumedTensors() const;

  /// Writes a part of tensor `index`; thread-safe.
  llvm::Error write(size_t index, uint64_t byteOffset,
                    llvm::ArrayRef<uint8_t> bytes);
  /// Says that tensor `index` is wholly written and has this digest of its
  /// bytes, and enters it in the journal. Nothing is synced here: a resumed
  /// run trusts the digest, not the journal. Thread-safe.
  llvm::Error complete(size_t index, const Digest &digest);

  /// Writes the index (where there is more than one shard), renames the
  /// shards to their names and removes the journal. Fails if a tensor is
  /// missing. Nothing can be resumed after this, so it comes last, just before
  /// the directory's commit.
  llvm::Error finish();

private:
  struct State;
  explicit SafetensorsWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state;
};

/// Writes one small container whose data is in memory; `data[i]` belongs to
/// `tensors[i]`.
llvm::Error writeSafetensorsFile(llvm::StringRef path,
                                 llvm::ArrayRef<SafetensorsLayout> tensors,
                                 llvm::ArrayRef<llvm::ArrayRef<uint8_t>> data,
                                 const SafetensorsMetadata &metadata = {});

} // namespace moec
