#include "tools/driver/Table.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/ConvertUTF.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Unicode.h"

using namespace moec;

/// Bytes of the first character; 0 if it is no UTF-8.
static size_t characterBytes(llvm::StringRef text) {
  auto *bytes = reinterpret_cast<const llvm::UTF8 *>(text.data());
  size_t count = llvm::getNumBytesForUTF8(*bytes);
  if (count > text.size() || !llvm::isLegalUTF8Sequence(bytes, bytes + count))
    return 0;
  return count;
}

size_t moec::displayColumns(llvm::StringRef text) {
  size_t columns = 0;
  while (!text.empty()) {
    size_t bytes = std::max<size_t>(characterBytes(text), 1);
    int width = llvm::sys::unicode::columnWidthUTF8(text.take_front(bytes));
    columns += width < 0 ? 1 : width;
    text = text.drop_front(bytes);
  }
  return columns;
}

std::string moec::printable(llvm::StringRef text) {
  std::string out;
  while (!text.empty()) {
    size_t bytes = characterBytes(text);
    unsigned char first = text.front();
    if (first == '\n')
      out += "\\n";
    else if (first == '\t')
      out += "\\t";
    else if (first == '\r')
      out += "\\r";
    else if (bytes && first >= 0x20 && first != 0x7f)
      out += text.take_front(bytes);
    else
      out += {'\\', 'x', llvm::hexdigit(first >> 4, /*LowerCase=*/true),
              llvm::hexdigit(first & 15, /*LowerCase=*/true)};
    text = text.drop_front(std::max<size_t>(bytes, 1));
  }
  return out;
}

std::string moec::endWithin(llvm::StringRef text, size_t columns) {
  if (displayColumns(text) <= columns)
    return text.str();
  if (columns < 3)
    return "";
  while (displayColumns(text) + 3 > columns)
    text = text.drop_front(std::max<size_t>(characterBytes(text), 1));
  return "..." + text.str();
}

/// `12`, `-1.5e-07`, `3.2 MB`; also what stands for a number: nothing, `-`,
/// `inf`. `6 8` is a list.
static bool isNumber(llvm::StringRef cell) {
  auto [number, unit] = cell.split(' ');
  if (unit.contains(' ') || (!unit.empty() && llvm::isDigit(unit[0])))
    return false;
  return number.empty() || number == "inf" || llvm::isDigit(number[0]) ||
         number[0] == '-';
}

Table::Table(std::vector<std::string> header) { addRow(std::move(header)); }

void Table::addRow(std::vector<std::string> cells) {
  if (!rows.empty())
    cells.resize(rows[0].size());
  for (std::string &cell : cells)
    cell = printable(cell);
  rows.push_back(std::move(cells));
}

void Table::print(llvm::raw_ostream &os) const {
  std::vector<size_t> widths(rows[0].size());
  for (auto &row : rows)
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], displayColumns(row[i]));
  // A column of numbers stands to the right.
  std::vector<bool> numbers(widths.size());
  for (size_t i = 0; i < widths.size(); ++i)
    numbers[i] = llvm::all_of(llvm::drop_begin(rows),
                              [&](auto &row) { return isNumber(row[i]); });
  bool colour = os.has_colors();
  for (size_t r = 0; r < rows.size(); ++r) {
    if (r == 0 && colour)
      os.changeColor(llvm::raw_ostream::SAVEDCOLOR, /*Bold=*/true);
    std::string line;
    for (size_t i = 0; i < rows[r].size(); ++i) {
      const std::string &cell = rows[r][i];
      bool number = numbers[i];
      std::string padding(widths[i] - displayColumns(cell), ' ');
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
  if (seconds > 0 && seconds < 1e-4)
    os << llvm::format("%.1f us", seconds * 1e6);
  else if (seconds < 1)
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
