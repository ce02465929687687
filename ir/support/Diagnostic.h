//===- Diagnostic.h - the one error type ----------------------------------===//
//
// Every failing path is one statement:
//
//   return error(loc) << "routes to " << k << " experts, but the model has "
//                     << experts;
//
// which converts to llvm::Error and to llvm::Expected<T>. Messages start
// lower-case, have no full stop, quote names, and give expected and found.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/Location.h"
#include "ir/support/Numbers.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/raw_ostream.h"

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace moec {

/// A message about user input or the environment, the place it speaks of, and
/// notes that say more. Carried by llvm::Error.
class Diagnostic : public llvm::ErrorInfo<Diagnostic> {
public:
  static char ID;

  struct Note {
    Location loc;
    std::string message;
  };

  Diagnostic(Location loc, std::string message)
      : loc(std::move(loc)), message(std::move(message)) {}

  /// `place: error: message`, the source line with a caret where it is known,
  /// then a line a note.
  void log(llvm::raw_ostream &os) const override;
  std::error_code convertToErrorCode() const override;

  Location loc;
  std::string message;
  /// The text of the line that `loc` names; empty where there is none.
  std::string sourceLine;
  std::vector<Note> notes;
};

/// Builds a Diagnostic; see `error`.
class ErrorBuilder {
public:
  explicit ErrorBuilder(Location loc)
      : diag(std::make_unique<Diagnostic>(std::move(loc), std::string())),
        os(diag->message) {}
  ErrorBuilder(ErrorBuilder &&other)
      : diag(std::move(other.diag)), os(diag->message) {}

  template <typename T> ErrorBuilder &&operator<<(const T &part) && {
    if constexpr (std::is_same_v<T, double>)
      os << formatDouble(part);
    else if constexpr (std::is_same_v<T, float>)
      os << formatFloat(part);
    else
      os << part;
    return std::move(*this);
  }
  /// The source line that the caret points into.
  ErrorBuilder &&withSource(std::string line) && {
    diag->sourceLine = std::move(line);
    return std::move(*this);
  }
  ErrorBuilder &&withNote(Location loc, std::string message) && {
    diag->notes.push_back({std::move(loc), std::move(message)});
    return std::move(*this);
  }

  operator llvm::Error() && { return llvm::Error(std::move(diag)); }
  template <typename T> operator llvm::Expected<T>() && {
    return llvm::Expected<T>(llvm::Error(std::move(diag)));
  }

private:
  std::unique_ptr<Diagnostic> diag;
  llvm::raw_string_ostream os;
};

/// Starts an error about `loc`.
inline ErrorBuilder error(Location loc = {}) {
  return ErrorBuilder(std::move(loc));
}

/// Adds a note to every Diagnostic in `err`; what is no Diagnostic stays.
llvm::Error withNote(llvm::Error err, Location loc, const llvm::Twine &note);

/// The text of `err` as `Diagnostic::log` prints it; consumes the error.
std::string toText(llvm::Error err);

} // namespace moec

/// Binds `VAR` to the value of an Expected or returns its error.
#define MOEC_CONCAT_IMPL(A, B) A##B
#define MOEC_CONCAT(A, B) MOEC_CONCAT_IMPL(A, B)
#define MOEC_ASSIGN(VAR, EXPECTED)                                             \
  auto MOEC_CONCAT(expected, __LINE__) = (EXPECTED);                           \
  if (!MOEC_CONCAT(expected, __LINE__))                                        \
    return MOEC_CONCAT(expected, __LINE__).takeError();                        \
  VAR = std::move(*MOEC_CONCAT(expected, __LINE__))
/// Returns the error of an expression of type llvm::Error, if it has one. A
/// whole statement: it may be a branch of an `if` without braces.
#define MOEC_TRY(ERROR)                                                        \
  do {                                                                         \
    if (llvm::Error MOEC_CONCAT(err, __LINE__) = (ERROR))                      \
      return MOEC_CONCAT(err, __LINE__);                                       \
  } while (false)
