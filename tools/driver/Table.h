//===- Table.h - aligned text and numbers for people ----------------------===//
#pragma once

#include "llvm/Support/raw_ostream.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

/// Rows of text under a header, columns aligned; numbers to the right. Colours
/// and rules only on a terminal.
class Table {
public:
  explicit Table(std::vector<std::string> header);
  void addRow(std::vector<std::string> cells);
  void print(llvm::raw_ostream &os) const;

private:
  std::vector<std::vector<std::string>> rows;
};

/// `1.4 GB`, `1,234,567`, `12.3 ms`.
std::string formatBytes(uint64_t bytes);
std::string formatCount(uint64_t count);
std::string formatSeconds(double seconds);
/// `1.23e-07`.
std::string formatScientific(double value);

} // namespace moec
