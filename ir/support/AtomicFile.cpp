#include "ir/support/AtomicFile.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Errno.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <limits>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

using namespace moec;

static llvm::Error systemError(const std::string &path, llvm::StringRef action,
                               int number) {
  return error(Location::inFile(path))
         << "cannot " << action << ": " << llvm::sys::StrError(number);
}

/// `target` without slashes at its end; the root stays.
static std::string withoutTrailingSlash(llvm::StringRef target) {
  while (target.size() > 1 && target.ends_with("/"))
    target = target.drop_back();
  return target.str();
}

static std::string temporaryName(const std::string &target, Uncommitted mode) {
  static std::atomic<unsigned> counter = 0;
  if (mode == Uncommitted::keep)
    return target + ".partial";
  return target + ".tmp." + std::to_string(::getpid()) + "." +
         std::to_string(counter++);
}

/// Makes a rename durable. Some file systems refuse to sync a directory; the
/// rename has happened all the same.
static void syncParent(const std::string &path) {
  llvm::StringRef parent = llvm::sys::path::parent_path(path);
  std::string name = parent.empty() ? "." : parent.str();
  int descriptor = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0)
    return;
  ::fsync(descriptor);
  ::close(descriptor);
}

/// What a link points to, which is written, not the link: /dev/stdout is one. A
/// link may point to what is not there yet.
static std::string withoutLinks(llvm::StringRef target) {
  std::string name = target.str();
  llvm::SmallString<256> real;
  // As many as the system follows.
  for (unsigned links = 0; links < 40; ++links) {
    if (!llvm::sys::fs::is_symlink_file(name))
      return name;
    if (!llvm::sys::fs::real_path(name, real))
      return real.str().str();
    char text[4096];
    ssize_t size = ::readlink(name.c_str(), text, sizeof(text));
    struct stat status;
    // Links to pipes say a name that is none.
    if (size <= 0 || !::stat(name.c_str(), &status))
      return name;
    llvm::SmallString<256> next(llvm::StringRef(text, size_t(size)));
    if (llvm::sys::path::is_relative(next)) {
      next = llvm::sys::path::parent_path(name);
      llvm::sys::path::append(next, llvm::StringRef(text, size_t(size)));
    }
    name = next.str().str();
  }
  return name;
}

llvm::Expected<AtomicFile> AtomicFile::create(llvm::StringRef target,
                                              Uncommitted mode) {
  AtomicFile file;
  file.targetPath = withoutLinks(target);
  file.mode = mode;
  struct stat status;
  bool exists = !::stat(file.targetPath.c_str(), &status);
  if (!exists && errno == ELOOP)
    return systemError(file.targetPath, "create the file", ELOOP);
  if (exists && S_ISDIR(status.st_mode))
    return error(Location::inFile(file.targetPath))
           << "cannot write the file: a directory has this name";
  if (exists && !S_ISREG(status.st_mode)) {
    // A device or pipe is written as it is; a rename would replace it.
    file.temporaryPath = file.targetPath;
    file.descriptor = ::open(file.targetPath.c_str(), O_WRONLY | O_CLOEXEC);
    if (file.descriptor < 0)
      return systemError(file.targetPath, "open for writing", errno);
    return std::move(file);
  }
  // The file is replaced, for which its own permissions do not count; whoever
  // took them away meant something.
  if (exists && ::access(file.targetPath.c_str(), W_OK))
    return systemError(file.targetPath, "replace the file", errno);
  file.temporaryPath = temporaryName(file.targetPath, mode);
  int flags = O_RDWR | O_CREAT | O_CLOEXEC;
  if (mode == Uncommitted::remove)
    flags |= O_EXCL;
  file.descriptor = ::open(file.temporaryPath.c_str(), flags, 0666);
  if (file.descriptor < 0) {
    int number = errno;
    file.temporaryPath.clear();
    return systemError(file.targetPath, "create the file", number);
  }
  // The new file is as private as the old one.
  if (exists)
    (void)::fchmod(file.descriptor, status.st_mode & 0777);
  if (mode == Uncommitted::remove) {
    file.temporarySlot = addTemporary(file.temporaryPath);
  } else if (::flock(file.descriptor, LOCK_EX | LOCK_NB)) {
    ::close(std::exchange(file.descriptor, -1));
    return error(Location::inFile(file.temporaryPath))
           << "another process is writing this file";
  }
  return std::move(file);
}

