#include "frontend/llama2c/Llama2c.h"

#include "ir/support/Diagnostic.h"
#include "llvm/Support/Endian.h"

#include <array>

using namespace moec;

namespace {
struct Field {
  llvm::StringLiteral name;
  int64_t Llama2cHeader::*member;
  int64_t max;
};
} // namespace

/// Larger than any model of this format, and small enough that no product of
/// two overflows.
static constexpr int64_t kMaxField = 1 << 24;
/// What is made for each layer stays small.
static constexpr int64_t kMaxLayers = 1 << 14;

static constexpr std::array<Field, 7> kFields = {{
    {"dim", &Llama2cHeader::dim, kMaxField},
    {"hidden_dim", &Llama2cHeader::ffn, kMaxField},
    {"n_layers", &Llama2cHeader::layers, kMaxLayers},
    {"n_heads", &Llama2cHeader::heads, kMaxField},
    {"n_kv_heads", &Llama2cHeader::kvHeads, kMaxField},
    {"vocab_size", &Llama2cHeader::vocab, kMaxField},
    {"seq_len", &Llama2cHeader::context, kMaxField},
}};

/// The first bytes of version 1 and later: "ak42".
static constexpr uint32_t kLaterMagic = 0x616b3432;

static llvm::Expected<Llama2cHeader> parseHeader(llvm::ArrayRef<uint8_t> start,
                                                 llvm::StringRef path) {
  if (start.size() < kLlama2cHeaderBytes)
    return error(Location::atByte(path.str(), 0))
           << "expected a llama2.c header of " << kLlama2cHeaderBytes
           << " bytes, found " << start.size();
  if (llvm::support::endian::read32le(start.data()) == kLaterMagic)
    return error(Location::atByte(path.str(), 0))
           << "expected a llama2.c checkpoint of version 0, found version "
           << llvm::support::endian::read32le(start.data() + 4);
  Llama2cHeader header;
  for (size_t i = 0; i < kFields.size(); ++i) {
    int64_t value =
        int32_t(llvm::support::endian::read32le(start.data() + 4 * i));
    if (kFields[i].name == "vocab_size") {
      header.tied = value > 0;
      value = value < 0 ? -value : value;
    }
    if (value < 1 || value > kFields[i].max)
      return error(Location::atByte(path.str(), int64_t(4 * i)))
             << "expected '" << kFields[i].name << "' from 1 to "
             << kFields[i].max << " in the llama2.c header, found " << value;
    header.*kFields[i].member = value;
  }
  if (header.dim % header.heads || header.dim / header.heads % 2)
    return error(Location::atByte(path.str(), 12))
           << "expected 'n_heads' to divide 'dim' (" << header.dim
           << ") into heads of even size, found " << header.heads;
  if (header.heads % header.kvHeads)
    return error(Location::atByte(path.str(), 16))
           << "expected 'n_kv_heads' to divide 'n_heads' (" << header.heads
           << "), found " << header.kvHeads;
  return header;
}

namespace {
/// Hands out consecutive places; remembers whether a size overflowed.
class Layout {
public:
  void skip(llvm::ArrayRef<int64_t> shape) { (void)take(shape); }
  void add(std::string name, std::vector<int64_t> shape) {
    auto [offset, bytes] = take(shape);
    tensors.push_back({std::move(name), ElementType::f32, std::move(shape),
                       /*file=*/0, offset, bytes});
  }
  /// The same tensor of each layer; `suffix` follows `layers.L.`.
  void addLayers(int64_t layers, llvm::StringRef suffix,
                 const std::vector<int64_t> &shape) {
    for (int64_t layer = 0; layer < layers; ++layer) {
      if (isTooLarge)
        return;
      add("layers." + std::to_string(layer) + "." + suffix.str(), shape);
    }
  }

