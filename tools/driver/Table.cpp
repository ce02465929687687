#include "tools/driver/Table.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"

using namespace moec;

Table::Table(std::vector<std::string> header) { rows.push_back(header); }

void Table::addRow(std::vector<std::string> cells) {
  cells.resize(rows[0].size());
  rows.push_back(std::move(cells));
}

void Table::print(llvm::raw_ostream &os) const {
  std::vector<size_t> widths(rows[0].size());
  for (auto &row : rows)
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], row[i].size());
  // A column of numbers, with or without a unit, stands to the right.
  std::vector<bool> numbers(widths.size());
  for (size_t i = 0; i < widths.size(); ++i)
    numbers[i] = llvm::all_of(llvm::drop_begin(rows), [&](auto &row) {
      llvm::StringRef cell = row[i];
      return cell.empty() || ((llvm::isDigit(cell[0]) || cell[0] == '-') &&
                              cell.count(' ') < 2);
    });
  bool colour = os.has_colors();
  for (size_t r = 0; r < rows.size(); ++r) {
    if (r == 0 && colour)
      os.changeColor(llvm::raw_ostream::SAVEDCOLOR, /*Bold=*/true);
    std::string line;
    for (size_t i = 0; i < rows[r].size(); ++i) {
      const std::string &cell = rows[r][i];
      bool number = numbers[i];
      std::string padding(widths[i] - cell.size(), ' ');
      line += (i ? "  " : "") + (number ? padding + cell : cell + padding);
    }
    os << llvm::StringRef(line).rtrim() << "\n";
    if (r == 0 && colour)
      os.resetColor();
  }
}

std::string moec::formatBytes(uint64_t bytes) {
  static constexpr const char *units[] = {"B", "kB", "MB", "GB", "TB"};
  double value = bytes;
  unsigned unit = 0;
  while (value >= 1000 && unit < 4) {
    value /= 1000;
    ++unit;
  }
  std::string text;
  llvm::raw_string_ostream(text)
      << llvm::format(unit ? "%.1f " : "%.0f ", value) << units[unit];
  return text;
}

std::string moec::formatCount(uint64_t count) {
  std::string digits = std::to_string(count), text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i && (digits.size() - i) % 3 == 0)
      text += ',';
    text += digits[i];
  }
  return text;
}

std::string moec::formatSeconds(double seconds) {
  std::string text;
  llvm::raw_string_ostream os(text);
  if (seconds < 1)
    os << llvm::format("%.1f ms", seconds * 1e3);
  else
    os << llvm::format("%.2f s", seconds);
  return text;
}

std::string moec::formatScientific(double value) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.2e", value);
  return text;
}
