#include "passes/driver/Remarks.h"

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

/// Names of files may hold any bytes; JSON holds UTF-8.
static llvm::json::Value text(llvm::StringRef bytes) {
  return llvm::json::isUTF8(bytes) ? bytes.str() : llvm::json::fixUTF8(bytes);
}

void moec::printRemarksJson(llvm::ArrayRef<Remark> remarks,
                            llvm::raw_ostream &os) {
  llvm::json::OStream json(os, /*IndentSize=*/2);
  json.array([&] {
    for (const Remark &remark : remarks)
      json.object([&] {
        json.attribute("pass", text(remark.pass));
        json.attribute("op", text(remark.op));
        json.attribute("reason", text(remark.reason));
        if (!remark.loc.file.empty())
          json.attribute("file", text(remark.loc.file));
        if (remark.loc.line)
          json.attribute("line", remark.loc.line);
        if (remark.loc.column)
          json.attribute("column", remark.loc.column);
        if (!remark.loc.object.empty())
          json.attribute("object", text(remark.loc.object));
      });
  });
  os << "\n";
}
