#include "runtime/cpu/Pack.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/QuantizedBlocks.h"
#include "runtime/cpu/ThreadPool.h"
#include "runtime/cpu/Transpose.h"
#include "llvm/ADT/STLExtras.h"

#include <cassert>
#include <cstring>

using namespace moec;
using namespace moec::runtime;

namespace {

constexpr uint64_t kQuantBlock = Panels::kQuantBlock;
constexpr uint64_t kQuantBlockBytes = 34; // f16 scale, 32 int8
// Columns converted at a time, so that a strip's rows stay in the L2 cache. A
// multiple of every block and group.
constexpr uint64_t kChunk = 2048;
// Elements of a row-major weight that are converted together: a multiple of
// every block.
constexpr uint64_t kRowMajorUnit = uint64_t(1) << 16;

uint64_t ceilDiv(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

/// A weight's pieces, found by element.
struct Source {
  std::vector<HostTensor::Piece> pieces;
  /// Where each piece begins, in elements, and where the last one ends.
  std::vector<uint64_t> starts;
  uint64_t rowElements = 1;

  /// Fails unless the pieces have whole rows and cover the shape.
  static llvm::Expected<Source> of(const HostTensor &weight);

  /// The piece that holds element `first`, which there is, and where in the
  /// piece's bytes the element lies.
  std::pair<const HostTensor::Piece &, uint64_t> find(uint64_t first) const {
    size_t index =
        size_t(llvm::upper_bound(starts, first) - starts.begin()) - 1;
    const HostTensor::Piece &piece = pieces[index];
    first -= starts[index];
    if (piece.rotaryHeads) {
      uint64_t rows = (starts[index + 1] - starts[index]) / rowElements;
      uint64_t headRows = rows / piece.rotaryHeads;
      uint64_t row = first / rowElements, column = first % rowElements;
      uint64_t head = row / headRows, j = row % headRows;
      uint64_t pair = j % (headRows / 2), half = j / (headRows / 2);
      first = (head * headRows + 2 * pair + half) * rowElements + column;
    }
    return {piece, first};
  }
};

llvm::Expected<Source> Source::of(const HostTensor &weight) {
  Source source;
  source.pieces = weight.pieces;
  if (source.pieces.empty())
    source.pieces.push_back({weight.bytes, weight.encoding, weight.owner, 0});
  std::optional<uint64_t> elements = elementCount(weight.shape);
  if (!elements)
    return error() << "a weight's shape exceeds 63 bits";
  bool vector = weight.shape.size() < 2;
  source.rowElements = vector ? 1 : uint64_t(weight.shape.back());
  source.starts.push_back(0);
  for (const HostTensor::Piece &piece : source.pieces) {
    // A vector is cut between blocks.
    uint64_t row = vector ? blockElements(piece.encoding) : source.rowElements;
    std::optional<uint64_t> rowBytes = byteSize(piece.encoding, row);
    if (!rowBytes || (*rowBytes ? piece.bytes.size() % *rowBytes != 0
                                : !piece.bytes.empty()))
      return error() << "expects whole rows of " << row << " elements of "
                     << elementTypeName(piece.encoding) << ", got "
                     << piece.bytes.size() << " bytes";
    uint64_t rows = *rowBytes ? piece.bytes.size() / *rowBytes : 0;
    if (piece.rotaryHeads &&
        (rows == 0 || rows % (2 * uint64_t(piece.rotaryHeads)) != 0 ||
         row != source.rowElements))
      return error() << "expects the rows of " << piece.rotaryHeads
                     << " heads, in pairs, got " << rows;
    source.starts.push_back(source.starts.back() + rows * row);
  }
  if (source.starts.back() != *elements)
    return error() << "expects " << *elements << " elements, got "
                   << source.starts.back();
  return source;
}

/// Elements [first, first + count), all of one piece and, where rows are taken
/// in another order, of one row, in `element`'s encoding. The buffers are used
/// where the piece's encoding differs.
const uint8_t *fetch(const Source &weight, ElementType element, uint64_t first,
                     uint64_t count, std::vector<float> &numbers,
                     std::vector<uint8_t> &encoded) {
  auto [piece, at] = weight.find(first);
  if (piece.encoding == element && at % blockElements(element) == 0)
    return piece.bytes.data() +
           at / blockElements(element) * blockBytes(element);
  numbers.resize(count);
  decodeRangeToF32(piece.encoding, piece.bytes, at, numbers);
  encoded.resize(*byteSize(element, count));
  encodeFromF32(element, numbers, encoded);
  return encoded.data();
}

/// What one thread needs to write strips.
class StripWriter {
public:
  StripWriter(const WeightLayout &layout, const Panels &panels)
      : layout(layout), panels(panels) {}

  void write(const Source &weight, uint64_t outer, uint64_t panel,
             uint8_t *out) {
    uint64_t firstRow = panel * layout.panel;
    rowsHere = std::min<uint64_t>(layout.panel, panels.rows - firstRow);
    base = (outer * panels.rows + firstRow) * panels.columns;
    if (layout.element == ElementType::q8_0)
      writeQuantized(weight, out);
    else
      writePlain(weight, out);
  }

private:
  /// [column group][row][group]: a transposition of units of `group` elements.
  void writePlain(const Source &weight, uint8_t *out) {
    unsigned elementBytes = blockBytes(layout.element);
    uint64_t unitBytes = uint64_t(layout.group) * elementBytes;
    zeros.assign(columnsPerChunk() * elementBytes, 0);
    sources.resize(layout.panel);
    rowNumbers.resize(layout.panel);
    rowBytes.resize(layout.panel);
    for (uint64_t k = 0; k < panels.columns; k += columnsPerChunk()) {
      uint64_t columns = std::min(columnsPerChunk(), panels.columns - k);
      uint64_t units = ceilDiv(columns, layout.group);
      for (unsigned r = 0; r < layout.panel; ++r) {
        if (r >= rowsHere) {
          sources[r] = zeros.data();
          continue;
        }
        sources[r] =
            fetch(weight, layout.element, base + r * panels.columns + k,
                  columns, rowNumbers[r], rowBytes[r]);
        if (columns % layout.group) {
          // The last group is filled up with zeros, in a copy.
          std::vector<uint8_t> padded(units * unitBytes, 0);
          std::memcpy(padded.data(), sources[r], columns * elementBytes);
          rowBytes[r] = std::move(padded);
          sources[r] = rowBytes[r].data();
        }
      }
      transposeUnits(sources, units, unsigned(unitBytes),
                     out + k / layout.group * layout.panel * unitBytes);
    }
  }

  /// Per block of 32 columns: the scales, then the transposed units.
  void writeQuantized(const Source &weight, uint8_t *out) {
    rowNumbers.resize(1);
    rowBytes.resize(1);
    unsigned group = layout.group;
    uint64_t blockOut = uint64_t(layout.panel) * (kQuantBlock + 4);
    uint64_t wholeBlocks = ceilDiv(panels.columns, kQuantBlock);
    if (rowsHere < layout.panel)
      std::memset(out, 0, wholeBlocks * blockOut);
    for (uint64_t r = 0; r < rowsHere; ++r)
      for (uint64_t k = 0; k < panels.columns; k += kChunk) {
        uint64_t columns = std::min(kChunk, panels.columns - k);
        const uint8_t *blocks =
            columns % kQuantBlock == 0
                ? fetch(weight, ElementType::q8_0,
                        base + r * panels.columns + k, columns, rowNumbers[0],
                        rowBytes[0])
                : fetchRagged(weight, base + r * panels.columns + k, columns);
        for (uint64_t b = 0; b < ceilDiv(columns, kQuantBlock);
             ++b, blocks += kQuantBlockBytes) {
          uint8_t *block = out + (k / kQuantBlock + b) * blockOut;
          uint16_t half;
          std::memcpy(&half, blocks, sizeof(half));
          float scale = f16ToF32(half);
          std::memcpy(block + r * 4, &scale, sizeof(scale));
          uint8_t *quants = block + layout.panel * 4;
          for (unsigned j = 0; j < kQuantBlock; j += group)
            std::memcpy(quants + j * layout.panel + r * group, blocks + 2 + j,
                        group);
        }
      }
  }

  /// Columns that end inside a block, filled up with zeros.
  const uint8_t *fetchRagged(const Source &weight, uint64_t first,
                             uint64_t columns) {
    uint64_t padded = ceilDiv(columns, kQuantBlock) * kQuantBlock;
    rowNumbers[0].assign(padded, 0.0f);
    auto [piece, at] = weight.find(first);
    decodeRangeToF32(
        piece.encoding, piece.bytes, at,
        llvm::MutableArrayRef<float>(rowNumbers[0]).take_front(columns));
    rowBytes[0].resize(*byteSize(ElementType::q8_0, padded));
    encodeFromF32(ElementType::q8_0, rowNumbers[0], rowBytes[0]);
    return rowBytes[0].data();
  }

  /// kChunk, rounded up to whole groups.
  uint64_t columnsPerChunk() const {
    return ceilDiv(kChunk, layout.group) * layout.group;
  }

  const WeightLayout &layout;
  const Panels &panels;
  uint64_t rowsHere = 0;
  uint64_t base = 0;
  std::vector<const uint8_t *> sources;
  std::vector<std::vector<float>> rowNumbers;
  std::vector<std::vector<uint8_t>> rowBytes;
  std::vector<uint8_t> zeros;
};

/// Elements [first, first + count) of a row-major weight of another encoding,
/// or in pieces. `first` is a multiple of the output's blocks, and pieces and
/// rotary rows begin and end at one, so that each step does.
void convertRows(const Source &weight, ElementType element, uint64_t first,
                 uint64_t count, uint8_t *out) {
  std::vector<float> numbers;
  std::vector<uint8_t> encoded;
  for (uint64_t end = first + count; first < end;) {
    size_t piece =
        size_t(llvm::upper_bound(weight.starts, first) - weight.starts.begin());
    uint64_t stop = std::min(end, weight.starts[piece]);
    if (weight.pieces[piece - 1].rotaryHeads)
      stop = std::min(stop, first + weight.rowElements -
                                (first - weight.starts[piece - 1]) %
                                    weight.rowElements);
    uint64_t bytes = *byteSize(element, stop - first);
    std::memcpy(out,
                fetch(weight, element, first, stop - first, numbers, encoded),
                bytes);
    out += bytes;
    first = stop;
  }
}

} // namespace

bool runtime::isPackedAlready(const WeightLayout &layout,
                              const HostTensor &weight) {
  if (layout.kind != WeightLayout::Kind::rowMajor || !weight.pieces.empty() ||
      weight.encoding != layout.element)
    return false;
  // What kernels may assume of a row-major weight (KernelAbi.h).
  unsigned alignment =
      isBlockQuantized(layout.element) ? 1 : blockBytes(layout.element);
  return reinterpret_cast<uintptr_t>(weight.bytes.data()) % alignment == 0;
}

struct WeightPacker::Plan {
  WeightLayout layout;
  std::vector<Source> inputs;
  uint64_t bytes = 0;
  /// Bytes of a strip, or of kRowMajorUnit elements.
  uint64_t unitBytes = 1;
  /// Of a row-major weight.
  uint64_t elements = 0;
  Panels panels;

