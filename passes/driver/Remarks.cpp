#include "passes/driver/Remarks.h"

#include "ir/support/Escape.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace moec;

void moec::printRemarks(llvm::ArrayRef<Remark> remarks, llvm::raw_ostream &os) {
  for (const Remark &remark : remarks) {
    std::string place = remark.loc.str();
    os << place << (place.empty() ? "" : ": ") << "remark: [" << remark.pass
       << "] '" << remark.op << "' " << remark.reason << "\n";
  }
}

void moec::printRemarksJson(llvm::ArrayRef<Remark> remarks,
                            llvm::raw_ostream &os) {
  llvm::json::OStream json(os, /*IndentSize=*/2);
  json.array([&] {
    for (const Remark &remark : remarks)
      json.object([&] {
        json.attribute("pass", toUtf8(remark.pass));
        json.attribute("op", toUtf8(remark.op));
        json.attribute("reason", toUtf8(remark.reason));
        if (!remark.loc.file.empty())
          json.attribute("file", toUtf8(remark.loc.file));
        if (remark.loc.line)
          json.attribute("line", remark.loc.line);
        if (remark.loc.column)
          json.attribute("column", remark.loc.column);
        if (!remark.loc.object.empty())
          json.attribute("object", toUtf8(remark.loc.object));
      });
  });
  os << "\n";
}