  std::vector<CheckpointTensor> tensors;
  uint64_t end = kLlama2cHeaderBytes;
  uint64_t limit = 0;
  bool isTooLarge = false;

private:
  std::pair<uint64_t, uint64_t> take(llvm::ArrayRef<int64_t> shape) {
    auto elements = elementCount(shape);
    auto bytes = elements ? byteSize(ElementType::f32, *elements)
                          : std::optional<uint64_t>();
    auto next = bytes ? checkedAdd(end, *bytes) : std::nullopt;
    uint64_t offset = end;
    // Stops at the first that does not fit, so that a hostile number of layers
    // costs no memory.
    if (!next || *next > limit)
      isTooLarge = true;
    else
      end = *next;
    return {offset, bytes.value_or(0)};
  }
};
} // namespace

llvm::Expected<std::vector<CheckpointTensor>>
moec::parseLlama2c(llvm::ArrayRef<uint8_t> start, uint64_t fileBytes,
                   llvm::StringRef path, Llama2cHeader &header) {
  MOEC_ASSIGN(header, parseHeader(start, path));
  int64_t dim = header.dim, headDim = header.dim / header.heads;
  int64_t kvDim = header.kvHeads * headDim, layers = header.layers;
  Layout layout;
  layout.limit = fileBytes;
  layout.add("tok_embeddings.weight", {header.vocab, dim});
  layout.addLayers(layers, "attention_norm.weight", {dim});
  layout.addLayers(layers, "attention.wq.weight", {dim, dim});
  layout.addLayers(layers, "attention.wk.weight", {kvDim, dim});
  layout.addLayers(layers, "attention.wv.weight", {kvDim, dim});
  layout.addLayers(layers, "attention.wo.weight", {dim, dim});
  layout.addLayers(layers, "ffn_norm.weight", {dim});
  layout.addLayers(layers, "feed_forward.w1.weight", {header.ffn, dim});
  layout.addLayers(layers, "feed_forward.w2.weight", {dim, header.ffn});
  layout.addLayers(layers, "feed_forward.w3.weight", {header.ffn, dim});
  layout.add("norm.weight", {dim});
  // The cosines and sines of the rope angles, which are computed anew.
  layout.skip({header.context, headDim / 2});
  layout.skip({header.context, headDim / 2});
  if (!header.tied)
    layout.add("output.weight", {header.vocab, dim});
  if (layout.isTooLarge)
    return error(Location::atByte(path.str(), 0))
           << "the header asks for more tensors than the file's " << fileBytes
           << " bytes hold; it is truncated or no llama2.c checkpoint";
  if (layout.end != fileBytes)
    return error(Location::atByte(path.str(), int64_t(layout.end)))
           << "expected the llama2.c checkpoint to end here, but the file has "
           << fileBytes << " bytes";
  return std::move(layout.tensors);
}

bool moec::isLlama2c(llvm::ArrayRef<uint8_t> start, uint64_t fileBytes) {
  Llama2cHeader header;
  auto tensors = parseLlama2c(start, fileBytes, "", header);
  if (tensors)
    return true;
  llvm::consumeError(tensors.takeError()); // The question was a yes or no.
  return false;
}

static JsonMember setting(llvm::StringRef name, int64_t value,
                          uint64_t offset) {
  JsonMember member;
  member.key = name.str();
  member.keyOffset = offset;
  member.value.kind = JsonValue::Kind::number;
  member.value.isInteger = true;
  member.value.integer = value;
  member.value.number = double(value);
  member.value.offset = offset;
  return member;
}

llvm::Expected<Checkpoint> moec::openLlama2c(llvm::StringRef path) {
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  Llama2cHeader header;
  MOEC_ASSIGN(std::vector<CheckpointTensor> tensors,
              parseLlama2c(file->bytes(), file->size(), path, header));
  JsonValue settings;
  settings.kind = JsonValue::Kind::object;
  for (size_t i = 0; i < kFields.size(); ++i)
    settings.members.push_back(
        setting(kFields[i].name, header.*kFields[i].member, 4 * i));
  JsonMember tied = setting("tied", 0, 20);
  tied.value.kind = JsonValue::Kind::boolean;
  tied.value.boolean = header.tied;
  settings.members.push_back(std::move(tied));

  Checkpoint checkpoint(CheckpointFormat::llama2c, path.str(),
                        Config(path.str(), std::move(settings)));
  checkpoint.addFile(std::move(file));
  for (CheckpointTensor &tensor : tensors)
    checkpoint.addTensor(std::move(tensor));
  return std::move(checkpoint);
}