  void writeUnit(StripWriter &writer, uint64_t unit, uint8_t *out) const {
    if (layout.kind == WeightLayout::Kind::rowMajor) {
      uint64_t first = unit * kRowMajorUnit;
      convertRows(inputs[0], layout.element, first,
                  std::min(kRowMajorUnit, elements - first), out);
      return;
    }
    uint64_t panelIndex = unit / inputs.size();
    writer.write(inputs[unit % inputs.size()], panelIndex / panels.panels,
                 panelIndex % panels.panels, out);
  }
};

WeightPacker::WeightPacker(std::unique_ptr<Plan> plan)
    : plan(std::move(plan)) {}
WeightPacker::WeightPacker(WeightPacker &&) = default;
WeightPacker::~WeightPacker() = default;
uint64_t WeightPacker::bytes() const { return plan->bytes; }
uint64_t WeightPacker::unitBytes() const { return plan->unitBytes; }

llvm::Expected<WeightPacker>
WeightPacker::create(const WeightLayout &layout,
                     llvm::ArrayRef<HostTensor> weights) {
  unsigned sources = layout.kind == WeightLayout::Kind::gatedPanels ? 2 : 1;
  if (weights.size() != sources)
    return error() << "expects " << sources << " weights, got "
                   << weights.size();
  auto plan = std::make_unique<Plan>();
  plan->layout = layout;
  for (const HostTensor &weight : weights) {
    if (weight.shape != weights[0].shape)
      return error() << "expects two weights of one shape";
    MOEC_ASSIGN(Source source, Source::of(weight));
    for (const HostTensor::Piece &piece : source.pieces)
      if (piece.encoding != layout.element && !canEncodeFromF32(layout.element))
        return error() << "a weight in " << elementTypeName(piece.encoding)
                       << " cannot be converted to "
                       << elementTypeName(layout.element);
    plan->inputs.push_back(std::move(source));
  }
  std::optional<uint64_t> bytes = packedBytes(layout, weights[0].shape);
  if (!bytes)
    return error() << "a weight's packed size exceeds 64 bits";
  plan->bytes = *bytes;
  if (layout.kind == WeightLayout::Kind::rowMajor) {
    for (uint64_t start : plan->inputs[0].starts)
      if (start % blockElements(layout.element) != 0)
        return error() << "a piece that ends behind element " << start
                       << " splits a block of "
                       << elementTypeName(layout.element);
    plan->elements = plan->inputs[0].starts.back();
    plan->unitBytes = *byteSize(layout.element, kRowMajorUnit);
  } else {
    plan->panels = *Panels::of(layout, weights[0].shape);
    // A strip of no columns has no bytes, and neither has the weight.
    plan->unitBytes = std::max<uint64_t>(plan->panels.stripBytes, 1);
  }
  return WeightPacker(std::move(plan));
}

void WeightPacker::pack(uint64_t first,
                        llvm::MutableArrayRef<uint8_t> out) const {
  assert(first <= plan->bytes && out.size() <= plan->bytes - first &&
         "the caller stays within the packed weight");
  StripWriter writer(plan->layout, plan->panels);
  std::vector<uint8_t> whole;
  uint64_t unitBytes = plan->unitBytes;
  for (uint64_t end = first + out.size(), at = first; at < end;) {
    uint64_t unit = at / unitBytes, start = unit * unitBytes;
    uint64_t unitEnd = std::min(start + unitBytes, plan->bytes);
    uint64_t stop = std::min(unitEnd, end);
    uint8_t *target = out.data() + (at - first);
    if (at == start && stop == unitEnd) {
      plan->writeUnit(writer, unit, target);
    } else {
      whole.resize(unitEnd - start);
      plan->writeUnit(writer, unit, whole.data());
      std::memcpy(target, whole.data() + (at - start), stop - at);
    }
    at = stop;
  }
}

llvm::Error runtime::packWeight(const WeightLayout &layout,
                                llvm::ArrayRef<HostTensor> weights,
                                llvm::MutableArrayRef<uint8_t> out,
                                ThreadPool &pool) {
  MOEC_ASSIGN(WeightPacker packer, WeightPacker::create(layout, weights));
  if (packer.bytes() != out.size())
    return error() << "expects room for " << packer.bytes() << " bytes, got "
                   << out.size();
  uint64_t unit = packer.unitBytes();
  pool.parallelFor(int64_t(ceilDiv(out.size(), unit)),
                   [&](unsigned, int64_t begin, int64_t end) {
                     uint64_t first = uint64_t(begin) * unit;
                     uint64_t last =
                         std::min<uint64_t>(uint64_t(end) * unit, out.size());
                     packer.pack(first, out.slice(first, last - first));
                   });
  return llvm::Error::success();
}
