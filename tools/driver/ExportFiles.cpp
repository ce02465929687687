#include "tools/driver/ExportFiles.h"

#include "frontend/exporter/HfConfigWriter.h"
#include "frontend/gguf/Gguf.h"
#include "frontend/tokenizer/ImportTokenizer.h"
#include "frontend/tokenizer/WriteGgufTokenizer.h"
#include "frontend/tokenizer/WriteTokenizerJson.h"
#include "ir/support/AtomicFile.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace moec;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

std::string moec::jsonText(llvm::json::Value value) {
  return llvm::formatv("{0:2}\n", value).str();
}

llvm::StringRef moec::hfTypeName(ElementType element) {
  return element == ElementType::bf16  ? "bfloat16"
         : element == ElementType::f16 ? "float16"
                                       : "float32";
}

std::vector<std::pair<std::string, std::string>>
moec::lineageFacts(const Module &module) {
  std::vector<std::pair<std::string, std::string>> facts;
  for (const auto &[key, value] : module.facts)
    for (llvm::StringRef prefix : {"lineage.", "training.", "upcycle."})
      if (llvm::StringRef(key).starts_with(prefix))
        facts.emplace_back(key, value);
  return facts;
}

std::string moec::hfConfigText(const Module &module, const ExportPlan &plan,
                               ElementType element) {
  JsonFields object = hfConfig(*plan.target, plan.config, element);
  JsonFields lineage;
  for (auto &[key, value] : lineageFacts(module))
    lineage.set(key, llvm::StringRef(value));
  if (!lineage.empty())
    object.set("moec", lineage);
  return object.text() + "\n";
}

/// A source's path as the module means it.
static std::string pathOf(const Module &module, const SourceFile &file) {
  llvm::SmallString<256> whole(file.path);
  if (!module.baseFolder.empty() && path::is_relative(whole)) {
    whole = module.baseFolder;
    path::append(whole, file.path);
  }
  path::remove_dots(whole, /*remove_dot_dot=*/true);
  return whole.str().str();
}

llvm::Error moec::recordSources(Module &module, CheckpointReader *reader,
                                WorkProgress progress) {
  if (module.facts.count("lineage.source"))
    return llvm::Error::success();
  std::vector<std::string> names, digests;
  for (auto &file : module.files()) {
    if (reader && file->sha256.empty()) {
      MOEC_ASSIGN(file->sha256, reader->digest(*file, progress));
    }
    std::string whole = pathOf(module, *file);
    names.push_back(path::filename(whole).str());
    digests.push_back(file->sha256.empty() ? std::string(64, '0')
                                           : file->sha256);
  }
  if (names.empty())
    return llvm::Error::success();
  module.facts["lineage.source"] = llvm::join(names, ", ");
  module.facts["lineage.source_sha256"] = llvm::join(digests, ", ");
  return llvm::Error::success();
}

/// Folders that sources are, in the module's order.
static std::vector<std::string> sourceFolders(const Module &module) {
  std::vector<std::string> folders;
  for (auto &file : module.files()) {
    std::string whole = pathOf(module, *file);
    if (fs::is_directory(whole))
      folders.push_back(whole);
  }
  return folders;
}

static llvm::Expected<CompanionFile> load(llvm::StringRef folder,
                                          llvm::StringRef name) {
  llvm::SmallString<256> whole(folder);
  path::append(whole, name);
  auto buffer = llvm::MemoryBuffer::getFile(whole);
  if (!buffer)
    return error(Location::inFile(whole.str().str()))
           << buffer.getError().message();
  return CompanionFile{name.str(), (*buffer)->getBuffer().str()};
}

