#include "tools/moec/Outputs.h"

#include "ir/support/AtomicFile.h"
#include "ir/support/Diagnostic.h"
#include "tools/driver/PackWeights.h"
#include "tools/moec/Command.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Errno.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <sys/stat.h>
#include <unistd.h>

using namespace moec;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

llvm::Error moec::writeAnswer(llvm::StringRef path, llvm::StringRef contents) {
  if (path != "-")
    return writeFileAtomically(path, contents);
  llvm::outs() << contents;
  return llvm::Error::success();
}

llvm::Error moec::checkOutput(llvm::StringRef path, bool dryRun) {
  if (path.empty() && !dryRun)
    return llvm::make_error<UsageError>("-o is missing");
  if (path == "-")
    return llvm::make_error<UsageError>(
        "-o is '-', but this is not written to standard output; expects a "
        "name");
  return llvm::Error::success();
}

static bool isNoFile(llvm::StringRef path) {
  return path.empty() || path == "-";
}

/// A device or a pipe is used, not replaced: it may have several uses.
static bool isDevice(llvm::StringRef path) {
  struct stat status;
  return !::stat(path.str().c_str(), &status) && !S_ISREG(status.st_mode) &&
         !S_ISDIR(status.st_mode);
}

static bool isPipe(llvm::StringRef path) {
  struct stat status;
  if (::stat(path.str().c_str(), &status))
    return false;
  // Terminals take no place to write at, either; null and full do.
  return S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode) ||
         (S_ISCHR(status.st_mode) && path != "/dev/null" &&
          path != "/dev/full");
}

/// The name that a path has in the end, also of a file that is not there yet.
static std::string wholeName(llvm::StringRef name) {
  llvm::SmallString<256> whole(name.rtrim('/')), folder;
  if (fs::make_absolute(whole))
    return name.str();
  if (!fs::real_path(whole, folder))
    return folder.str().str();
  if (fs::real_path(path::parent_path(whole), folder))
    return whole.str().str();
  path::append(folder, path::filename(whole));
  return folder.str().str();
}

static bool isSame(llvm::StringRef a, llvm::StringRef b) {
  if (isNoFile(a) || isNoFile(b) || isDevice(a) || isDevice(b))
    return false;
  return fs::equivalent(a, b) || wholeName(a) == wholeName(b);
}

/// Whether a file of this name may be a part of a model that is a folder.
static bool isPartOfModel(llvm::StringRef name) {
  return name == "module.moe" || name.ends_with(".safetensors") ||
         name.ends_with(".index.json") || name.contains("token") ||
         name.contains("config") || name == "vocab.json" ||
         name == "merges.txt" || name.ends_with(".jinja") ||
         name.ends_with(".bin");
}

/// Files that are read of a path: itself, or what a folder's model is made of.
static std::vector<std::string> filesOf(llvm::StringRef path) {
  if (!fs::is_directory(path))
    return {path.str()};
  std::vector<std::string> files;
  std::error_code code;
  for (fs::directory_iterator it(path, code), end; it != end && !code;
       it.increment(code))
    if (isPartOfModel(path::filename(it->path())))
      files.push_back(it->path());
  return files;
}

static llvm::Error failRead(llvm::StringRef path) {
  return error(Location::inFile(path.str()))
         << "the command reads this file; expects another name for the output";
}

static llvm::Error checkCanBeMade(const Output &output) {
  if (output.kind == OutputKind::later)
    return llvm::Error::success();
  if (output.kind == OutputKind::folder)
    return AtomicDirectory::create(output.path).takeError();
  if (!isDevice(output.path))
    // Not committed, it goes away again.
    return AtomicFile::create(output.path).takeError();
  if (output.kind == OutputKind::seekable && isPipe(output.path))
    return error(Location::inFile(output.path))
           << "expects a file, which can be written in any order, found a pipe";
  // Opened, a pipe would keep us, or its reader would see an end.
  if (::access(output.path.c_str(), W_OK))
    return error(Location::inFile(output.path))
           << "cannot open for writing: " << llvm::sys::StrError(errno);
  return llvm::Error::success();
}

llvm::Error Outputs::check(llvm::StringRef model) const {
  std::vector<std::string> inputs = filesOf(model);
  inputs.push_back(weightFileOf(model));
  for (const std::string &path : reads)
    llvm::append_range(inputs, filesOf(path));
  for (auto [index, output] : llvm::enumerate(writes)) {
    if (isNoFile(output.path))
      continue;
    for (const std::string &input : inputs)
      if (isSame(input, output.path))
        return failRead(output.path);
    for (const Output &other : llvm::ArrayRef(writes).take_front(index))
      if (isSame(other.path, output.path))
        return error(Location::inFile(output.path))
               << "two outputs have this name; expects one for each";
    MOEC_TRY(checkCanBeMade(output));
  }
  return llvm::Error::success();
}

llvm::Error Outputs::checkSources(const Module &module) const {
  for (auto &file : module.files()) {
    llvm::SmallString<256> source(module.baseFolder);
    if (path::is_absolute(file->path))
      source = file->path;
    else
      path::append(source, file->path);
    for (const std::string &input : filesOf(source))
      for (const Output &output : writes)
        if (isSame(input, output.path))
          return failRead(output.path);
  }
  return llvm::Error::success();
}
