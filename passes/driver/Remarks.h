//===- Remarks.h - why something was not done -----------------------------===//
#pragma once

#include "ir/support/Location.h"
#include "llvm/ADT/ArrayRef.h"

#include <string>

namespace llvm {
class raw_ostream;
}

namespace moec {

struct Remark {
  std::string pass;
  /// Mnemonic of the op that was left as it is.
  std::string op;
  Location loc;
  std::string reason;
};

/// `place: remark: [pass] 'op' reason`, a line each.
void printRemarks(llvm::ArrayRef<Remark> remarks, llvm::raw_ostream &os);
/// A JSON array of objects with pass, op, reason and what is known of file,
/// line, column and object.
void printRemarksJson(llvm::ArrayRef<Remark> remarks, llvm::raw_ostream &os);

} // namespace moec