AtomicFile::AtomicFile(AtomicFile &&other) { *this = std::move(other); }

AtomicFile &AtomicFile::operator=(AtomicFile &&other) {
  std::swap(targetPath, other.targetPath);
  std::swap(temporaryPath, other.temporaryPath);
  std::swap(descriptor, other.descriptor);
  std::swap(temporarySlot, other.temporarySlot);
  std::swap(appended, other.appended);
  std::swap(mode, other.mode);
  return *this;
}

AtomicFile::~AtomicFile() {
  if (descriptor < 0)
    return;
  if (mode == Uncommitted::keep) {
    ::close(descriptor);
    return;
  }
  discard();
}

llvm::Error AtomicFile::preallocate(uint64_t bytes) {
  if (bytes > uint64_t(std::numeric_limits<off_t>::max()))
    return error(Location::inFile(targetPath))
           << "a file cannot have " << bytes << " bytes";
  if (temporaryPath == targetPath)
    return llvm::Error::success();
  if (bytes && ::fallocate(descriptor, 0, 0, off_t(bytes))) {
    int number = errno;
    // Not every file system can reserve; there a full disk shows later.
    if (number != EOPNOTSUPP && number != ENOSYS && number != EINVAL)
      return systemError(targetPath,
                         "reserve " + std::to_string(bytes) + " bytes", number);
  }
  if (::ftruncate(descriptor, off_t(bytes)))
    return systemError(targetPath, "set the file's size", errno);
  return llvm::Error::success();
}

llvm::Error AtomicFile::append(llvm::ArrayRef<uint8_t> bytes) {
  bool isDirect = temporaryPath == targetPath;
  while (isDirect && !bytes.empty()) {
    ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR)
      return systemError(targetPath, "write", errno);
    if (written > 0)
      bytes = bytes.drop_front(size_t(written));
  }
  uint64_t offset = appended;
  appended += bytes.size();
  return writeAt(offset, bytes);
}

llvm::Error AtomicFile::append(llvm::StringRef text) {
  return append(llvm::arrayRefFromStringRef(text));
}

llvm::Error AtomicFile::writeAt(uint64_t offset,
                                llvm::ArrayRef<uint8_t> bytes) {
  while (!bytes.empty()) {
    // The kernel takes at most 2 GiB at a time.
    size_t piece = std::min<size_t>(bytes.size(), 1u << 30);
    ssize_t written = ::pwrite(descriptor, bytes.data(), piece, off_t(offset));
    if (written < 0) {
      if (errno == EINTR)
        continue;
      return systemError(targetPath, "write", errno);
    }
    bytes = bytes.drop_front(size_t(written));
    offset += uint64_t(written);
  }
  return llvm::Error::success();
}

