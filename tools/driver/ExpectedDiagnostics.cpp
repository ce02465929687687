#include "tools/driver/ExpectedDiagnostics.h"

#include "ir/support/Diagnostic.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Regex.h"

using namespace moec;

llvm::Expected<ExpectedDiagnostics>
ExpectedDiagnostics::find(llvm::StringRef text, llvm::StringRef file) {
  static constexpr llvm::StringLiteral kPattern =
      "expected-([a-z]+)(@([+-]?[0-9]+|unknown))?[ ]*[{][{](.*)[}][}]";
  ExpectedDiagnostics result;
  result.file = file.str();
  llvm::Regex pattern(kPattern);
  unsigned number = 0;
  while (!text.empty()) {
    llvm::StringRef line;
    std::tie(line, text) = text.split('\n');
    ++number;
    size_t start = line.find("// expected-");
    if (start == llvm::StringRef::npos)
      continue;
    Location comment = Location::atLine(file.str(), number, start + 1);
    llvm::SmallVector<llvm::StringRef> parts;
    if (!pattern.match(line.substr(start), &parts) ||
        (parts[1] != "error" && parts[1] != "note" && parts[1] != "remark"))
      return error(comment).withSource(line.str())
             << "expected 'expected-error@+1 {{message}}', or the same with "
                "note or remark";
    int64_t at = 0;
    llvm::StringRef place = parts[3];
    bool relative = place.consume_front("+") || parts[3].starts_with("-");
    if (!place.empty() && place != "unknown" && place.getAsInteger(10, at))
      return error(comment).withSource(line.str())
             << "line '" << parts[3] << "' is out of range";
    if (place.empty() || relative)
      at += number;
    Expectation &expectation = result.expectations.emplace_back();
    expectation.kind = parts[1].str();
    expectation.message = parts[4].str();
    expectation.line = place == "unknown" ? 0 : unsigned(at);
    expectation.comment = std::move(comment);
  }
  return result;
}

bool ExpectedDiagnostics::meet(llvm::StringRef kind, const Location &loc,
                               llvm::StringRef message) {
  unsigned line = loc.file == file ? loc.line : 0;
  for (Expectation &expectation : expectations)
    if (!expectation.found && expectation.kind == kind &&
        expectation.line == line && message.contains(expectation.message))
      return expectation.found = true;
  return false;
}

llvm::Error ExpectedDiagnostics::check(llvm::Error produced,
                                       llvm::ArrayRef<Remark> remarks) {
  llvm::Error wrong = llvm::Error::success();
  auto add = [&](llvm::Error more) {
    wrong = llvm::joinErrors(std::move(wrong), std::move(more));
  };
  llvm::handleAllErrors(
      std::move(produced),
      [&](std::unique_ptr<Diagnostic> diag) {
        for (const Diagnostic::Note &note : diag->notes)
          meet("note", note.loc, note.message);
        if (meet("error", diag->loc, diag->message))
          return;
        diag->notes.push_back({Location(), "no comment expects this"});
        add(llvm::Error(std::move(diag)));
      },
      [&](std::unique_ptr<llvm::ErrorInfoBase> other) {
        if (!meet("error", Location(), other->message()))
          add(llvm::Error(std::move(other)));
      });
  for (const Remark &remark : remarks)
    meet("remark", remark.loc, remark.reason);
  for (const Expectation &expectation : expectations)
    if (!expectation.found)
      add(error(expectation.comment)
          << "expected " << expectation.kind << " '" << expectation.message
          << "' did not come");
  return wrong;
}
