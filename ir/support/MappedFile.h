//===- MappedFile.h - a file's bytes, read only, mapped -------------------===//
#pragma once

#include "ir/support/Hash.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <string>

namespace moec {

/// A read-only mapping of a whole regular file. The bytes stay valid while the
/// object lives; share it with std::shared_ptr. An access to what was cut off
/// the file meanwhile ends the process (ir/support/FileFaults.h).
class MappedFile {
public:
  /// Fails for what is missing, unreadable, no regular file, or empty. With
  /// `largePages` it is mapped where the system can use large pages for it, and
  /// asked to: for bytes that are read again and again.
  static llvm::Expected<std::shared_ptr<const MappedFile>>
  open(llvm::StringRef path, bool largePages = false);

  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  const std::string &path() const { return filePath; }
  uint64_t size() const { return mappedBytes; }
  llvm::ArrayRef<uint8_t> bytes() const {
    return llvm::ArrayRef<uint8_t>(start, size_t(mappedBytes));
  }

  /// The bytes [offset, offset + length); an error that names `what` where the
  /// file ends before that.
  llvm::Expected<llvm::ArrayRef<uint8_t>>
  range(uint64_t offset, uint64_t length, llvm::StringRef what) const;

  /// Lets the system take back the memory of the pages that lie wholly inside
  /// the range; a later access reads the file again.
  void dropPages(uint64_t offset, uint64_t length) const;
  /// Asks the system to read the range ahead.
  void prefetch(uint64_t offset, uint64_t length) const;

  /// Reads the range into memory now, and maps it: one request after the other
  /// in large pieces, where accesses would wait for each page in turn.
  void populate(uint64_t offset, uint64_t length) const;

  /// SHA-256 of the whole file; pages are dropped behind the reader.
  llvm::Expected<Digest> digest(ProgressFn progress = nullptr) const;

private:
  MappedFile(std::string path, const uint8_t *start, uint64_t mappedBytes)
      : filePath(std::move(path)), start(start), mappedBytes(mappedBytes) {}
  /// Gives advice about all pages that the range touches.
  void adviseTouched(uint64_t offset, uint64_t length, int advice) const;

  std::string filePath;
  const uint8_t *start;
  uint64_t mappedBytes;
};

} // namespace moec