llvm::Error AtomicFile::readAt(uint64_t offset,
                               llvm::MutableArrayRef<uint8_t> out) const {
  while (!out.empty()) {
    ssize_t got =
        ::pread(descriptor, out.data(), std::min<size_t>(out.size(), 1u << 30),
                off_t(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return systemError(temporaryPath, "read", errno);
    if (got == 0)
      return error(Location::atByte(temporaryPath, int64_t(offset)))
             << "expected " << out.size() << " more bytes, found the end";
    out = out.drop_front(size_t(got));
    offset += uint64_t(got);
  }
  return llvm::Error::success();
}

llvm::Expected<uint64_t> AtomicFile::size() const {
  struct stat status;
  if (::fstat(descriptor, &status))
    return systemError(temporaryPath, "read the file's size", errno);
  return uint64_t(status.st_size);
}

llvm::Error AtomicFile::sync() {
  // A pipe or terminal has nothing to sync.
  if (::fsync(descriptor) && errno != EINVAL && errno != EROFS)
    return systemError(targetPath, "sync", errno);
  return llvm::Error::success();
}

void AtomicFile::writeBehind(uint64_t offset, uint64_t length) {
  ::sync_file_range(descriptor, off_t(offset), off_t(length),
                    SYNC_FILE_RANGE_WRITE);
}

llvm::Error AtomicFile::commit() {
  assert(descriptor >= 0 && "a file is committed once");
  MOEC_TRY(checkInterrupt());
  if (llvm::Error err = sync()) {
    discard();
    return err;
  }
  if (::close(std::exchange(descriptor, -1))) {
    int number = errno;
    discard();
    return systemError(targetPath, "close", number);
  }
  if (temporaryPath != targetPath) {
    if (::rename(temporaryPath.c_str(), targetPath.c_str())) {
      int number = errno;
      discard();
      return systemError(targetPath, "rename the finished file", number);
    }
    syncParent(targetPath);
  }
  removeTemporary(std::exchange(temporarySlot, -1));
  return llvm::Error::success();
}

void AtomicFile::discard() {
  if (descriptor >= 0)
    ::close(std::exchange(descriptor, -1));
  if (!temporaryPath.empty() && temporaryPath != targetPath)
    ::unlink(temporaryPath.c_str());
  removeTemporary(std::exchange(temporarySlot, -1));
}

llvm::Error moec::writeFileAtomically(llvm::StringRef target,
                                      llvm::StringRef text) {
  auto file = AtomicFile::create(target);
  if (!file)
    return file.takeError();
  if (llvm::Error err = file->append(text))
    return err;
  return file->commit();
}

llvm::Expected<AtomicDirectory> AtomicDirectory::create(llvm::StringRef target,
                                                        Uncommitted mode) {
  AtomicDirectory directory;
  directory.targetPath = withoutTrailingSlash(target);
  directory.mode = mode;
  const std::string &path = directory.targetPath;
  struct stat status;
  if (!::stat(path.c_str(), &status)) {
    if (!S_ISDIR(status.st_mode))
      return error(Location::inFile(path))
             << "cannot create the directory: a file has this name";
    std::error_code code;
    llvm::sys::fs::directory_iterator first(path, code);
    if (code)
      return error(Location::inFile(path))
             << "cannot read the directory: " << code.message();
    if (first != llvm::sys::fs::directory_iterator())
      return error(Location::inFile(path))
             << "expected a new or empty directory, found '"
             << llvm::sys::path::filename(first->path()) << "' in it";
  }
  std::string name = temporaryName(path, mode);
  bool isResumed = mode == Uncommitted::keep;
  if (::mkdir(name.c_str(), 0777) && !(isResumed && errno == EEXIST))
    return systemError(path, "create the directory", errno);
  directory.temporaryPath = name;
  if (mode == Uncommitted::remove)
    directory.temporarySlot = addTemporary(name);
  return std::move(directory);
}

AtomicDirectory::AtomicDirectory(AtomicDirectory &&other) {
  *this = std::move(other);
}

AtomicDirectory &AtomicDirectory::operator=(AtomicDirectory &&other) {
  std::swap(targetPath, other.targetPath);
  std::swap(temporaryPath, other.temporaryPath);
  std::swap(temporarySlot, other.temporarySlot);
  std::swap(mode, other.mode);
  return *this;
}

AtomicDirectory::~AtomicDirectory() {
  if (mode == Uncommitted::remove)
    discard();
}

std::string AtomicDirectory::file(llvm::StringRef name) const {
  return temporaryPath + "/" + name.str();
}

llvm::Error AtomicDirectory::commit() {
  assert(!temporaryPath.empty() && "a directory is committed once");
  int descriptor =
      ::open(temporaryPath.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor >= 0) {
    ::fsync(descriptor);
    ::close(descriptor);
  }
  // rename replaces an empty directory and fails on any other.
  if (::rename(temporaryPath.c_str(), targetPath.c_str()))
    return systemError(targetPath, "rename the finished directory", errno);
  syncParent(targetPath);
  temporaryPath.clear();
  removeTemporary(std::exchange(temporarySlot, -1));
  return llvm::Error::success();
}

void AtomicDirectory::discard() {
  if (!temporaryPath.empty())
    llvm::sys::fs::remove_directories(temporaryPath);
  temporaryPath.clear();
  removeTemporary(std::exchange(temporarySlot, -1));
}
