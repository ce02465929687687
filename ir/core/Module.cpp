#include "ir/core/Module.h"

#include "llvm/ADT/STLExtras.h"

using namespace moec;

template <typename T>
static T *find(const std::vector<std::unique_ptr<T>> &list,
               llvm::StringRef name) {
  auto at = llvm::find_if(list, [&](auto &item) { return item->name == name; });
  return at == list.end() ? nullptr : at->get();
}

Value Program::argument(llvm::StringRef name) const {
  for (unsigned i = 0; i < block.numArguments(); ++i)
    if (block.argument(i).hint() == name)
      return block.argument(i);
  return {};
}

Module::~Module() = default;

DimSymbol *Module::addDim(std::string name, int64_t maximum) {
  if (findDim(name))
    return nullptr;
  dimList.push_back(std::make_unique<DimSymbol>(name, dimList.size(), maximum));
  return dimsByName[name] = dimList.back().get();
}

DimSymbol *Module::addRagged(std::string name, Polynomial bound) {
  if (findDim(name))
    return nullptr;
  dimList.push_back(
      std::make_unique<DimSymbol>(name, dimList.size(), std::move(bound)));
  return dimsByName[name] = dimList.back().get();
}

SourceFile *Module::addFile(std::string name, std::string path) {
  if (findFile(name))
    return nullptr;
  fileList.push_back(std::make_unique<SourceFile>());
  fileList.back()->name = std::move(name);
  fileList.back()->path = std::move(path);
  return fileList.back().get();
}

Weight *Module::addWeight(std::string name, ExprRef expr, Location loc) {
  if (findWeight(name))
    return nullptr;
  auto weight = std::make_unique<Weight>();
  weight->name = std::move(name);
  weight->loc = std::move(loc);
  weight->impl.weight = weight.get();
  weight->impl.type = expr->type;
  weight->expr = std::move(expr);
  weightsByName[weight->name] = weight.get();
  weightList.push_back(std::move(weight));
  return weightList.back().get();
}

State *Module::addState(std::string name, StateKind kind, TensorType type) {
  if (findState(name))
    return nullptr;
  stateList.push_back(std::make_unique<State>());
  stateList.back()->name = std::move(name);
  stateList.back()->kind = kind;
  stateList.back()->type = std::move(type);
  return stateList.back().get();
}

Program *Module::addProgram(std::string name) {
  if (findProgram(name))
    return nullptr;
  programList.push_back(std::make_unique<Program>());
  programList.back()->name = std::move(name);
  programList.back()->block.program = programList.back().get();
  return programList.back().get();
}

DimSymbol *Module::findDim(llvm::StringRef name) const {
  return dimsByName.lookup(name);
}
SourceFile *Module::findFile(llvm::StringRef name) const {
  return find(fileList, name);
}
Weight *Module::findWeight(llvm::StringRef name) const {
  return weightsByName.lookup(name);
}
State *Module::findState(llvm::StringRef name) const {
  return find(stateList, name);
}
Program *Module::findProgram(llvm::StringRef name) const {
  return find(programList, name);
}

void Module::redefine(Weight *weight, ExprRef expr) {
  weight->impl.type = expr->type;
  weight->expr = std::move(expr);
}

void Module::eraseWeight(Weight *weight) {
  assert(weight->value().isUnused() && "a weight that is used stays");
  weightsByName.erase(weight->name);
  llvm::erase_if(weightList, [&](auto &item) { return item.get() == weight; });
}

void Module::eraseState(State *state) {
  llvm::erase_if(stateList, [&](auto &item) { return item.get() == state; });
}

void Module::eraseFile(SourceFile *file) {
  llvm::erase_if(fileList, [&](auto &item) { return item.get() == file; });
}

void Module::eraseProgram(Program *program) {
  llvm::erase_if(programList,
                 [&](auto &item) { return item.get() == program; });
}
