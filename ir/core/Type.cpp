#include "ir/core/Type.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace moec;

bool TensorType::isStatic() const {
  return llvm::all_of(dims, [](const Dim &dim) { return dim.isConstant(); });
}

std::optional<int64_t> TensorType::staticElements() const {
  int64_t count = 1;
  for (const Dim &dim : dims)
    if (!dim.isConstant() || llvm::MulOverflow(count, dim.constant(), count))
      return std::nullopt;
  return count;
}

Polynomial TensorType::elements() const {
  Polynomial count(1);
  for (const Dim &dim : dims)
    count = count * dim.polynomial();
  return count;
}

/// The largest value of a symbol, and at least 1.
static std::optional<int64_t> maximumOf(const DimSymbol *symbol) {
  if (!symbol->isRagged())
    return std::max<int64_t>(symbol->maximum(), 1);
  std::optional<int64_t> bound =
      symbol->bound().evaluate([](const DimSymbol *host) {
        return std::max<int64_t>(host->maximum(), 1);
      });
  if (bound)
    bound = std::max<int64_t>(*bound, 1);
  return bound;
}

std::string TensorType::sizeProblem() const {
  constexpr int64_t kMostBytes = int64_t(1) << 62;
  if (dims.size() > kMaxRank)
    return "it has more than " + std::to_string(kMaxRank) + " dimensions";
  // Rounded up to a block; a dimension of 0 counts as 1, so that the product
  // bounds that of any of the dimensions.
  int64_t bytes = blockBytes(elementType);
  for (const Dim &dim : dims) {
    if (dim.addend() < 0)
      return "a dimension is negative";
    int64_t extent = std::max<int64_t>(dim.addend(), 1);
    if (!dim.isConstant()) {
      std::optional<int64_t> maximum = maximumOf(dim.symbol());
      if (!maximum || llvm::AddOverflow(*maximum, dim.addend(), extent))
        return "dimension '" + dim.symbol()->name() + "' is too large";
    }
    if (llvm::MulOverflow(bytes, extent, bytes) || bytes > kMostBytes)
      return "it is larger than 2^62 bytes";
  }
  unsigned block = blockElements(elementType);
  if (block > 1 && (dims.empty() || !dims.back().isConstant() ||
                    dims.back().constant() % block))
    return "rows are no multiple of " + std::to_string(block) + " elements";
  return "";
}

void TensorType::print(llvm::raw_ostream &os) const {
  os << "tensor<[";
  llvm::interleaveComma(dims, os);
  os << "], " << elementTypeName(elementType) << ">";
}

llvm::raw_ostream &moec::operator<<(llvm::raw_ostream &os,
                                    const TensorType &type) {
  type.print(os);
  return os;
}
