#include "ir/support/SafetensorsWriter.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Escape.h"
#include "ir/support/Json.h"
#include "ir/support/MappedFile.h"
#include "ir/support/Parallel.h"
#include "ir/support/Safetensors.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/Errno.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <fcntl.h>
#include <mutex>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

using namespace moec;

static constexpr llvm::StringLiteral kJournalName = "moec-journal.jsonl";
static constexpr llvm::StringLiteral kIndexName =
    "model.safetensors.index.json";

//===----------------------------------------------------------------------===//
// Layout
//===----------------------------------------------------------------------===//

/// The length field and the JSON, padded with spaces so that the data is
/// aligned to 64 bytes, which suits every element type and vector unit.
static std::string
encodeHeader(llvm::ArrayRef<SafetensorsLayout> tensors,
             llvm::ArrayRef<SafetensorsShard::Tensor> members,
             const SafetensorsMetadata &metadata) {
  std::string json;
  llvm::raw_string_ostream os(json);
  llvm::json::OStream out(os);
  out.object([&] {
    if (!metadata.empty())
      out.attributeObject("__metadata__", [&] {
        for (const auto &[key, value] : metadata)
          out.attribute(toUtf8(key), toUtf8(value));
      });
    uint64_t begin = 0;
    for (const SafetensorsShard::Tensor &member : members) {
      const SafetensorsLayout &tensor = tensors[member.index];
      out.attributeObject(tensor.name, [&] {
        out.attribute("dtype", *safetensorsTypeName(tensor.type));
        out.attributeArray("shape", [&] {
          for (int64_t dim : tensor.shape)
            out.value(dim);
        });
        out.attributeArray("data_offsets", [&] {
          out.value(int64_t(begin));
          begin += member.byteSize;
          out.value(int64_t(begin));
        });
      });
    }
  });
  json.append((64 - (json.size() + 8) % 64) % 64, ' ');
  std::string header(8, '\0');
  llvm::support::endian::write64le(header.data(), json.size());
  return header + json;
}

llvm::Expected<std::vector<SafetensorsShard>>
moec::layoutSafetensors(llvm::ArrayRef<SafetensorsLayout> tensors,
                        uint64_t maxShardBytes,
                        const SafetensorsMetadata &metadata) {
  std::vector<SafetensorsShard> shards(1);
  llvm::StringSet<> names;
  uint64_t dataBytes = 0, totalBytes = 0;
  for (size_t index = 0; index < tensors.size(); ++index) {
    const SafetensorsLayout &tensor = tensors[index];
    Location loc = Location::ofObject("tensor '" + tensor.name + "'");
    if (!names.insert(tensor.name).second)
      return error(loc) << "two tensors of the output have this name";
    if (!llvm::json::isUTF8(tensor.name))
      return error(loc) << "the name is no UTF-8, which safetensors wants";
    if (!safetensorsTypeName(tensor.type))
      return error(loc) << "safetensors cannot store elements of type "
                        << elementTypeName(tensor.type);
    auto elements = elementCount(tensor.shape);
    auto bytes = elements ? byteSize(tensor.type, *elements) : std::nullopt;
    auto total = bytes ? checkedAdd(totalBytes, *bytes) : std::nullopt;
    if (!total || *total >> 62)
      return error(loc) << "the size of the output overflows at this tensor";
    totalBytes = *total;
    if (maxShardBytes && dataBytes && dataBytes + *bytes > maxShardBytes) {
      shards.emplace_back();
      dataBytes = 0;
    }
    shards.back().tensors.push_back({index, dataBytes, *bytes});
    dataBytes += *bytes;
  }
  for (size_t i = 0; i < shards.size(); ++i) {
    SafetensorsShard &shard = shards[i];
    shard.fileName = shards.size() == 1
                         ? "model.safetensors"
                         : llvm::formatv("model-{0:05}-of-{1:05}.safetensors",
                                         i + 1, shards.size())
                               .str();
    shard.header = encodeHeader(tensors, shard.tensors, metadata);
    shard.fileBytes = shard.header.size();
    for (SafetensorsShard::Tensor &tensor : shard.tensors) {
      tensor.byteOffset += shard.header.size();
      shard.fileBytes += tensor.byteSize;
    }
  }
  return shards;
}

