#include "ir/core/Dim.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace moec;

static bool symbolsLess(const std::vector<const DimSymbol *> &a,
                        const std::vector<const DimSymbol *> &b) {
  return std::lexicographical_compare(
      a.begin(), a.end(), b.begin(), b.end(),
      [](const DimSymbol *x, const DimSymbol *y) {
        return x->index() < y->index();
      });
}

Polynomial::Polynomial(int64_t constant) {
  if (constant)
    termList.push_back({constant, {}});
}

Polynomial Polynomial::of(const DimSymbol *symbol, int64_t coefficient) {
  Polynomial poly;
  poly.add({coefficient, {symbol}});
  return poly;
}

void Polynomial::add(Term term) {
  auto at = llvm::lower_bound(termList, term, [](const Term &a, const Term &b) {
    return symbolsLess(a.symbols, b.symbols);
  });
  if (at == termList.end() || at->symbols != term.symbols) {
    if (term.coefficient)
      termList.insert(at, std::move(term));
    return;
  }
  at->coefficient += term.coefficient;
  if (!at->coefficient)
    termList.erase(at);
}

std::optional<int64_t> Polynomial::constant() const {
  if (termList.empty())
    return 0;
  if (termList.size() == 1 && termList[0].symbols.empty())
    return termList[0].coefficient;
  return std::nullopt;
}

Polynomial Polynomial::hostBound() const {
  Polynomial result;
  for (const Term &term : termList) {
    Polynomial product(term.coefficient);
    for (const DimSymbol *symbol : term.symbols)
      product = product * (symbol->isRagged() ? symbol->bound() : of(symbol));
    result += product;
  }
  return result;
}

std::optional<int64_t> Polynomial::evaluate(
    llvm::function_ref<int64_t(const DimSymbol *)> value) const {
  int64_t sum = 0;
  for (const Term &term : termList) {
    int64_t product = term.coefficient;
    for (const DimSymbol *symbol : term.symbols)
      if (llvm::MulOverflow(product, value(symbol), product))
        return std::nullopt;
    if (llvm::AddOverflow(sum, product, sum))
      return std::nullopt;
  }
  return sum;
}

Polynomial &Polynomial::operator+=(const Polynomial &other) {
  for (const Term &term : other.termList)
    add(term);
  return *this;
}

Polynomial moec::operator*(const Polynomial &a, const Polynomial &b) {
  Polynomial result;
  for (const Polynomial::Term &x : a.termList)
    for (const Polynomial::Term &y : b.termList) {
      Polynomial::Term term{x.coefficient * y.coefficient, x.symbols};
      llvm::append_range(term.symbols, y.symbols);
      llvm::sort(term.symbols, [](const DimSymbol *s, const DimSymbol *t) {
        return s->index() < t->index();
      });
      result.add(std::move(term));
    }
  return result;
}

void Polynomial::print(llvm::raw_ostream &os) const {
  if (termList.empty())
    os << 0;
  bool first = true;
  for (const Term &term : termList) {
    if (!first)
      os << " + ";
    first = false;
    bool needsStar = false;
    if (term.coefficient != 1 || term.symbols.empty()) {
      os << term.coefficient;
      needsStar = true;
    }
    for (const DimSymbol *symbol : term.symbols) {
      os << (needsStar ? "*" : "") << symbol->name();
      needsStar = true;
    }
  }
}

Polynomial Dim::polynomial() const {
  Polynomial poly(offset);
  if (symbolRef)
    poly += Polynomial::of(symbolRef);
  return poly;
}

void Dim::print(llvm::raw_ostream &os) const {
  if (isConstant()) {
    os << offset;
    return;
  }
  os << symbolRef->name();
  if (offset)
    os << "+" << offset;
}

llvm::raw_ostream &moec::operator<<(llvm::raw_ostream &os, const Dim &dim) {
  dim.print(os);
  return os;
}

llvm::raw_ostream &moec::operator<<(llvm::raw_ostream &os,
                                    const Polynomial &poly) {
  poly.print(os);
  return os;
}
