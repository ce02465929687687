//===- Printer.h - a module as text ---------------------------------------===//
//
// The text is canonical: it depends on the module only, and reading it back
// gives a module that prints the same. README.md holds the grammar.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstddef>
#include <string>

namespace llvm {
class raw_ostream;
}

namespace moec {

class Module;
class Operation;

struct PrintOptions {
  /// Print `loc(...)` where a location is known.
  bool locations = true;
  /// Print the size of assets in place of their bytes. The text is then for
  /// people only; it does not parse.
  bool elideAssets = false;
  /// Cut lists of attributes after so many elements; 0 keeps them whole. As
  /// with `elideAssets`, what was cut does not parse.
  size_t maxListElements = 0;
};

void printModule(const Module &module, llvm::raw_ostream &os,
                 const PrintOptions &options = {});
std::string printModule(const Module &module, const PrintOptions &options = {});

/// One op alone, for messages: values without a name get numbers of their own.
std::string printOp(const Operation &op);

} // namespace moec
