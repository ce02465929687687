#include "ir/binary/AttrValue.h"
#include "ir/binary/Binary.h"
#include "ir/core/Module.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

using namespace moec;
using flatbuffers::Offset;

namespace {
template <typename T> using Offsets = std::vector<Offset<T>>;

class Writer {
public:
  explicit Writer(const Module &module) : module(module) {}

  std::string write();

private:
  Offset<flatbuffers::String> text(llvm::StringRef value) {
    // Absent strings read as empty ones.
    return value.empty() ? Offset<flatbuffers::String>() : name(value);
  }
  Offset<flatbuffers::String> name(llvm::StringRef value) {
    return b.CreateSharedString(value.data(), value.size());
  }
  template <typename T> auto list(const std::vector<T> &items) {
    return items.empty() ? Offset<flatbuffers::Vector<T>>()
                         : b.CreateVector(items);
  }

  Offset<fb::Type> type(const TensorType &type);
  Offset<flatbuffers::Vector<Offset<fb::Attr>>> attrs(const Attributes &attrs);
  Offset<fb::Loc> loc(const Location &loc);
  Offset<fb::DimSymbol> dim(const DimSymbol &dim);
  uint32_t expr(const Expr &expr);
  Offset<fb::Value> value(Value value);
  Offset<fb::Block> block(const Block &block);
  Offset<fb::Op> op(const Operation &op,
                    const llvm::DenseMap<Value, int32_t> &numbers);
  Offset<fb::Program> program(const Program &program);

  const Module &module;
  flatbuffers::FlatBufferBuilder b;
  llvm::DenseMap<const SourceFile *, int32_t> files;
  llvm::DenseMap<const State *, int32_t> states;
  llvm::DenseMap<const Weight *, int32_t> weights;
  llvm::DenseMap<const Expr *, uint32_t> exprNumbers;
  Offsets<fb::Expr> exprs;
};
} // namespace

Offset<fb::Type> Writer::type(const TensorType &type) {
  std::vector<fb::Dim> dims;
  for (const Dim &dim : type.shape())
    dims.emplace_back(dim.isConstant() ? -1 : int32_t(dim.symbol()->index()),
                      dim.addend());
  auto element = name(elementTypeName(type.element()));
  return fb::CreateType(b, element, b.CreateVectorOfStructs(dims));
}

Offset<flatbuffers::Vector<Offset<fb::Attr>>>
Writer::attrs(const Attributes &attrs) {
  Offsets<fb::Attr> fields;
  for (const AttrValue &value : changedFields(attrs)) {
    auto fieldName = name(value.name);
    auto fieldText = text(value.text);
    auto integers = list(value.integers);
    auto reals =
        list(value.kind == fb::AttrKind::real ? std::vector<double>{value.real}
                                              : value.reals);
    fields.push_back(fb::CreateAttr(b, fieldName, value.kind, value.integer,
                                    fieldText, integers, reals));
  }
  return list(fields);
}

Offset<fb::Loc> Writer::loc(const Location &loc) {
  // A place in the text that was read is nobody's business here.
  Location kept = loc.fromText ? Location::ofObject(loc.object) : loc;
  if (kept == Location())
    return {};
  auto file = text(kept.file);
  auto object = text(kept.object);
  return fb::CreateLoc(b, file, kept.line, kept.column, kept.byteOffset,
                       object);
}

Offset<fb::DimSymbol> Writer::dim(const DimSymbol &dim) {
  Offsets<fb::Term> terms;
  for (const Polynomial::Term &term : dim.bound().terms()) {
    std::vector<uint32_t> symbols;
    for (const DimSymbol *symbol : term.symbols)
      symbols.push_back(symbol->index());
    auto factors = list(symbols);
    terms.push_back(fb::CreateTerm(b, term.coefficient, factors));
  }
  auto bound = list(terms);
  auto dimName = name(dim.name());
  return fb::CreateDimSymbol(b, dimName, dim.maximum(), dim.isRagged(), bound);
}

uint32_t Writer::expr(const Expr &expr) {
  if (auto known = exprNumbers.find(&expr); known != exprNumbers.end())
    return known->second;
  std::vector<uint32_t> args;
  for (const ExprRef &arg : expr.args)
    args.push_back(this->expr(*arg));
  auto kind = name(exprName(expr.kind));
  auto argList = list(args);
  auto fields = attrs(*expr.attributes);
  exprs.push_back(fb::CreateExpr(
      b, kind, argList, expr.weight ? weights.lookup(expr.weight) : -1,
      expr.file ? files.lookup(expr.file) : -1, fields));
  return exprNumbers[&expr] = exprs.size() - 1;
}

Offset<fb::Value> Writer::value(Value value) {
  Offset<fb::Type> valueType;
  if (!value.state())
    valueType = type(value.type());
  auto hint = text(value.hint());
  return fb::CreateValue(
      b, valueType, value.state() ? states.lookup(value.state()) : -1, hint);
}

