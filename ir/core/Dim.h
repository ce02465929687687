//===- Dim.h - dimensions of tensor types ---------------------------------===//
//
// A dimension is a constant, a symbol (known to the host at launch: tokens,
// seqs, ...) or ragged (known on the device only; it has a host bound). Types
// compare symbols by identity: two symbols that happen to be equal at run time
// are different dimensions.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace llvm {
class raw_ostream;
}

namespace moec {

class DimSymbol;

/// A sum of products of symbols with integer coefficients, in canonical order.
class Polynomial {
public:
  struct Term {
    int64_t coefficient;
    /// Sorted by declaration order; a repeated symbol is a power.
    std::vector<const DimSymbol *> symbols;
    friend bool operator==(const Term &, const Term &) = default;
  };

  Polynomial() = default;
  Polynomial(int64_t constant);
  static Polynomial of(const DimSymbol *symbol, int64_t coefficient = 1);

  llvm::ArrayRef<Term> terms() const { return termList; }
  std::optional<int64_t> constant() const;
  /// Replaces ragged symbols by their host bounds.
  Polynomial hostBound() const;
  /// The value for given symbol values; nothing where it overflows 63 bits.
  std::optional<int64_t>
  evaluate(llvm::function_ref<int64_t(const DimSymbol *)> value) const;

  Polynomial &operator+=(const Polynomial &other);
  friend Polynomial operator+(Polynomial a, const Polynomial &b) {
    return a += b;
  }
  friend Polynomial operator*(const Polynomial &a, const Polynomial &b);
  friend bool operator==(const Polynomial &, const Polynomial &) = default;
  void print(llvm::raw_ostream &os) const;

private:
  void add(Term term);
  std::vector<Term> termList;
};

/// A named number, declared by a module: `dim tokens <= 512`, or
/// `ragged pairs.3 <= 2*tokens`.
class DimSymbol {
public:
  DimSymbol(std::string name, unsigned index, int64_t maximum)
      : nameText(std::move(name)), order(index), maximumValue(maximum) {}
  DimSymbol(std::string name, unsigned index, Polynomial bound)
      : nameText(std::move(name)), order(index), ragged(true),
        boundPolynomial(std::move(bound)) {}

  const std::string &name() const { return nameText; }
  /// Position in the module's declarations.
  unsigned index() const { return order; }
  bool isRagged() const { return ragged; }
  /// Largest value that a plan supports. Host symbols only.
  int64_t maximum() const { return maximumValue; }
  void setMaximum(int64_t maximum) { maximumValue = maximum; }
  /// Host bound of a ragged dimension, in host symbols.
  const Polynomial &bound() const { return boundPolynomial; }

private:
  std::string nameText;
  unsigned order;
  bool ragged = false;
  int64_t maximumValue = 0;
  Polynomial boundPolynomial;
};

/// `64`, `tokens` or `tokens+1`.
class Dim {
public:
  Dim(int64_t constant) : offset(constant) {}
  Dim(const DimSymbol *symbol, int64_t addend = 0)
      : symbolRef(symbol), offset(addend) {}

  bool isConstant() const { return !symbolRef; }
  int64_t constant() const { return offset; }
  const DimSymbol *symbol() const { return symbolRef; }
  int64_t addend() const { return offset; }
  Polynomial polynomial() const;

  friend bool operator==(const Dim &, const Dim &) = default;
  void print(llvm::raw_ostream &os) const;

private:
  const DimSymbol *symbolRef = nullptr;
  int64_t offset;
};

llvm::raw_ostream &operator<<(llvm::raw_ostream &os, const Dim &dim);
llvm::raw_ostream &operator<<(llvm::raw_ostream &os, const Polynomial &poly);

} // namespace moec
