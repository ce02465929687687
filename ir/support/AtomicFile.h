//===- AtomicFile.h - outputs that appear whole or not at all -------------===//
//
// An output is written under a temporary name beside its target, synced, and
// renamed on `commit`. Without a commit it is removed: by the destructor, or
// by the signal handler of Interrupt.h. A resumable output has a stable
// temporary name and stays, so that the next run can go on.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>

namespace moec {

/// What happens to an output that is not committed.
enum class Uncommitted {
  /// It is removed; its temporary name is unique to this process.
  remove,
  /// It stays as `<target>.partial`, and `create` opens it again.
  keep,
};

/// One output file. `writeAt` may be called from several threads at once;
/// everything else from one.
class AtomicFile {
public:
  static llvm::Expected<AtomicFile>
  create(llvm::StringRef target, Uncommitted mode = Uncommitted::remove);

  AtomicFile(AtomicFile &&other);
  AtomicFile &operator=(AtomicFile &&other);
  ~AtomicFile();

  const std::string &target() const { return targetPath; }
  const std::string &temporary() const { return temporaryPath; }

  /// Reserves `bytes` on the disk, so that a full disk is found now, and sets
  /// the file's size.
  llvm::Error preallocate(uint64_t bytes);
  /// Writes at the end of what `append` wrote so far.
  llvm::Error append(llvm::ArrayRef<uint8_t> bytes);
  llvm::Error append(llvm::StringRef text);
  /// Writes at `offset`.
  llvm::Error writeAt(uint64_t offset, llvm::ArrayRef<uint8_t> bytes);
  /// Reads back, for resuming.
  llvm::Error readAt(uint64_t offset, llvm::MutableArrayRef<uint8_t> out) const;
  /// The size of the file so far.
  llvm::Expected<uint64_t> size() const;
  /// Makes what was written durable.
  llvm::Error sync();
  /// Starts writing [offset, offset + length) to the disk and drops it from
  /// the page cache's dirty set; a hint for long streams.
  void writeBehind(uint64_t offset, uint64_t length);

  /// Syncs, closes, and renames to the target.
  llvm::Error commit();
  /// Closes and removes, resumable or not.
  void discard();

private:
  AtomicFile() = default;

  std::string targetPath;
  std::string temporaryPath;
  int descriptor = -1;
  int temporarySlot = -1;
  uint64_t appended = 0;
  Uncommitted mode = Uncommitted::remove;
};

/// Writes a whole small file atomically.
llvm::Error writeFileAtomically(llvm::StringRef target, llvm::StringRef text);

/// An output directory, built beside its target under a temporary name.
class AtomicDirectory {
public:
  /// Fails where `target` exists, unless it is an empty directory.
  static llvm::Expected<AtomicDirectory>
  create(llvm::StringRef target, Uncommitted mode = Uncommitted::remove);

  AtomicDirectory(AtomicDirectory &&other);
  AtomicDirectory &operator=(AtomicDirectory &&other);
  ~AtomicDirectory();

  const std::string &target() const { return targetPath; }
  /// Where files are written before the commit.
  const std::string &temporary() const { return temporaryPath; }
  /// The path of `name` inside the temporary directory.
  std::string file(llvm::StringRef name) const;

  /// Syncs the directory and renames it to the target.
  llvm::Error commit();
  void discard();

private:
  AtomicDirectory() = default;

  std::string targetPath;
  std::string temporaryPath;
  int temporarySlot = -1;
  Uncommitted mode = Uncommitted::remove;
};

} // namespace moec
