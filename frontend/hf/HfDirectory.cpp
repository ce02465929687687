#include "frontend/hf/HfDirectory.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Safetensors.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <map>

using namespace moec;

static std::string inDirectory(llvm::StringRef directory,
                               llvm::StringRef name) {
  llvm::SmallString<256> path(directory);
  llvm::sys::path::append(path, name);
  return path.str().str();
}

static llvm::Expected<Config> loadSettings(const std::string &path) {
  MOEC_ASSIGN(std::shared_ptr<const JsonDocument> document,
              JsonDocument::load(path));
  if (!document->root().isObject())
    return document->errorAt(document->root())
           << "expected an object of settings, found "
           << document->root().describe();
  return Config(std::move(document));
}

static llvm::Error addTensors(Checkpoint &checkpoint,
                              const SafetensorsFile &file) {
  unsigned index = checkpoint.addFile(file.file());
  for (const SafetensorsEntry &entry : file.header().entries)
    if (!checkpoint.addTensor({entry.name, entry.type, entry.shape, index,
                               entry.byteOffset, entry.byteSize}))
      return error(file.locationOf(entry))
             << "another file of the model has a tensor of this name";
  // Savers that drop shared tensors note here which name stands for which.
  for (const auto &[name, kept] : file.header().metadata)
    if (file.find(kept))
      checkpoint.addAlias(name, kept);
  return llvm::Error::success();
}

/// A shard's name may not lead out of the model's directory.
static bool isPlainFileName(llvm::StringRef name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(llvm::StringRef("/\\\0", 3)) ==
             llvm::StringRef::npos;
}

static llvm::Error openShards(Checkpoint &checkpoint,
                              const std::string &indexPath) {
  MOEC_ASSIGN(std::shared_ptr<const JsonDocument> index,
              JsonDocument::load(indexPath));
  const JsonValue *map = index->root().find("weight_map");
  if (!map || !map->isObject())
    return index->errorAt(map ? *map : index->root())
           << "expected an object 'weight_map' of tensors and their files"
           << (map ? ", found " + map->describe() : std::string());
  std::map<std::string, SafetensorsFile> shards;
  llvm::StringSet<> listed;
  for (const JsonMember &member : map->members) {
    const JsonValue &file = member.value;
    if (!file.isString() || !isPlainFileName(file.string))
      return index->errorAt(file)
             << "expected the name of a file beside this one, found "
             << file.describe();
    auto shard = shards.find(file.string);
    if (shard == shards.end()) {
      auto opened =
          SafetensorsFile::open(inDirectory(checkpoint.path, file.string));
      if (!opened)
        return withNote(opened.takeError(), index->locate(file),
                        "the file is named here");
      MOEC_TRY(addTensors(checkpoint, *opened));
      shard = shards.try_emplace(file.string, std::move(*opened)).first;
    }
    if (!shard->second.find(member.key))
      return index->errorAt(member.keyOffset)
             << "tensor '" << member.key << "' is not in '" << file.string
             << "', where this index places it";
    listed.insert(member.key);
  }
  for (const auto &[name, shard] : shards)
    for (const SafetensorsEntry &entry : shard.header().entries)
      if (!listed.contains(entry.name))
        return error(shard.locationOf(entry))
               << "the tensor is not listed in '"
               << llvm::sys::path::filename(indexPath) << "'";
  return llvm::Error::success();
}

llvm::Expected<Checkpoint> moec::openHfDirectory(llvm::StringRef path) {
  std::string directory = path.str();
  if (!llvm::sys::fs::is_directory(directory))
    return error(Location::inFile(directory))
           << "expected a directory with a Hugging Face model, found "
           << (llvm::sys::fs::exists(directory) ? "a file" : "nothing");
  std::string configPath = inDirectory(directory, "config.json");
  if (!llvm::sys::fs::exists(configPath))
    return error(Location::inFile(directory))
           << "expected a Hugging Face model, but there is no 'config.json'";
  MOEC_ASSIGN(Config config, loadSettings(configPath));
  Checkpoint checkpoint(CheckpointFormat::huggingFace, directory,
                        std::move(config));

  std::string single = inDirectory(directory, "model.safetensors");
  if (llvm::sys::fs::exists(single)) {
    MOEC_ASSIGN(SafetensorsFile file, SafetensorsFile::open(single));
    MOEC_TRY(addTensors(checkpoint, file));
    return std::move(checkpoint);
  }
  std::string index = inDirectory(directory, "model.safetensors.index.json");
  if (llvm::sys::fs::exists(index)) {
    MOEC_TRY(openShards(checkpoint, index));
    return std::move(checkpoint);
  }
  bool hasPickle =
      llvm::sys::fs::exists(inDirectory(directory, "pytorch_model.bin")) ||
      llvm::sys::fs::exists(
          inDirectory(directory, "pytorch_model.bin.index.json"));
  return error(Location::inFile(directory))
         << "expected 'model.safetensors' or 'model.safetensors.index.json', "
            "found "
         << (hasPickle ? "pickled weights only ('pytorch_model.bin'); convert "
                         "them to safetensors"
                       : "neither");
}

llvm::Expected<Checkpoint> moec::openTensorFile(llvm::StringRef path) {
  Checkpoint checkpoint(CheckpointFormat::huggingFace, path.str(), Config());
  MOEC_ASSIGN(SafetensorsFile file, SafetensorsFile::open(path));
  MOEC_TRY(addTensors(checkpoint, file));
  return std::move(checkpoint);
}

llvm::Expected<Config> moec::loadGenerationConfig(llvm::StringRef directory) {
  std::string path = inDirectory(directory, "generation_config.json");
  if (!llvm::sys::fs::exists(path))
    return Config();
  return loadSettings(path);
}
