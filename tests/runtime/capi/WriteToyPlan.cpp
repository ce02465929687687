// Writes the toy plan and its weights into a folder, for the example's test.
// With a second argument the plan's code is those bytes: small, and of no use,
// as the fuzz targets' seeds want it.
#include "tests/runtime/toy/ToyPlan.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3)
    return 2;
  moec::plan::PlanT source = moec::toy::makePlan();
  if (argc == 3) {
    llvm::StringRef code(argv[2]);
    source.variants[0]->code[0]->code.assign(code.begin(), code.end());
    moec::toy::sign(*source.variants[0]->code[0]);
  }
  std::string folder = argv[1];
  if (llvm::sys::fs::create_directories(folder))
    return 1;
  std::error_code code, other;
  llvm::raw_fd_ostream plan(folder + "/plan.moep", code);
  llvm::raw_fd_ostream weights(folder + "/toy.bin", other);
  if (code || other)
    return 1;
  std::vector<uint8_t> bytes = moec::toy::serialize(source);
  plan.write(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  weights << moec::toy::weightFile();
  return 0;
}
