#include "ir/binary/ModuleFile.h"

#include "ir/binary/Binary.h"
#include "ir/core/Module.h"
#include "ir/support/AtomicFile.h"
#include "ir/support/Diagnostic.h"
#include "ir/support/WholeFile.h"
#include "ir/text/Lexer.h"
#include "ir/text/Parser.h"
#include "ir/text/Printer.h"
#include "ir/verify/Verifier.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace moec;

/// Names the file where an error names none: the binary form knows objects, and
/// places of the text or the checkpoint that they came from.
static llvm::Error inFile(llvm::Error err, llvm::StringRef file) {
  return llvm::handleErrors(
      std::move(err), [&](std::unique_ptr<Diagnostic> diag) -> llvm::Error {
        if (diag->loc.file.empty())
          diag->loc.file = file.str();
        return llvm::Error(std::move(diag));
      });
}

llvm::Expected<std::unique_ptr<Module>> moec::readModule(llvm::StringRef bytes,
                                                         llvm::StringRef file) {
  if (looksLikeBinary(bytes)) {
    auto module = readBinary(bytes, file);
    if (!module)
      return inFile(module.takeError(), file);
    if (llvm::Error err = verify(**module))
      return inFile(std::move(err), file);
    return module;
  }
  // Text of a module has no zero bytes; every other kind of file starts so.
  if (bytes.take_front(64).contains('\0'))
    return error(Location::inFile(file.str()))
           << "expected a module as text or in binary form, found "
           << (bytes.substr(4).starts_with("MOEP") ? "a plan"
                                                   : "a file of another kind");
  auto module = parseModule(bytes, file);
  if (!module)
    return module.takeError();
  if (llvm::Error err = verify(**module))
    return attachSource(std::move(err), file, bytes);
  return module;
}

/// The folder of a file, as an absolute path.
static std::string folderOf(llvm::StringRef path) {
  llvm::SmallString<128> absolute(path);
  // Without a working directory a relative path stays what it is.
  (void)llvm::sys::fs::make_absolute(absolute);
  llvm::sys::path::remove_dots(absolute, /*remove_dot_dot=*/true);
  return llvm::sys::path::parent_path(absolute).str();
}

llvm::Expected<std::unique_ptr<Module>> moec::loadModule(llvm::StringRef path) {
  MOEC_ASSIGN(std::string bytes, readWholeFile(path));
  MOEC_ASSIGN(std::unique_ptr<Module> module,
              readModule(bytes, path == "-" ? "<stdin>" : path));
  module->baseFolder = folderOf(path == "-" ? "stdin" : path);
  return std::move(module);
}

llvm::Error moec::saveModule(Module &module, llvm::StringRef path,
                             ModuleForm form) {
  std::string folder = folderOf(path);
  if (!module.baseFolder.empty() && module.baseFolder != folder)
    for (const auto &file : module.files())
      if (!llvm::sys::path::is_absolute(file->path)) {
        llvm::SmallString<128> absolute(module.baseFolder);
        llvm::sys::path::append(absolute, file->path);
        llvm::sys::path::remove_dots(absolute, /*remove_dot_dot=*/true);
        file->path = absolute.str();
      }
  module.baseFolder = folder;
  std::string contents;
  if (form == ModuleForm::text) {
    contents = printModule(module);
  } else {
    MOEC_ASSIGN(contents, writeBinary(module));
  }
  if (path != "-")
    return writeFileAtomically(path, contents);
  llvm::outs() << contents;
  return llvm::Error::success();
}
