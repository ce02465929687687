#include "runtime/cpu/ObjectCache.h"

#include "ir/support/AtomicFile.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <cstdlib>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace moec;
using namespace moec::runtime;

// An entry: this text, the SHA-256 of the content, the content.
static constexpr llvm::StringLiteral kMagic = "moec-object-1\n\n\n";
static constexpr size_t kHeaderBytes = kMagic.size() + 32;
static constexpr llvm::StringLiteral kSuffix = ".moec-o";

llvm::Expected<CacheOptions> runtime::cacheOptionsFromEnvironment() {
  CacheOptions options;
  auto variable = [](const char *name) -> llvm::StringRef {
    const char *value = std::getenv(name);
    return value ? value : "";
  };
  llvm::StringRef mode = variable("MOEC_CACHE");
  if (mode == "off")
    options.mode = CacheMode::off;
  else if (mode == "ro")
    options.mode = CacheMode::readOnly;
  else if (!mode.empty() && mode != "rw")
    return error() << "expects MOEC_CACHE to be 'off', 'ro' or 'rw', got '"
                   << mode << "'";
  if (llvm::StringRef folder = variable("MOEC_CACHE_DIR"); !folder.empty())
    options.directory = folder.str();
  else if (llvm::StringRef xdg = variable("XDG_CACHE_HOME"); !xdg.empty())
    options.directory = (xdg + "/moec").str();
  else if (llvm::StringRef home = variable("HOME"); !home.empty())
    options.directory = (home + "/.cache/moec").str();
  else
    options.mode = CacheMode::off;
  return options;
}

std::string ObjectCache::pathOf(const Digest &key) const {
  return options.directory + "/" + toHex(key) + kSuffix.str();
}

std::optional<std::vector<uint8_t>> ObjectCache::find(const Digest &key) const {
  if (options.mode == CacheMode::off)
    return std::nullopt;
  std::string path = pathOf(key);
  // Read, not mapped: another process may remove or replace the entry.
  auto file = llvm::MemoryBuffer::getFile(path, /*IsText=*/false,
                                          /*RequiresNullTerminator=*/false,
                                          /*IsVolatile=*/true);
  if (!file)
    return std::nullopt;
  llvm::StringRef bytes = (*file)->getBuffer();
  if (bytes.size() > kHeaderBytes && bytes.starts_with(kMagic)) {
    llvm::StringRef content = bytes.drop_front(kHeaderBytes);
    Digest found = sha256(content);
    if (bytes.substr(kMagic.size(), found.size()) ==
        llvm::StringRef(reinterpret_cast<const char *>(found.data()),
                        found.size())) {
      // The time of change is the time of last use.
      if (options.mode == CacheMode::readWrite)
        utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
      return std::vector<uint8_t>(content.bytes_begin(), content.bytes_end());
    }
  }
  if (options.mode == CacheMode::readWrite)
    llvm::sys::fs::remove(path);
  return std::nullopt;
}

llvm::Error ObjectCache::store(const Digest &key,
                               llvm::ArrayRef<uint8_t> content) const {
  if (options.mode != CacheMode::readWrite)
    return llvm::Error::success();
  if (std::error_code code = llvm::sys::fs::create_directories(
          options.directory, /*IgnoreExisting=*/true,
          llvm::sys::fs::perms::owner_all))
    return error(Location::inFile(options.directory))
           << "the cache folder cannot be made: " << code.message();
  std::string path = pathOf(key);
  MOEC_ASSIGN(AtomicFile file, AtomicFile::create(path));
  Digest digest = sha256(content);
  MOEC_TRY(file.append(llvm::StringRef(kMagic)));
  MOEC_TRY(file.append(llvm::ArrayRef<uint8_t>(digest)));
  MOEC_TRY(file.append(content));
  MOEC_TRY(file.commit());
  return trim(path);
}

llvm::Error ObjectCache::trim(const std::string &keep) const {
  struct Entry {
    llvm::sys::TimePoint<> used;
    uint64_t bytes;
    std::string path;
  };
  std::vector<Entry> entries;
  uint64_t total = 0;
  std::error_code code;
  for (llvm::sys::fs::directory_iterator it(options.directory, code), end;
       it != end && !code; it.increment(code)) {
    llvm::sys::fs::file_status status;
    // Others trim too: what is gone by now takes no space.
    if (!llvm::StringRef(it->path()).ends_with(kSuffix) ||
        llvm::sys::fs::status(it->path(), status))
      continue;
    entries.push_back(
        {status.getLastModificationTime(), status.getSize(), it->path()});
    total += status.getSize();
  }
  if (code)
    return error(Location::inFile(options.directory))
           << "the cache folder cannot be listed: " << code.message();
  if (total <= options.limitBytes)
    return llvm::Error::success();
  llvm::sort(entries, [](const Entry &left, const Entry &right) {
    return std::tie(left.used, left.path) < std::tie(right.used, right.path);
  });
  for (const Entry &entry : entries) {
    if (total <= options.limitBytes)
      break;
    if (entry.path == keep)
      continue;
    llvm::sys::fs::remove(entry.path);
    total -= entry.bytes;
  }
  return llvm::Error::success();
}