Offset<fb::Op> Writer::op(const Operation &op,
                          const llvm::DenseMap<Value, int32_t> &numbers) {
  std::vector<int32_t> operands;
  for (Value operand : op.operands())
    operands.push_back(operand.weight() ? -1 - weights.lookup(operand.weight())
                                        : numbers.lookup(operand));
  Offsets<fb::Value> results;
  for (Value result : op.results())
    results.push_back(value(result));
  Offset<fb::Block> body;
  if (op.body())
    body = block(*op.body());
  auto mnemonic = name(op.mnemonic());
  auto operandList = list(operands);
  auto resultList = list(results);
  auto fields = attrs(op.attrs());
  auto place = loc(op.loc());
  return fb::CreateOp(b, mnemonic, operandList, resultList, fields, body,
                      place);
}

Offset<fb::Block> Writer::block(const Block &block) {
  llvm::DenseMap<Value, int32_t> numbers;
  Offsets<fb::Value> arguments;
  for (unsigned i = 0; i < block.numArguments(); ++i) {
    numbers[block.argument(i)] = i;
    arguments.push_back(value(block.argument(i)));
  }
  Offsets<fb::Op> ops;
  int32_t next = block.numArguments();
  for (const Operation &inner : block.ops()) {
    ops.push_back(op(inner, numbers));
    for (Value result : inner.results())
      numbers[result] = next++;
  }
  auto argumentList = list(arguments);
  auto opList = list(ops);
  return fb::CreateBlock(b, argumentList, opList);
}

Offset<fb::Program> Writer::program(const Program &program) {
  Offsets<flatbuffers::String> names;
  for (const std::string &result : program.resultNames)
    names.push_back(name(result));
  auto programName = name(program.name);
  auto results = list(names);
  auto body = block(program.body());
  auto place = loc(program.loc);
  return fb::CreateProgram(b, programName, results, body, place);
}

std::string Writer::write() {
  Offsets<fb::DimSymbol> dimList;
  for (const auto &symbol : module.dims())
    dimList.push_back(dim(*symbol));
  Offsets<fb::File> fileList;
  for (auto [i, file] : llvm::enumerate(module.files())) {
    files[file.get()] = i;
    auto fileName = name(file->name);
    auto path = name(file->path);
    auto sha256 = text(file->sha256);
    fileList.push_back(fb::CreateFile(b, fileName, path, file->bytes, sha256));
  }
  Offsets<fb::Fact> factList;
  for (const auto &[key, value] : module.facts) {
    auto keyText = name(key);
    auto valueText = name(value);
    factList.push_back(fb::CreateFact(b, keyText, valueText));
  }
  Offsets<fb::Asset> assetList;
  for (const auto &[assetName, bytes] : module.assets) {
    auto nameText = name(assetName);
    auto contents = b.CreateVector(
        reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size());
    assetList.push_back(fb::CreateAsset(b, nameText, contents));
  }
  Offsets<fb::State> stateList;
  for (auto [i, state] : llvm::enumerate(module.states())) {
    states[state.get()] = i;
    auto stateName = name(state->name);
    auto kind = name(enumNames(state->kind)[unsigned(state->kind)]);
    auto stateType = type(state->type);
    stateList.push_back(fb::CreateState(b, stateName, kind, stateType));
  }
  for (auto [i, weight] : llvm::enumerate(module.weights()))
    weights[weight.get()] = i;
  Offsets<fb::Weight> weightList;
  for (const auto &weight : module.weights()) {
    uint32_t number = expr(*weight->expr);
    auto weightName = name(weight->name);
    auto place = loc(weight->loc);
    weightList.push_back(fb::CreateWeight(b, weightName, number, place));
  }
  Offsets<fb::Program> programList;
  for (const auto &item : module.programs())
    programList.push_back(program(*item));

  auto moduleName = name(module.name());
  auto dims = list(dimList);
  auto fileTable = list(fileList);
  auto facts = list(factList);
  auto assets = list(assetList);
  auto stateTable = list(stateList);
  auto exprTable = list(exprs);
  auto weightTable = list(weightList);
  auto programs = list(programList);
  b.Finish(fb::CreateModule(b, kModuleMajor, kModuleMinor, moduleName, dims,
                            fileTable, facts, assets, stateTable, exprTable,
                            weightTable, programs),
           fb::ModuleIdentifier());
  return std::string(reinterpret_cast<const char *>(b.GetBufferPointer()),
                     b.GetSize());
}

llvm::Expected<std::string> moec::writeBinary(const Module &module) {
  // Assets are what can be large; a builder that passes 2 GiB aborts.
  uint64_t assetBytes = 0;
  for (const auto &[name, bytes] : module.assets)
    assetBytes += bytes.size();
  if (assetBytes > (uint64_t(1) << 30))
    return error() << "assets have " << assetBytes
                   << " bytes; the binary form holds 1 GiB of them";
  return Writer(module).write();
}