static std::string encodeIndex(llvm::ArrayRef<SafetensorsLayout> tensors,
                               llvm::ArrayRef<SafetensorsShard> shards) {
  std::vector<std::pair<llvm::StringRef, llvm::StringRef>> files;
  uint64_t totalBytes = 0;
  for (const SafetensorsShard &shard : shards)
    for (const SafetensorsShard::Tensor &tensor : shard.tensors) {
      files.emplace_back(tensors[tensor.index].name, shard.fileName);
      totalBytes += tensor.byteSize;
    }
  llvm::sort(files);
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::json::OStream out(os, /*IndentSize=*/2);
  out.object([&] {
    out.attributeObject(
        "metadata", [&] { out.attribute("total_size", int64_t(totalBytes)); });
    out.attributeObject("weight_map", [&] {
      for (auto [name, file] : files)
        out.attribute(name, file);
    });
  });
  text += '\n';
  return text;
}

//===----------------------------------------------------------------------===//
// Writer
//===----------------------------------------------------------------------===//

struct SafetensorsWriter::State {
  std::string directory;
  std::vector<SafetensorsLayout> layout;
  std::vector<SafetensorsShard> shards;
  /// Parallel to `shards`.
  std::vector<AtomicFile> files;
  struct Place {
    size_t shard;
    uint64_t byteOffset;
    uint64_t byteSize;
  };
  /// Parallel to `layout`.
  std::vector<Place> places;
  /// The digests of finished tensors, parallel to `layout`.
  std::vector<std::optional<Digest>> complete;
  size_t resumed = 0;
  /// Guards `complete` and the journal.
  std::mutex mutex;
  int journal = -1;
  std::string journalPath;

  ~State() {
    if (journal >= 0)
      ::close(journal);
  }

  llvm::Error openFiles(bool isResumed);
  llvm::Error openJournal(const std::string &firstLine);
  /// What the journal at `journalPath` holds; empty where there is none.
  llvm::Expected<std::string> readJournal() const;
  llvm::Error confirm(llvm::StringRef lines, unsigned threads);
  llvm::Expected<Digest> digestOf(size_t index) const;
};

SafetensorsWriter::SafetensorsWriter(std::unique_ptr<State> state)
    : state(std::move(state)) {}
SafetensorsWriter::SafetensorsWriter(SafetensorsWriter &&) = default;
SafetensorsWriter &SafetensorsWriter::operator=(SafetensorsWriter &&) = default;
SafetensorsWriter::~SafetensorsWriter() = default;

llvm::ArrayRef<SafetensorsShard> SafetensorsWriter::shards() const {
  return state->shards;
}

bool SafetensorsWriter::isComplete(size_t index) const {
  std::lock_guard<std::mutex> lock(state->mutex);
  return state->complete[index].has_value();
}

size_t SafetensorsWriter::resumedTensors() const { return state->resumed; }

static llvm::Error journalError(const std::string &path,
                                llvm::StringRef action) {
  int number = errno;
  return error(Location::inFile(path))
         << "cannot " << action
         << " the journal: " << llvm::sys::StrError(number);
}

static std::string journalLine(llvm::StringRef tensor, const Digest &digest) {
  std::string line;
  llvm::raw_string_ostream os(line);
  os << llvm::json::Value(
            llvm::json::Object{{"tensor", tensor}, {"sha256", toHex(digest)}})
     << '\n';
  return line;
}

/// The journal's first line: a digest of all that decides the output's bytes.
static std::string journalHead(llvm::ArrayRef<SafetensorsShard> shards,
                               llvm::StringRef identity) {
  Sha256 hash;
  hash.updateSized(identity);
  for (const SafetensorsShard &shard : shards) {
    hash.updateSized(shard.fileName);
    hash.updateSized(shard.header);
  }
  std::string line;
  llvm::raw_string_ostream os(line);
  os << llvm::json::Value(llvm::json::Object{{"journal", 1},
                                             {"output", toHex(hash.finish())}})
     << '\n';
  return line;
}

llvm::Expected<std::string> SafetensorsWriter::State::readJournal() const {
  struct stat status;
  if (::stat(journalPath.c_str(), &status) || status.st_size == 0)
    return std::string();
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> file,
              MappedFile::open(journalPath));
  return llvm::toStringRef(file->bytes()).str();
}

