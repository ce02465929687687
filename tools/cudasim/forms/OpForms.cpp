// Prints OP_FORMS.md: the op forms that the simulator executes, from its table.
#include "tools/cudasim/ptx/Forms.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/raw_ostream.h"

using namespace cudasim::ptx;

int main() {
  llvm::raw_ostream &os = llvm::outs();
  llvm::MapVector<llvm::StringRef, std::vector<llvm::StringRef>> byMnemonic;
  for (const FormRow &row : formRows())
    byMnemonic[row.pattern.take_until([](char c) {
      return c == '.' || c == '{';
    })].push_back(row.pattern);
  os << "# PTX op forms that the simulated GPU executes\n\n"
     << "Generated from `ptx/OpForms.def` by `cudasim_op_forms`; a test checks "
        "that it is\ncurrent. "
     << formRows().size() << " rows, " << byMnemonic.size()
     << " mnemonics. `{x|y}` takes one of its alternatives, of which one\n"
        "may be empty. A module with an instruction of any other form is "
        "refused when it is\nloaded, with its line.\n";
  for (const auto &[mnemonic, patterns] : byMnemonic) {
    os << "\n## " << mnemonic << "\n\n```\n";
    for (llvm::StringRef pattern : patterns)
      os << pattern << "\n";
    os << "```\n";
  }
  return 0;
}