/// All that a tokenizer of Hugging Face may consist of, and what generation
/// takes from beside it.
static constexpr llvm::StringLiteral kTokenizerFiles[] = {
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json"};

/// Whether a folder's files give this tokenizer.
static bool holdsTokenizer(llvm::StringRef folder, const std::string &asset) {
  auto imported = importTokenizer(folder);
  if (imported)
    return serialize(*imported) == asset;
  // Then the files of the export are made from the asset.
  llvm::consumeError(imported.takeError());
  return false;
}

llvm::Expected<std::vector<CompanionFile>>
moec::tokenizerFiles(const Module &module, std::vector<std::string> &notes) {
  std::vector<CompanionFile> files;
  auto asset = module.assets.find("tokenizer");
  if (asset == module.assets.end()) {
    notes.push_back("the model has no tokenizer, so that none is written");
    return files;
  }
  for (const std::string &folder : sourceFolders(module)) {
    if (!holdsTokenizer(folder, asset->second))
      continue;
    for (llvm::StringRef name : kTokenizerFiles) {
      llvm::SmallString<256> whole(folder);
      path::append(whole, name);
      if (!fs::exists(whole))
        continue;
      MOEC_ASSIGN(CompanionFile file, load(folder, name));
      files.push_back(std::move(file));
    }
    return files;
  }
  MOEC_ASSIGN(TokenizerAsset tokenizer,
              deserializeTokenizer(asset->second, "the module's tokenizer"));
  auto text = writeTokenizerJson(tokenizer);
  if (!text) {
    notes.push_back("no tokenizer is written: " + toText(text.takeError()));
    return files;
  }
  files.push_back({"tokenizer.json", std::move(*text)});
  files.push_back({"tokenizer_config.json", writeTokenizerConfig(tokenizer)});
  return files;
}

llvm::Expected<std::optional<GgufTokenizerData>>
moec::ggufTokenizer(const Module &module, std::vector<std::string> &notes) {
  auto asset = module.assets.find("tokenizer");
  if (asset == module.assets.end()) {
    notes.push_back("the model has no tokenizer, so that none is written");
    return std::nullopt;
  }
  for (auto &file : module.files()) {
    std::string whole = pathOf(module, *file);
    if (!llvm::StringRef(whole).ends_with(".gguf"))
      continue;
    MOEC_ASSIGN(auto stored, readGgufTokenizer(whole));
    if (!stored)
      continue;
    MOEC_ASSIGN(TokenizerAsset own, importGgufTokenizer(*stored));
    if (serialize(own) == asset->second)
      return std::move(stored);
  }
  MOEC_ASSIGN(TokenizerAsset tokenizer,
              deserializeTokenizer(asset->second, "the module's tokenizer"));
  auto data = makeGgufTokenizer(tokenizer);
  if (data)
    return std::optional(std::move(*data));
  notes.push_back("no tokenizer is written: " + toText(data.takeError()));
  return std::nullopt;
}

static bool isLicence(llvm::StringRef name) {
  return llvm::any_of(
      llvm::ArrayRef<llvm::StringRef>{"licence", "license", "notice", "copying",
                                      "use_policy"},
      [&](llvm::StringRef stem) { return name.starts_with_insensitive(stem); });
}

llvm::Expected<std::vector<CompanionFile>>
moec::licenceFiles(const Module &module) {
  std::vector<CompanionFile> files;
  for (const std::string &folder : sourceFolders(module)) {
    std::error_code code;
    std::vector<std::string> names;
    for (fs::directory_iterator it(folder, code), end; it != end && !code;
         it.increment(code)) {
      llvm::StringRef name = path::filename(it->path());
      if (isLicence(name) && fs::is_regular_file(it->path()))
        names.push_back(name.str());
    }
    if (code)
      return error(Location::inFile(folder)) << code.message();
    llvm::sort(names);
    for (const std::string &name : names) {
      MOEC_ASSIGN(CompanionFile file, load(folder, name));
      auto same = llvm::find_if(files, [&](const CompanionFile &other) {
        return other.name == name;
      });
      if (same != files.end() && same->text == file.text)
        continue;
      // Sources under two licences.
      if (same != files.end())
        file.name += "." + path::filename(folder).str();
      files.push_back(std::move(file));
    }
  }
  return files;
}

static void addTable(llvm::raw_ostream &os,
                     llvm::ArrayRef<std::pair<std::string, std::string>> rows) {
  os << "| | |\n| --- | --- |\n";
  for (auto &[key, value] : rows) {
    std::string cell;
    for (char c : value)
      cell += c == '|' ? "\\|" : c == '\n' ? " " : std::string(1, c);
    os << "| " << key << " | " << cell << " |\n";
  }
  os << "\n";
}

static void addShape(llvm::raw_ostream &os, const ModelConfig &config) {
  std::vector<std::pair<std::string, std::string>> rows;
  auto add = [&](const char *key, int64_t number) {
    rows.emplace_back(key, std::to_string(number));
  };
  add("layers", config.layers);
  add("hidden", config.hidden);
  add("heads", config.heads);
  add("heads of keys and values", config.kvHeads);
  add("vocabulary", config.vocab);
  add("context", config.context);
  if (config.moe) {
    add("experts", config.moe->experts);
    add("experts a token", config.moe->route.k);
    add("width of an expert", config.moe->ffn);
    if (config.moe->sharedFfn)
      add("width of the shared expert", config.moe->sharedFfn);
  } else {
    add("width of the feed-forward networks", config.ffn);
  }
  os << "## Shape\n\n";
  addTable(os, rows);
}

std::string moec::modelCard(const Module &module, const ExportPlan &plan) {
  std::string text;
  llvm::raw_string_ostream os(text);
  const ModelConfig &config = plan.config;
  os << "---\nlibrary_name: transformers\ntags:\n- moec\n";
  if (config.moe)
    os << "- mixture-of-experts\n";
  if (module.facts.count("upcycle.options"))
    os << "- upcycled\n";
  os << "---\n\n# "
     << (config.name.empty() ? std::string("Model") : config.name) << "\n\n";
  if (plan.target)
    os << "Architecture `" << plan.target->name << "`, written by moec "
       << MOEC_VERSION << ".\n\n";
  else
    os << "A model in moec's own form, `module.moe`, written by moec "
       << MOEC_VERSION << ".\n\n";
  if (plan.target)
    addShape(os, config);
  auto facts = lineageFacts(module);
  if (!facts.empty()) {
    os << "## Lineage\n\n";
    addTable(os, facts);
  }
  return text;
}

llvm::Error moec::writeCompanions(const Module &module, const ExportPlan &plan,
                                  llvm::StringRef folder,
                                  std::vector<std::string> &notes) {
  MOEC_ASSIGN(auto files, tokenizerFiles(module, notes));
  MOEC_ASSIGN(auto licences, licenceFiles(module));
  llvm::append_range(files, licences);
  bool generation = llvm::any_of(files, [](const CompanionFile &file) {
    return file.name == "generation_config.json";
  });
  if (!generation && plan.target)
    files.push_back({"generation_config.json",
                     hfGenerationConfig(plan.config).text() + "\n"});
  files.push_back({"README.md", modelCard(module, plan)});
  for (const CompanionFile &file : files) {
    llvm::SmallString<256> whole(folder);
    path::append(whole, file.name);
    MOEC_TRY(writeFileAtomically(whole, file.text));
  }
  return llvm::Error::success();
}
