#include "runtime/hal/WeightLayout.h"

using namespace moec;
using namespace moec::runtime;

static uint64_t ceilDiv(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

std::optional<Panels> Panels::of(const WeightLayout &layout,
                                 llvm::ArrayRef<int64_t> shape) {
  if (shape.size() < 2 || !elementCount(shape))
    return std::nullopt;
  Panels result;
  for (int64_t extent : shape.drop_back(2))
    result.outer *= uint64_t(extent);
  result.rows = uint64_t(shape[shape.size() - 2]);
  result.columns = uint64_t(shape.back());
  result.panels = ceilDiv(result.rows, layout.panel);
  std::optional<uint64_t> columnBytes; // of one row of a strip
  if (layout.element == ElementType::q8_0)
    columnBytes =
        checkedMul(ceilDiv(result.columns, kQuantBlock), kQuantBlock + 4);
  else if (auto units =
               checkedMul(ceilDiv(result.columns, layout.group), layout.group))
    columnBytes = checkedMul(*units, blockBytes(layout.element));
  std::optional<uint64_t> bytes =
      columnBytes ? checkedMul(*columnBytes, layout.panel) : std::nullopt;
  if (!bytes)
    return std::nullopt;
  result.stripBytes = *bytes;
  return result;
}

std::optional<uint64_t> runtime::packedBytes(const WeightLayout &layout,
                                             llvm::ArrayRef<int64_t> shape) {
  if (layout.kind == WeightLayout::Kind::rowMajor) {
    std::optional<uint64_t> elements = elementCount(shape);
    return elements ? byteSize(layout.element, *elements) : std::nullopt;
  }
  std::optional<Panels> panels = Panels::of(layout, shape);
  if (!panels)
    return std::nullopt;
  std::optional<uint64_t> strips = checkedMul(panels->outer, panels->panels);
  if (strips && layout.kind == WeightLayout::Kind::gatedPanels)
    strips = checkedMul(*strips, 2);
  return strips ? checkedMul(*strips, panels->stripBytes) : std::nullopt;
}
