#include "passes/pipeline/Registry.h"

#include "passes/Passes.h"

using namespace moec;

const PassRegistry &moec::allPasses() {
  static const PassInfo list[] = {
#define PASS(Name, Flag, Description) {Flag, Description, &create##Name},
#include "passes/Passes.def"
  };
  static const PassRegistry registry(list);
  return registry;
}

std::string moec::loweringPipeline(ElementType weights,
                                   ElementType activations) {
  std::string text = "simplify,cse,dce,";
  // Types first: what follows joins only weights of one type.
  text += "convert-types{weights=" + elementTypeName(weights).str() +
          ",activations=" + elementTypeName(activations).str() + "}";
  text += ",narrow-weights,fuse-qkv";
  // Copies the program while it is small.
  text += ",specialize";
  text += ",hoist-gather,expand-ffn,form-kernels";
  return text;
}
