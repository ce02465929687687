#include "ir/support/MappedFile.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "llvm/Support/Errno.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace moec;

llvm::Expected<std::shared_ptr<const MappedFile>>
MappedFile::open(llvm::StringRef path) {
  std::string name = path.str();
  Location loc = Location::inFile(name);
  // O_NONBLOCK: a FIFO must not hold us; it is refused below.
  int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return error(loc) << "cannot open the file: " << llvm::sys::StrError(errno);
  struct stat status;
  int statErrno = ::fstat(descriptor, &status) ? errno : 0;
  if (statErrno || !S_ISREG(status.st_mode) || status.st_size <= 0) {
    ::close(descriptor);
    if (statErrno)
      return error(loc) << "cannot read the file's size: "
                        << llvm::sys::StrError(statErrno);
    if (S_ISDIR(status.st_mode))
      return error(loc) << "expected a file, found a directory";
    if (!S_ISREG(status.st_mode))
      return error(loc) << "expected a regular file, found a device or pipe";
    return error(loc) << "the file is empty";
  }
  void *start = ::mmap(nullptr, size_t(status.st_size), PROT_READ, MAP_SHARED,
                       descriptor, 0);
  int mapErrno = errno;
  ::close(descriptor);
  if (start == MAP_FAILED)
    return error(loc) << "cannot map the file's " << status.st_size
                      << " bytes: " << llvm::sys::StrError(mapErrno);
  return std::shared_ptr<const MappedFile>(
      new MappedFile(std::move(name), static_cast<const uint8_t *>(start),
                     uint64_t(status.st_size)));
}

MappedFile::~MappedFile() {
  ::munmap(const_cast<uint8_t *>(start), size_t(mappedBytes));
}

llvm::Expected<llvm::ArrayRef<uint8_t>>
MappedFile::range(uint64_t offset, uint64_t length,
                  llvm::StringRef what) const {
  if (offset > mappedBytes || length > mappedBytes - offset)
    return error(Location::atByte(filePath, int64_t(offset)))
           << what << " needs " << length << " bytes, but the file has only "
           << mappedBytes << " in all";
  return bytes().slice(size_t(offset), size_t(length));
}

void MappedFile::dropPages(uint64_t offset, uint64_t length) const {
  uint64_t page = uint64_t(::sysconf(_SC_PAGESIZE));
  if (offset >= mappedBytes)
    return;
  length = std::min(length, mappedBytes - offset);
  uint64_t end = offset + length;
  uint64_t first = (offset + page - 1) / page * page;
  // The last page of the file counts as whole.
  uint64_t last = end == mappedBytes ? end : end / page * page;
  if (first < last)
    ::madvise(const_cast<uint8_t *>(start) + first, size_t(last - first),
              MADV_DONTNEED);
}

void MappedFile::prefetch(uint64_t offset, uint64_t length) const {
  uint64_t page = uint64_t(::sysconf(_SC_PAGESIZE));
  if (offset >= mappedBytes)
    return;
  length = std::min(length, mappedBytes - offset);
  uint64_t first = offset / page * page;
  ::madvise(const_cast<uint8_t *>(start) + first,
            size_t(offset + length - first), MADV_WILLNEED);
}

llvm::Expected<Digest> MappedFile::digest(ProgressFn progress) const {
  constexpr uint64_t kStep = 4 << 20;
  Sha256 hash;
  for (uint64_t offset = 0; offset < mappedBytes; offset += kStep) {
    if (llvm::Error err = checkInterrupt())
      return err;
    uint64_t length = std::min(kStep, mappedBytes - offset);
    hash.update(bytes().slice(size_t(offset), size_t(length)));
    dropPages(offset, length);
    if (progress)
      progress(offset + length, mappedBytes);
  }
  return hash.finish();
}
