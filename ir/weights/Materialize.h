//===- Materialize.h - computes weights from their expressions ------------===//
//
// Arithmetic is in f32 (statistics in a fixed double-precision tree), random
// numbers are counter-based, so the bits depend on the expression alone: not on
// the machine, the number of threads, or the order in which weights are made.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace moec {

/// Where the bytes of source tensors come from; a frontend implements it.
/// Called from several threads.
class TensorReader {
public:
  virtual ~TensorReader() = default;
  /// Elements [first, first + out.size()) of a tensor, dequantised to f32.
  virtual llvm::Error readF32(const SourceFile &file, const SourceAttrs &tensor,
                              uint64_t first,
                              llvm::MutableArrayRef<float> out) = 0;
  /// All bytes of a tensor as stored, row-major.
  virtual llvm::Expected<llvm::ArrayRef<uint8_t>>
  bytes(const SourceFile &file, const SourceAttrs &tensor) = 0;
  /// Where those bytes lie; nothing if they do not lie in one piece of a file.
  struct Place {
    std::string path;
    uint64_t offset;
    /// Of the whole file.
    uint64_t fileBytes;
  };
  virtual std::optional<Place> place(const SourceFile &file,
                                     const SourceAttrs &tensor) = 0;
};

/// The numbers of an expression, row-major, rounded as its type says.
llvm::Expected<std::vector<float>> materialize(const Expr &expr,
                                               TensorReader &reader);

/// The pieces that a weight is made of: one per slice of leading stacks and
/// concatenations, in order; their bytes follow one another.
std::vector<const Expr *> pieces(const Expr &expr);

/// Follows refs: the expression that defines the value.
const Expr &resolve(const Expr &expr);

/// The source tensors that an expression's numbers come from, through refs;
/// each node once, in the order of arguments.
std::vector<const Expr *> sourceTensors(const Expr &expr);

/// The source tensor that an expression is, bit by bit, if it is one:
/// casts and dequantisations that change nothing are looked through.
const Expr *asPlainSource(const Expr &expr);

} // namespace moec
