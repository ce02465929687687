//===- ObjectCache.h - compiled kernels on disk ---------------------------===//
//
// Object code under the SHA-256 of everything that decides it. Each entry
// carries the digest of its content, so that what a crash or a full disk left
// behind is found and replaced. Several processes may share a folder: entries
// appear by rename and are never changed. The least recently used ones go when
// the folder grows above its limit.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Hash.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moec::runtime {

enum class CacheMode { off, readOnly, readWrite };

struct CacheOptions {
  CacheMode mode = CacheMode::readWrite;
  std::string directory;
  uint64_t limitBytes = uint64_t(512) << 20;
};

/// $MOEC_CACHE (off, ro, rw), and the folder: $MOEC_CACHE_DIR, else
/// $XDG_CACHE_HOME/moec, else ~/.cache/moec. Without any of them: off.
llvm::Expected<CacheOptions> cacheOptionsFromEnvironment();

class ObjectCache {
public:
  explicit ObjectCache(CacheOptions options) : options(std::move(options)) {}

  const CacheOptions &settings() const { return options; }
  /// The path of an entry.
  std::string pathOf(const Digest &key) const;

  /// The content stored under `key`; nothing if it is not there or damaged. A
  /// damaged entry is removed where the mode allows it.
  std::optional<std::vector<uint8_t>> find(const Digest &key) const;

  /// Stores content durably, then trims the folder. An error is no reason to
  /// stop: the code is there, it only has to be compiled again next time.
  llvm::Error store(const Digest &key, llvm::ArrayRef<uint8_t> content) const;

private:
  llvm::Error trim(const std::string &keep) const;

  CacheOptions options;
};

} // namespace moec::runtime
