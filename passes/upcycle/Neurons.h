//===- Neurons.h - expressions for parts of a dense FFN -------------------===//
#pragma once

#include "ir/core/Module.h"

namespace moec {

struct DenseFfn;
struct DenseMatrix;

/// A reference to a weight, as an expression.
llvm::Expected<ExprRef> refTo(Weight *weight);
/// `size` slices from `start`; `expr` itself where that is all of them.
llvm::Expected<ExprRef> sliced(ExprRef expr, int64_t axis, int64_t start,
                               int64_t size);
/// `expr` itself where the factor is 1.
llvm::Expected<ExprRef> scaled(ExprRef expr, double factor);
/// Rounded to `element`; block-quantised types that cannot be made become f32.
llvm::Expected<ExprRef> castTo(ExprRef expr, ElementType element);
/// A float tensor to compute with: quantised blocks become f32.
llvm::Expected<ExprRef> readable(ExprRef expr);
llvm::Expected<ExprRef> zeros(llvm::ArrayRef<int64_t> shape);
/// Slices in an order that `name` and `number` key.
llvm::Expected<ExprRef> shuffled(ExprRef expr, int64_t axis, int64_t seed,
                                 std::string name, int64_t number);
/// Joins along an axis; one part is itself.
llvm::Expected<ExprRef> joined(std::vector<ExprRef> parts, int64_t axis);

/// The same with every ref replaced by what it refers to.
llvm::Expected<ExprRef> inlined(const ExprRef &expr);

/// The dense matrix, to compute with.
llvm::Expected<ExprRef> denseOf(const DenseMatrix &matrix);
/// Its neurons [start, start + count) in the order that split_by says. All of
/// the matrix where it has no neurons.
llvm::Expected<ExprRef> neurons(const DenseFfn &ffn, const DenseMatrix &matrix,
                                int64_t start, int64_t count);
/// The neurons that routed experts are made of, shuffled for `expert` with
/// option permute.
llvm::Expected<ExprRef>
routedNeurons(const DenseFfn &ffn, const DenseMatrix &matrix, int64_t expert);
/// The module's file `calibration`; an error that says what for where there is
/// none.
llvm::Expected<SourceFile *> calibrationFile(const Module &module,
                                             llvm::StringRef purpose);

} // namespace moec
