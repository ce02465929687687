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

constexpr uint64_t kQuantBlock = 32;
constexpr uint64_t kQuantBlockBytes = 34; // f16 scale, 32 int8
// Columns converted at a time, so that a strip's rows stay in the L2 cache. A
// multiple of every block and group.
constexpr uint64_t kChunk = 2048;

uint64_t ceilDiv(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

/// The panels of one weight: numbers, and bytes of one strip, which is a panel
/// of one of the interleaved weights.
struct Panels {
  uint64_t outer = 1;
  uint64_t rows = 0;    // N
  uint64_t columns = 0; // K
  uint64_t panels = 0;
  uint64_t stripBytes = 0;
};

std::optional<Panels> panelsOf(const WeightLayout &layout,
                               llvm::ArrayRef<int64_t> shape) {
  if (shape.size() < 2 || !elementCount(shape))
    return std::nullopt;
  Panels result;
  for (int64_t extent : shape.drop_back(2))
    result.outer *= uint64_t(extent);
  result.rows = uint64_t(shape[shape.size() - 2]);
  result.columns = uint64_t(shape.back());
  result.panels = ceilDiv(result.rows, layout.panel);
  uint64_t columnBytes; // of one row of a strip
  if (layout.element == ElementType::q8_0)
    columnBytes = ceilDiv(result.columns, kQuantBlock) * (kQuantBlock + 4);
  else
    columnBytes = ceilDiv(result.columns, layout.group) * layout.group *
                  blockBytes(layout.element);
  std::optional<uint64_t> bytes = checkedMul(columnBytes, layout.panel);
  if (!bytes)
    return std::nullopt;
  result.stripBytes = *bytes;
  return result;
}

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

/// Element by element, for a row-major weight of another encoding, or in
/// pieces. Pieces begin and end where blocks of the output do, so a step does
/// too.
void convertRows(const Source &weight, ElementType element,
                 llvm::MutableArrayRef<uint8_t> out, ThreadPool &pool) {
  for (size_t piece = 0; piece < weight.pieces.size(); ++piece) {
    uint64_t start = weight.starts[piece];
    uint64_t elements = weight.starts[piece + 1] - start;
    if (elements == 0)
      continue;
    uint64_t stride = weight.pieces[piece].rotaryHeads ? weight.rowElements
                                                       : uint64_t(1) << 16;
    pool.parallelFor(
        int64_t(ceilDiv(elements, stride)),
        [&](unsigned, int64_t begin, int64_t end) {
          std::vector<float> numbers;
          std::vector<uint8_t> encoded;
          for (int64_t step = begin; step < end; ++step) {
            uint64_t first = start + uint64_t(step) * stride;
            uint64_t here = std::min(stride, start + elements - first);
            const uint8_t *bytes =
                fetch(weight, element, first, here, numbers, encoded);
            std::memcpy(out.data() + first / blockElements(element) *
                                         blockBytes(element),
                        bytes, *byteSize(element, here));
          }
        });
  }
}

} // namespace

std::optional<uint64_t> runtime::packedBytes(const WeightLayout &layout,
                                             llvm::ArrayRef<int64_t> shape) {
  if (layout.kind == WeightLayout::Kind::rowMajor) {
    std::optional<uint64_t> elements = elementCount(shape);
    if (!elements)
      return std::nullopt;
    return byteSize(layout.element, *elements);
  }
  std::optional<Panels> panels = panelsOf(layout, shape);
  if (!panels)
    return std::nullopt;
  std::optional<uint64_t> strips = checkedMul(panels->outer, panels->panels);
  if (strips && layout.kind == WeightLayout::Kind::gatedPanels)
    strips = checkedMul(*strips, 2);
  return strips ? checkedMul(*strips, panels->stripBytes) : std::nullopt;
}

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

llvm::Error runtime::packWeight(const WeightLayout &layout,
                                llvm::ArrayRef<HostTensor> weights,
                                llvm::MutableArrayRef<uint8_t> out,
                                ThreadPool &pool) {
  unsigned sources = layout.kind == WeightLayout::Kind::gatedPanels ? 2 : 1;
  if (weights.size() != sources)
    return error() << "expects " << sources << " weights, got "
                   << weights.size();
  std::vector<Source> inputs;
  for (const HostTensor &weight : weights) {
    if (weight.shape != weights[0].shape)
      return error() << "expects two weights of one shape";
    MOEC_ASSIGN(Source source, Source::of(weight));
    for (const HostTensor::Piece &piece : source.pieces)
      if (piece.encoding != layout.element && !canEncodeFromF32(layout.element))
        return error() << "a weight in " << elementTypeName(piece.encoding)
                       << " cannot be converted to "
                       << elementTypeName(layout.element);
    inputs.push_back(std::move(source));
  }
  std::optional<uint64_t> expected = packedBytes(layout, weights[0].shape);
  if (!expected || *expected != out.size())
    return error() << "expects room for " << (expected ? *expected : 0)
                   << " bytes, got " << out.size();
  if (layout.kind == WeightLayout::Kind::rowMajor) {
    for (uint64_t start : inputs[0].starts)
      if (start % blockElements(layout.element) != 0)
        return error() << "a piece that ends behind element " << start
                       << " splits a block of "
                       << elementTypeName(layout.element);
    convertRows(inputs[0], layout.element, out, pool);
    return llvm::Error::success();
  }
  Panels panels = *panelsOf(layout, weights[0].shape);
  pool.parallelFor(
      int64_t(panels.outer * panels.panels * sources),
      [&](unsigned, int64_t begin, int64_t end) {
        StripWriter writer(layout, panels);
        for (int64_t strip = begin; strip < end; ++strip) {
          uint64_t panelIndex = uint64_t(strip) / sources;
          writer.write(inputs[uint64_t(strip) % sources],
                       panelIndex / panels.panels, panelIndex % panels.panels,
                       out.data() + uint64_t(strip) * panels.stripBytes);
        }
      });
  return llvm::Error::success();
}
