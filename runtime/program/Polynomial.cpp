#include "runtime/program/Polynomial.h"

#include "ir/support/ElementType.h"
#include "runtime/schema/plan_generated.h"

using namespace moec;
using namespace moec::runtime;

std::optional<int64_t> runtime::boundOf(const plan::Polynomial *polynomial,
                                        llvm::ArrayRef<int64_t> maxima) {
  if (!polynomial || !polynomial->terms())
    return 0;
  int64_t sum = 0;
  for (const plan::Term *term : *polynomial->terms()) {
    if (term->coefficient() == INT64_MIN)
      return std::nullopt;
    int64_t product = std::abs(term->coefficient());
    if (term->symbols())
      for (uint16_t symbol : *term->symbols()) {
        // A factor below 1 must not hide an overflow of the others.
        if (symbol >= maxima.size() ||
            __builtin_mul_overflow(
                product, std::max<int64_t>(maxima[symbol], 1), &product))
          return std::nullopt;
      }
    if (__builtin_add_overflow(sum, product, &sum))
      return std::nullopt;
  }
  return sum;
}

int64_t runtime::evaluate(const plan::Polynomial *polynomial,
                          llvm::ArrayRef<int64_t> symbols) {
  int64_t sum = 0;
  if (!polynomial || !polynomial->terms())
    return sum;
  for (const plan::Term *term : *polynomial->terms()) {
    int64_t product = term->coefficient();
    if (term->symbols())
      for (uint16_t symbol : *term->symbols())
        product *= symbols[symbol];
    sum += product;
  }
  return sum;
}

std::optional<uint64_t> runtime::elementsOf(const plan::TensorType &type,
                                            llvm::ArrayRef<int64_t> symbols) {
  uint64_t elements = 1;
  if (!type.shape())
    return elements;
  for (const plan::Polynomial *dim : *type.shape()) {
    int64_t extent = evaluate(dim, symbols);
    if (extent < 0)
      return std::nullopt;
    std::optional<uint64_t> product = checkedMul(elements, uint64_t(extent));
    if (!product || *product > uint64_t(INT64_MAX))
      return std::nullopt;
    elements = *product;
  }
  return elements;
}

std::optional<uint64_t> runtime::bytesOf(const plan::TensorType &type,
                                         llvm::ArrayRef<int64_t> symbols) {
  std::optional<uint64_t> elements = elementsOf(type, symbols);
  if (!elements)
    return std::nullopt;
  return byteSize(ElementType(type.element()), *elements);
}

std::optional<int64_t> runtime::tasksOf(const GridFactors *grid,
                                        llvm::ArrayRef<int64_t> symbols) {
  int64_t tasks = 1;
  if (!grid)
    return tasks;
  for (const plan::GridFactor *factor : *grid) {
    int64_t extent = evaluate(factor->extent(), symbols);
    if (extent < 0)
      return std::nullopt;
    int64_t steps =
        extent / factor->divisor() + (extent % factor->divisor() != 0 ? 1 : 0);
    if (__builtin_mul_overflow(tasks, steps, &tasks))
      return std::nullopt;
  }
  return tasks;
}
