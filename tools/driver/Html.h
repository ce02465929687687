//===- Html.h - self-contained pages with charts --------------------------===//
//
// One file without scripts, fonts or links to elsewhere: style and charts (SVG)
// are inline. Colours are variables that follow the reader's light or dark
// setting. Text from outside goes through `escape`, or through the Page, which
// escapes all it is given but `raw`.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <string>
#include <vector>

namespace moec::html {

/// Text as it may stand in an element or an attribute. Control characters and
/// what is no UTF-8 become U+FFFD.
std::string escape(llvm::StringRef text);

/// What a reader should feel about a piece of text.
enum class Tone { plain, good, warning, bad };

/// Writes a page from top to bottom; the destructor closes it.
class Page {
public:
  Page(llvm::raw_ostream &os, llvm::StringRef title, llvm::StringRef subtitle);
  ~Page();
  Page(const Page &) = delete;

  /// Already HTML.
  Page &raw(const llvm::Twine &markup);
  Page &text(llvm::StringRef text);

  /// A box that says the most important thing.
  void banner(Tone tone, llvm::StringRef headline, llvm::StringRef detail);
  /// Big numbers with their names, in a row.
  void
  cards(llvm::ArrayRef<std::pair<std::string, std::string>> valuesAndNames);
  /// A heading, and a paragraph that says how to read what follows.
  void section(llvm::StringRef title, llvm::StringRef explanation = "");
  /// Names and values.
  void facts(llvm::ArrayRef<std::pair<std::string, std::string>> rows);
  /// Cells of a table; numbers are set to the right.
  void table(llvm::ArrayRef<std::string> header,
             llvm::ArrayRef<std::vector<std::string>> rows);
  /// Opens something that unfolds on click; `summary` is already HTML.
  void beginDetails(const llvm::Twine &summary, bool open = false,
                    llvm::StringRef cssClass = "");
  void endDetails();

private:
  llvm::raw_ostream &os;
};

/// Points over an axis of whole numbers, on a logarithmic scale; zeros stand
/// below the scale.
struct LogChart {
  struct Series {
    std::string name;
    /// One of the CSS classes s0 to s3.
    unsigned style = 0;
    bool line = false;
    std::vector<double> values;
  };
  std::string xName, yName;
  std::vector<std::string> labels;
  std::vector<Series> series;
  /// A dashed line with a name, if above 0.
  double limit = 0;
  std::string limitName;
  void write(llvm::raw_ostream &os) const;
};

/// Cells whose colour grows with their value.
struct HeatMap {
  std::string rowName, columnName;
  std::vector<std::string> rows, columns;
  /// The value of a cell and what the pointer shows; NaN leaves it empty.
  llvm::function_ref<double(size_t row, size_t column)> value;
  llvm::function_ref<std::string(size_t row, size_t column)> tip;
  /// Text inside a cell, where it fits; may be empty.
  llvm::function_ref<std::string(size_t row, size_t column)> label;
  double least = 0, most = 1;
  void write(llvm::raw_ostream &os) const;
};

} // namespace moec::html
