//===- Table.h - aligned text and numbers for people ----------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

/// Columns that a text takes on a terminal.
size_t displayColumns(llvm::StringRef text);
/// A text whose control characters and bytes that are no UTF-8 are spelled out,
/// as `\n` and `\xff`.
std::string printable(llvm::StringRef text);
/// The end of a text that fits into so many columns, behind `...`; all of it,
/// if it fits.
std::string endWithin(llvm::StringRef text, size_t columns);

/// Rows of text under a header, columns aligned; numbers to the right. Colours
/// only on a terminal; cells are made printable.
class Table {
public:
  explicit Table(std::vector<std::string> header);
  void addRow(std::vector<std::string> cells);
  void print(llvm::raw_ostream &os) const;

private:
  std::vector<std::vector<std::string>> rows;
};

/// `1.4 GB`, `1,234,567`, `12.3 ms` and `4.5 us`.
std::string formatBytes(uint64_t bytes);
std::string formatCount(uint64_t count);
std::string formatSeconds(double seconds);
/// `1.23e-07`.
std::string formatScientific(double value);

} // namespace moec
