#include "ir/support/MappedFile.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/FileFaults.h"
#include "ir/support/Interrupt.h"
#include "llvm/Support/Errno.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace moec;

/// Maps a file at an address that is a multiple of a large page, so that large
/// pages of the file can be ones of memory; MAP_FAILED and errno on failure.
static void *mapAligned(size_t bytes, int descriptor) {
  constexpr size_t kLargePage = size_t(2) << 20;
  // Room to move within; the file's mapping then takes its place.
  size_t room = bytes + kLargePage;
  if (room < bytes) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void *reserved = ::mmap(nullptr, room, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED)
    return MAP_FAILED;
  auto address = reinterpret_cast<uintptr_t>(reserved);
  uintptr_t aligned = (address + kLargePage - 1) / kLargePage * kLargePage;
  auto *start = reinterpret_cast<uint8_t *>(aligned);
  void *mapped =
      ::mmap(start, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, descriptor, 0);
  if (mapped == MAP_FAILED) {
    int number = errno;
    ::munmap(reserved, room);
    errno = number;
    return MAP_FAILED;
  }
  size_t page = size_t(::sysconf(_SC_PAGESIZE));
  size_t mappedBytes = (bytes + page - 1) / page * page;
  if (aligned > address)
    ::munmap(reserved, aligned - address);
  ::munmap(start + mappedBytes, address + room - aligned - mappedBytes);
  // A hint: with small pages everything works, a little slower.
  ::madvise(start, bytes, MADV_HUGEPAGE);
  return mapped;
}

llvm::Expected<std::shared_ptr<const MappedFile>>
MappedFile::open(llvm::StringRef path, bool largePages) {
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
  auto bytes = size_t(status.st_size);
  void *start =
      largePages ? mapAligned(bytes, descriptor)
                 : ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, descriptor, 0);
  int mapErrno = errno;
  ::close(descriptor);
  if (start == MAP_FAILED)
    return error(loc) << "cannot map the file's " << status.st_size
                      << " bytes: " << llvm::sys::StrError(mapErrno);
  noteMapping(start, bytes, name);
  return std::shared_ptr<const MappedFile>(
      new MappedFile(std::move(name), static_cast<const uint8_t *>(start),
                     uint64_t(status.st_size)));
}

MappedFile::~MappedFile() {
  forgetMapping(start);
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
  adviseTouched(offset, length, MADV_WILLNEED);
}

void MappedFile::populate(uint64_t offset, uint64_t length) const {
#ifdef MADV_POPULATE_READ
  adviseTouched(offset, length, MADV_POPULATE_READ);
#else
  adviseTouched(offset, length, MADV_WILLNEED);
#endif
}

void MappedFile::adviseTouched(uint64_t offset, uint64_t length,
                               int advice) const {
  uint64_t page = uint64_t(::sysconf(_SC_PAGESIZE));
  if (offset >= mappedBytes)
    return;
  length = std::min(length, mappedBytes - offset);
  uint64_t first = offset / page * page;
  ::madvise(const_cast<uint8_t *>(start) + first,
            size_t(offset + length - first), advice);
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
