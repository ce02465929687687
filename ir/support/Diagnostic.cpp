#include "ir/support/Diagnostic.h"

#include "ir/support/Escape.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

char Diagnostic::ID = 0;

std::string Location::str() const {
  std::string text = file;
  if (line) {
    text += ":" + std::to_string(line);
    if (column)
      text += ":" + std::to_string(column);
  } else if (byteOffset >= 0) {
    text += ": at byte " + std::to_string(byteOffset);
  }
  if (!object.empty())
    text += (text.empty() ? "" : ": ") + object;
  return text;
}

static void printLine(llvm::raw_ostream &os, const Location &loc,
                      llvm::StringRef severity, llvm::StringRef message) {
  std::string place = loc.str();
  if (!place.empty())
    os << escapeControls(place) << ": ";
  os << severity << ": " << escapeControls(message);
}

void Diagnostic::log(llvm::raw_ostream &os) const {
  printLine(os, loc, "error", message);
  // A line with other bytes than text helps nobody.
  if (!sourceLine.empty() && loc.column &&
      escapeControls(sourceLine) == sourceLine) {
    std::string number = std::to_string(loc.line);
    os << "\n " << number << " | " << sourceLine << "\n";
    os.indent(number.size() + 1) << " | ";
    // Tabs stay tabs, and a character of several bytes is one, so that the
    // caret stands under its column.
    for (char c : llvm::StringRef(sourceLine).take_front(loc.column - 1))
      if ((uint8_t(c) & 0xC0) != 0x80)
        os << (c == '\t' ? '\t' : ' ');
    os << '^';
  }
  for (const Note &note : notes) {
    os << "\n";
    printLine(os, note.loc, "note", note.message);
  }
}

std::error_code Diagnostic::convertToErrorCode() const {
  return llvm::inconvertibleErrorCode();
}

llvm::Error moec::withNote(llvm::Error err, Location loc,
                           const llvm::Twine &note) {
  return llvm::handleErrors(
      std::move(err), [&](std::unique_ptr<Diagnostic> diag) -> llvm::Error {
        diag->notes.push_back({loc, note.str()});
        return llvm::Error(std::move(diag));
      });
}

std::string moec::toText(llvm::Error err) {
  return llvm::toString(std::move(err));
}
