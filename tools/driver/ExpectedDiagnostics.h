//===- ExpectedDiagnostics.h - messages that a test expects ---------------===//
//
// In `moec opt --verify-diagnostics` a comment names a message that must come:
//
//   // expected-error@+1 {{k is 9, outside [1, 8]}}
//   %a, %b, %c = moe.route %logits {k = 9} : ...
//
// The kind is error, note or remark; `@+N` and `@-N` count lines from the
// comment, `@N` is a line, and `@unknown` a message without a line. Every
// expected message must come, and every error must be expected; notes and
// remarks that nobody expects are let through.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "passes/driver/Remarks.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace moec {

class ExpectedDiagnostics {
public:
  /// Finds the comments of `text`, the contents of `file`.
  static llvm::Expected<ExpectedDiagnostics> find(llvm::StringRef text,
                                                  llvm::StringRef file);

  /// Compares with what came; consumes `produced`.
  llvm::Error check(llvm::Error produced, llvm::ArrayRef<Remark> remarks);

private:
  struct Expectation {
    std::string kind;
    std::string message;
    /// Where the message must point; 0 for a message without a line.
    unsigned line = 0;
    /// Where the comment stands.
    Location comment;
    bool found = false;
  };
  /// Marks the first open expectation that the message meets.
  bool meet(llvm::StringRef kind, const Location &loc, llvm::StringRef message);

  std::string file;
  std::vector<Expectation> expectations;
};

} // namespace moec
