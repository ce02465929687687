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
