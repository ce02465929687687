//===- TemporaryFolder.h - a folder for a test's files --------------------===//
#pragma once

#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <string>
#include <vector>

namespace moec {

/// Made new, removed with all that is in it.
class TemporaryFolder {
public:
  TemporaryFolder() {
    llvm::SmallString<128> name;
    if (!llvm::sys::fs::createUniqueDirectory("moec-test", name))
      folder = name.str().str();
  }
  ~TemporaryFolder() { llvm::sys::fs::remove_directories(folder); }

  const std::string &path() const { return folder; }
  std::string file(llvm::StringRef name) const {
    return folder + "/" + name.str();
  }
  /// Writes a file and returns its path.
  std::string write(llvm::StringRef name, llvm::StringRef text) const {
    std::error_code code;
    llvm::raw_fd_ostream os(file(name), code);
    os << text;
    return file(name);
  }
  std::string read(llvm::StringRef name) const {
    auto buffer = llvm::MemoryBuffer::getFile(file(name));
    return buffer ? (*buffer)->getBuffer().str() : "(no such file)";
  }
  bool has(llvm::StringRef name) const {
    return llvm::sys::fs::exists(file(name));
  }
  /// The names in the folder, sorted.
  std::vector<std::string> list() const;

private:
  std::string folder;
};

inline std::vector<std::string> TemporaryFolder::list() const {
  std::vector<std::string> names;
  std::error_code code;
  for (llvm::sys::fs::directory_iterator it(folder, code), end;
       !code && it != end; it.increment(code))
    names.push_back(it->path().substr(folder.size() + 1));
  std::sort(names.begin(), names.end());
  return names;
}

} // namespace moec