/// Removes the containers of an earlier run that made something else.
static llvm::Error removeContainers(const std::string &directory) {
  std::error_code code;
  for (llvm::sys::fs::directory_iterator it(directory, code), end;
       !code && it != end; it.increment(code)) {
    llvm::StringRef path = it->path();
    if (path.ends_with(".safetensors") ||
        path.ends_with(".safetensors.partial") || path.ends_with(kIndexName))
      if ((code = llvm::sys::fs::remove(path)))
        break;
  }
  if (code)
    return error(Location::inFile(directory))
           << "cannot remove the files of an earlier run: " << code.message();
  return llvm::Error::success();
}

llvm::Error SafetensorsWriter::State::openFiles(bool isResumed) {
  for (const SafetensorsShard &shard : shards) {
    std::string path = directory + "/" + shard.fileName;
    // An earlier run may have been stopped while it renamed.
    if (isResumed && !::access(path.c_str(), F_OK) &&
        ::access((path + ".partial").c_str(), F_OK))
      (void)::rename(path.c_str(), (path + ".partial").c_str());
    MOEC_ASSIGN(AtomicFile file, AtomicFile::create(path, Uncommitted::keep));
    MOEC_TRY(file.preallocate(shard.fileBytes));
    MOEC_TRY(file.append(shard.header));
    files.push_back(std::move(file));
  }
  return llvm::Error::success();
}

llvm::Expected<Digest> SafetensorsWriter::State::digestOf(size_t index) const {
  const Place &place = places[index];
  std::vector<uint8_t> buffer(std::min<uint64_t>(place.byteSize, 4 << 20));
  Sha256 hash;
  for (uint64_t done = 0; done < place.byteSize; done += buffer.size()) {
    llvm::MutableArrayRef<uint8_t> part(buffer);
    part =
        part.take_front(std::min<uint64_t>(part.size(), place.byteSize - done));
    MOEC_TRY(files[place.shard].readAt(place.byteOffset + done, part));
    hash.update(part);
  }
  return hash.finish();
}

/// Takes over the tensors that the journal's lines claim and whose bytes
/// confirm it. A broken line makes no claim, and neither does a last line that
/// was cut off; the tensor is then written again.
llvm::Error SafetensorsWriter::State::confirm(llvm::StringRef lines,
                                              unsigned threads) {
  llvm::StringMap<size_t> indices;
  for (size_t i = 0; i < layout.size(); ++i)
    indices[layout[i].name] = i;
  std::vector<std::optional<Digest>> claimed(layout.size());
  for (size_t end; (end = lines.find('\n')) != llvm::StringRef::npos;) {
    auto entry = JsonDocument::parse(lines.take_front(end).str(), journalPath);
    lines = lines.drop_front(end + 1);
    if (!entry) {
      llvm::consumeError(entry.takeError()); // No claim, see above.
      continue;
    }
    const JsonValue *name = (*entry)->root().find("tensor");
    const JsonValue *digest = (*entry)->root().find("sha256");
    auto index = name ? indices.find(name->string) : indices.end();
    if (digest && index != indices.end())
      claimed[index->second] = parseDigest(digest->string);
  }
  MOEC_TRY(
      parallelFor(layout.size(), threads, [&](uint64_t index) -> llvm::Error {
        if (!claimed[index])
          return llvm::Error::success();
        MOEC_ASSIGN(Digest found, digestOf(index));
        if (found == *claimed[index])
          complete[index] = found;
        return llvm::Error::success();
      }));
  for (const auto &digest : complete)
    resumed += digest.has_value();
  return llvm::Error::success();
}

