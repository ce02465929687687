#include "frontend/models/OpenModel.h"

#include "frontend/gguf/Gguf.h"
#include "frontend/hf/HfDirectory.h"
#include "frontend/llama2c/Llama2c.h"
#include "ir/support/Diagnostic.h"
#include "llvm/Support/FileSystem.h"

using namespace moec;

llvm::Expected<Checkpoint> moec::openModel(llvm::StringRef path) {
  if (llvm::sys::fs::is_directory(path))
    return openHfDirectory(path);
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  if (isGguf(file->bytes()))
    return openGguf(path);
  // A .bin that is no exact llama2.c file gets that reader's error.
  if (isLlama2c(file->bytes(), file->size()) || path.ends_with(".bin"))
    return openLlama2c(path);
  if (path.ends_with(".safetensors"))
    return error(Location::inFile(path.str()))
           << "expected a model, found its tensors only; name the directory "
              "that holds 'config.json'";
  return error(Location::inFile(path.str()))
         << "expected a Hugging Face directory, a GGUF file or a llama2.c "
            "checkpoint, found a file of another kind";
}
