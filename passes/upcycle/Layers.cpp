#include "passes/upcycle/Layers.h"

#include "ir/ops/MoeBlock.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace moec;

std::vector<Operation *> moec::feedForwardLayers(Program &program) {
  llvm::SmallPtrSet<Operation *, 16> parts;
  for (const MoeBlockView &block : moeBlocks(program)) {
    if (block.shared)
      parts.insert(block.shared);
    if (Operation *below = block.input.definingOp())
      if (below->is(OpKind::Ffn))
        parts.insert(below);
  }
  std::vector<Operation *> layers;
  for (Operation &op : program.body().ops())
    if ((op.is(OpKind::Ffn) && !parts.contains(&op)) ||
        op.is(OpKind::MoeExperts))
      layers.push_back(&op);
  return layers;
}

llvm::Expected<std::set<int64_t>> moec::parseLayers(llvm::StringRef text,
                                                    int64_t layers) {
  std::set<int64_t> chosen;
  llvm::SmallVector<llvm::StringRef> parts;
  if (text == "all")
    for (int64_t layer = 0; layer < layers; ++layer)
      chosen.insert(layer);
  else
    text.split(parts, ',');
  for (llvm::StringRef part : parts) {
    auto [from, to] = part.split('-');
    int64_t first, last;
    if (from.getAsInteger(10, first) ||
        (to.empty() ? (last = first, part.contains('-'))
                    : to.getAsInteger(10, last)))
      return error() << "layers is '" << text
                     << "', expects 'all' or a list such as 0-11,13";
    if (first < 0 || last < first || last >= layers)
      return error() << "layers names '" << part
                     << "', but the model has layers 0 to " << layers - 1;
    for (int64_t layer = first; layer <= last; ++layer)
      chosen.insert(layer);
  }
  return chosen;
}

void moec::boundPairs(Module &module, const MoeBlockView &view,
                      int64_t experts) {
  Dim pairs = view.route->result(1).type().dim(0);
  Dim tokens = view.router->result().type().dim(0);
  Polynomial bound =
      routePairsBound(view.routeAttrs(), experts, tokens.polynomial());
  if (pairs.isConstant() || pairs.symbol()->bound() == bound)
    return;
  std::string name = pairs.symbol()->name();
  DimSymbol *other = nullptr;
  while (!other)
    other = module.addRagged(name += "_more", bound);
  for (Value value :
       {view.route->result(1), view.route->result(2), view.experts->result()}) {
    llvm::SmallVector<Dim> shape(value.type().shape());
    shape[0] = other;
    value.setType(TensorType(shape, value.type().element()));
  }
}