/// Writes the journal anew, with the confirmed lines only.
llvm::Error
SafetensorsWriter::State::openJournal(const std::string &firstLine) {
  std::string text = firstLine;
  for (size_t index = 0; index < layout.size(); ++index)
    if (complete[index])
      text += journalLine(layout[index].name, *complete[index]);
  MOEC_TRY(writeFileAtomically(journalPath, text));
  journal = ::open(journalPath.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (journal < 0)
    return journalError(journalPath, "open");
  return llvm::Error::success();
}

llvm::Expected<SafetensorsWriter> SafetensorsWriter::create(
    llvm::StringRef directory, llvm::ArrayRef<SafetensorsLayout> tensors,
    uint64_t maxShardBytes, const SafetensorsMetadata &metadata,
    llvm::StringRef identity, unsigned threads) {
  auto state = std::make_unique<State>();
  state->directory = directory.str();
  state->journalPath = state->directory + "/" + kJournalName.str();
  state->layout = tensors.vec();
  MOEC_ASSIGN(state->shards,
              layoutSafetensors(tensors, maxShardBytes, metadata));
  state->places.resize(tensors.size());
  for (size_t i = 0; i < state->shards.size(); ++i)
    for (const SafetensorsShard::Tensor &tensor : state->shards[i].tensors)
      state->places[tensor.index] = {i, tensor.byteOffset, tensor.byteSize};
  state->complete.resize(tensors.size());

  std::string head = journalHead(state->shards, identity);
  MOEC_ASSIGN(std::string journal, state->readJournal());
  llvm::StringRef lines = journal;
  bool isResumed = lines.consume_front(head);
  if (!isResumed)
    MOEC_TRY(removeContainers(state->directory));
  MOEC_TRY(state->openFiles(isResumed));
  if (isResumed)
    MOEC_TRY(state->confirm(lines, threads));
  MOEC_TRY(state->openJournal(head));
  return SafetensorsWriter(std::move(state));
}

llvm::Error SafetensorsWriter::write(size_t index, uint64_t byteOffset,
                                     llvm::ArrayRef<uint8_t> bytes) {
  const State::Place &place = state->places[index];
  assert(byteOffset <= place.byteSize &&
         bytes.size() <= place.byteSize - byteOffset &&
         "a write stays inside its tensor");
  AtomicFile &file = state->files[place.shard];
  MOEC_TRY(file.writeAt(place.byteOffset + byteOffset, bytes));
  file.writeBehind(place.byteOffset + byteOffset, bytes.size());
  return llvm::Error::success();
}

llvm::Error SafetensorsWriter::complete(size_t index, const Digest &digest) {
  std::string line = journalLine(state->layout[index].name, digest);
  std::lock_guard<std::mutex> lock(state->mutex);
  // One write, so that a line is there wholly or, at a crash, cut off.
  ssize_t written = ::write(state->journal, line.data(), line.size());
  if (written != ssize_t(line.size()))
    return journalError(state->journalPath, "write");
  state->complete[index] = digest;
  return llvm::Error::success();
}

llvm::Error SafetensorsWriter::finish() {
  for (size_t index = 0; index < state->layout.size(); ++index)
    if (!state->complete[index])
      return error(Location::ofObject("tensor '" + state->layout[index].name +
                                      "'"))
             << "the output ends without this tensor";
  // All data is durable before the first rename, so that an interruption
  // between the renames is short.
  for (AtomicFile &file : state->files)
    MOEC_TRY(file.sync());
  if (state->shards.size() > 1)
    MOEC_TRY(writeFileAtomically(state->directory + "/" + kIndexName.str(),
                                 encodeIndex(state->layout, state->shards)));
  for (AtomicFile &file : state->files)
    MOEC_TRY(file.commit());
  if (::unlink(state->journalPath.c_str()))
    return journalError(state->journalPath, "remove");
  return llvm::Error::success();
}

llvm::Error
moec::writeSafetensorsFile(llvm::StringRef path,
                           llvm::ArrayRef<SafetensorsLayout> tensors,
                           llvm::ArrayRef<llvm::ArrayRef<uint8_t>> data,
                           const SafetensorsMetadata &metadata) {
  MOEC_ASSIGN(std::vector<SafetensorsShard> shards,
              layoutSafetensors(tensors, /*maxShardBytes=*/0, metadata));
  MOEC_ASSIGN(AtomicFile file, AtomicFile::create(path));
  MOEC_TRY(file.append(shards[0].header));
  for (const SafetensorsShard::Tensor &tensor : shards[0].tensors) {
    assert(data[tensor.index].size() == tensor.byteSize && "sizes must agree");
    MOEC_TRY(file.append(data[tensor.index]));
  }
  return file.commit();
}
