#include "tools/moec/Command.h"

#include "ir/binary/ModuleFile.h"

using namespace moec;
namespace cl = llvm::cl;

static cl::SubCommand flags("import", "read a model file into a module (.moe)");
static ModelFlags model(flags);
static cl::opt<std::string> output("o", cl::Required,
                                   cl::value_desc("file.moe"),
                                   cl::desc("where the module goes; - "
                                            "is standard output"),
                                   cl::sub(flags));
static cl::opt<bool> text("text",
                          cl::desc("write the text form, which can be "
                                   "edited"),
                          cl::sub(flags));

static llvm::Error run() {
  MOEC_ASSIGN(AnyModel opened, model.open({{{output}}, {}}));
  if (!opened.module)
    return error(Location::inFile(model.path))
           << "is a plan that embeds no module";
  return saveModule(*opened.module, output,
                    text ? ModuleForm::text : ModuleForm::binary);
}

const Command moec::kImportCommand = {&flags, run};
