#include "ir/binary/AttrValue.h"
#include "ir/binary/Binary.h"
#include "ir/core/Module.h"
#include "ir/kernel/KernelOps.h"
#include "ir/ops/OpInfo.h"
#include "ir/support/Diagnostic.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"

#include <cstring>

using namespace moec;

namespace {
template <typename T> using Table = flatbuffers::Vector<flatbuffers::Offset<T>>;

/// Builds a module of a buffer whose offsets are verified; everything else is
/// checked here.
class Reader {
public:
  Reader(const fb::Module &root, size_t bytes, llvm::StringRef file)
      : root(root), file(file), budget(bytes * kMostSharing + (1 << 20)) {}

  llvm::Expected<std::unique_ptr<Module>> read();

private:
  llvm::Error readAll();
  ErrorBuilder fail(llvm::StringRef object) const {
    Location loc = Location::inFile(file.str());
    loc.object = object.str();
    return error(loc);
  }
  // Strings and lists may be shared by many tables, so that a small file could
  // ask for any amount of memory. What is copied is charged to a budget; when
  // it is spent, everything reads as empty and `read` fails.
  static constexpr size_t kMostSharing = 64;
  bool charge(size_t count) {
    bool affordable = !isSpent && count <= budget;
    isSpent = !affordable;
    budget -= affordable ? count : 0;
    return affordable;
  }
  std::string text(const flatbuffers::String *string) {
    return string && charge(string->size()) ? string->str() : std::string();
  }
  template <typename T>
  std::vector<T> numbers(const flatbuffers::Vector<T> *list) {
    if (!list || !charge(list->size() * sizeof(T)))
      return {};
    // The verifier of flatbuffers aligns a list's length, not its elements.
    std::vector<T> copy(list->size());
    if (!copy.empty())
      std::memcpy(copy.data(), list->Data(), copy.size() * sizeof(T));
    return copy;
  }
  static std::vector<fb::Dim>
  structs(const flatbuffers::Vector<const fb::Dim *> *list) {
    std::vector<fb::Dim> copy(list ? list->size() : 0);
    if (!copy.empty())
      std::memcpy(static_cast<void *>(copy.data()), list->Data(),
                  copy.size() * sizeof(fb::Dim));
    return copy;
  }
  /// The elements of a vector that may be absent.
  template <typename T> static auto items(const flatbuffers::Vector<T> *list) {
    return llvm::make_range(list ? list->begin() : decltype(list->begin())(),
                            list ? list->end() : decltype(list->end())());
  }

  llvm::Error readDims();
  llvm::Expected<Polynomial> readBound(const fb::DimSymbol &dim);
  llvm::Error readFilesAndFacts();
  llvm::Error readStates();
  llvm::Error readWeights();
  llvm::Expected<ExprRef> readExpr(const fb::Expr &expr, llvm::StringRef user);
  llvm::Error readPrograms();
  llvm::Error readBlock(const fb::Block &source, Block &block,
                        llvm::StringRef object, unsigned depth);
  llvm::Error readOp(const fb::Op &source, Block &block,
                     llvm::SmallVectorImpl<Value> &values,
                     llvm::StringRef object, unsigned depth);
  llvm::Expected<TensorType> readType(const fb::Type *type,
                                      llvm::StringRef object);
  /// The type of a value, and its state.
  llvm::Expected<std::pair<TensorType, State *>>
  readValueType(const fb::Value &value, llvm::StringRef object);
  llvm::Error readAttrs(const Table<fb::Attr> *fields, Attributes &attrs,
                        llvm::StringRef object);
  Location readLoc(const fb::Loc *loc);

  const fb::Module &root;
  llvm::StringRef file;
  std::unique_ptr<Module> module;
  std::vector<ExprRef> exprs;
  size_t budget;
  bool isSpent = false;
};
} // namespace

Location Reader::readLoc(const fb::Loc *source) {
  Location loc;
  if (!source)
    return loc;
  loc.file = text(source->file());
  loc.line = source->line();
  loc.column = source->column();
  loc.byteOffset = std::max<int64_t>(source->byte_offset(), -1);
  loc.object = text(source->object());
  return loc;
}

llvm::Error Reader::readAttrs(const Table<fb::Attr> *fields, Attributes &attrs,
                              llvm::StringRef object) {
  std::vector<AttrValue> values;
  for (const fb::Attr *field : items(fields)) {
    AttrValue &value = values.emplace_back();
    value.name = text(field->name());
    value.kind = field->kind();
    value.integer = field->integer();
    value.text = text(field->text());
    value.integers = numbers(field->integers());
    value.reals = numbers(field->reals());
    if (value.kind == fb::AttrKind::real) {
      if (value.reals.size() != 1)
        return fail(object) << "attribute '" << value.name << "' has "
                            << value.reals.size() << " numbers, expects 1";
      value.real = value.reals[0];
    }
  }
  if (std::string problem = setFields(attrs, values); !problem.empty())
    return fail(object) << problem;
  return llvm::Error::success();
}

llvm::Expected<TensorType> Reader::readType(const fb::Type *source,
                                            llvm::StringRef object) {
  if (!source)
    return fail(object) << "a type is missing";
  auto element = parseElementType(text(source->element()));
  if (!element)
    return fail(object) << "unknown element type '" << text(source->element())
                        << "'";
  if (source->dims() && source->dims()->size() > kMaxRank)
    return fail(object) << "a tensor has " << source->dims()->size()
                        << " dimensions, expects at most " << kMaxRank;
  llvm::SmallVector<Dim> dims;
  for (const fb::Dim &dim : structs(source->dims())) {
    if (dim.symbol() == -1) {
      dims.push_back(Dim(dim.offset()));
      continue;
    }
    if (dim.symbol() < 0 || size_t(dim.symbol()) >= module->dims().size())
      return fail(object) << "names dimension " << dim.symbol() << " of "
                          << module->dims().size();
    dims.push_back(Dim(module->dims()[dim.symbol()].get(), dim.offset()));
  }
  TensorType type(dims, *element);
  if (std::string problem = type.sizeProblem(); !problem.empty())
    return fail(object) << "bad type " << type << ": " << problem;
  return type;
}

llvm::Expected<std::pair<TensorType, State *>>
Reader::readValueType(const fb::Value &value, llvm::StringRef object) {
  if (value.state() == -1) {
    MOEC_ASSIGN(TensorType type, readType(value.type(), object));
    return std::pair<TensorType, State *>(std::move(type), nullptr);
  }
  if (value.state() < 0 || size_t(value.state()) >= module->states().size())
    return fail(object) << "names state " << value.state() << " of "
                        << module->states().size();
  State *state = module->states()[value.state()].get();
  return std::pair<TensorType, State *>(state->type, state);
}

llvm::Expected<Polynomial> Reader::readBound(const fb::DimSymbol &dim) {
  constexpr int64_t kMostCoefficient = int64_t(1) << 40;
  Polynomial bound;
  if (dim.bound() && dim.bound()->size() > 64)
    return fail(text(dim.name())) << "the bound has more than 64 terms";
  for (const fb::Term *term : items(dim.bound())) {
    if (term->coefficient() < 1 || term->coefficient() > kMostCoefficient)
      return fail(text(dim.name())) << "coefficient " << term->coefficient()
                                    << " is outside [1, 2^40]";
    if (term->symbols() && term->symbols()->size() > 8)
      return fail(text(dim.name())) << "a product has more than 8 factors";
    Polynomial product(term->coefficient());
    for (uint32_t symbol : items(term->symbols())) {
      if (symbol >= module->dims().size() || module->dims()[symbol]->isRagged())
        return fail(text(dim.name()))
               << "is bounded by dimension " << symbol
               << ", which is none that the host knows before it";
      product = product * Polynomial::of(module->dims()[symbol].get());
    }
    bound += product;
  }
  // What the text cannot say either: nothing, or like terms that add up to
  // more.
  if (bound.terms().empty())
    return fail(text(dim.name())) << "the bound has no terms";
  for (const Polynomial::Term &term : bound.terms())
    if (term.coefficient > kMostCoefficient)
      return fail(text(dim.name()))
             << "coefficient " << term.coefficient << " is outside [1, 2^40]";
  return bound;
}

llvm::Error Reader::readDims() {
  for (const fb::DimSymbol *dim : items(root.dims())) {
    std::string name = text(dim->name());
    if (dim->ragged()) {
      MOEC_ASSIGN(Polynomial bound, readBound(*dim));
      if (!module->addRagged(name, std::move(bound)))
        return fail(name) << "dimension is declared twice";
      continue;
    }
    if (dim->maximum() < 1 || dim->maximum() > (int64_t(1) << 40))
      return fail(name) << "maximum " << dim->maximum()
                        << " is outside [1, 2^40]";
    if (!module->addDim(name, dim->maximum()))
      return fail(name) << "dimension is declared twice";
  }
  return llvm::Error::success();
}

llvm::Error Reader::readFilesAndFacts() {
  for (const fb::File *source : items(root.files())) {
    SourceFile *added =
        module->addFile(text(source->name()), text(source->path()));
    if (!added)
      return fail(text(source->name())) << "file is declared twice";
    if (source->bytes() < 0)
      return fail(added->name) << "file has " << source->bytes() << " bytes";
    added->bytes = source->bytes();
    added->sha256 = text(source->sha256());
  }
  for (const fb::Fact *fact : items(root.facts()))
    if (!module->facts.try_emplace(text(fact->key()), text(fact->value()))
             .second)
      return fail(text(fact->key())) << "fact is declared twice";
  for (const fb::Asset *asset : items(root.assets())) {
    std::vector<uint8_t> contents = numbers(asset->bytes());
    std::string bytes(contents.begin(), contents.end());
    if (!module->assets.try_emplace(text(asset->name()), std::move(bytes))
             .second)
      return fail(text(asset->name())) << "asset is declared twice";
  }
  return llvm::Error::success();
}

llvm::Error Reader::readStates() {
  llvm::ArrayRef<llvm::StringRef> kinds = enumNames(StateKind());
  for (const fb::State *source : items(root.states())) {
    std::string name = text(source->name());
    auto kind = llvm::find(kinds, text(source->kind()));
    if (kind == kinds.end())
      return fail(name) << "unknown kind of state '" << text(source->kind())
                        << "'";
    MOEC_ASSIGN(TensorType type, readType(source->type(), name));
    if (!module->addState(name, StateKind(kind - kinds.begin()),
                          std::move(type)))
      return fail(name) << "state is declared twice";
  }
  return llvm::Error::success();
}

llvm::Expected<ExprRef> Reader::readExpr(const fb::Expr &source,
                                         llvm::StringRef user) {
  auto kind = parseExprKind(text(source.kind()));
  if (!kind)
    return fail(user) << "unknown expression '" << text(source.kind()) << "'";
  std::vector<ExprRef> args;
  for (uint32_t arg : numbers(source.args())) {
    if (arg >= exprs.size())
      return fail(user) << "an expression reads expression " << arg
                        << ", but only " << exprs.size() << " stand before it";
    args.push_back(exprs[arg]);
  }
  Weight *weight = nullptr;
  if (*kind == ExprKind::Ref) {
    if (source.weight() < 0 ||
        size_t(source.weight()) >= module->weights().size())
      return fail(user) << "an expression refers to weight " << source.weight()
                        << ", but only " << module->weights().size()
                        << " stand before it";
    weight = module->weights()[source.weight()].get();
  }
  SourceFile *checkpoint = nullptr;
  if (*kind == ExprKind::Source) {
    if (source.file() < 0 || size_t(source.file()) >= module->files().size())
      return fail(user) << "an expression reads file " << source.file()
                        << " of " << module->files().size();
    checkpoint = module->files()[source.file()].get();
  }
  std::unique_ptr<Attributes> attrs = makeExprAttrs(*kind);
  MOEC_TRY(readAttrs(source.attrs(), *attrs, user));
  Location loc = Location::inFile(file.str());
  loc.object = user.str();
  return Expr::make(*kind, std::move(args), std::move(attrs), weight,
                    checkpoint, loc);
}

llvm::Error Reader::readWeights() {
  size_t available = root.exprs() ? root.exprs()->size() : 0;
  for (const fb::Weight *source : items(root.weights())) {
    std::string name = text(source->name());
    if (source->expr() >= available)
      return fail(name) << "is expression " << source->expr() << " of "
                        << available;
    // Those up to this one; they may refer to the weights before it.
    while (exprs.size() <= source->expr()) {
      MOEC_ASSIGN(ExprRef expr,
                  readExpr(*root.exprs()->Get(exprs.size()), name));
      exprs.push_back(std::move(expr));
    }
    if (!module->addWeight(name, exprs[source->expr()], readLoc(source->loc())))
      return fail(name) << "weight is declared twice";
  }
  return llvm::Error::success();
}

llvm::Error Reader::readOp(const fb::Op &source, Block &block,
                           llvm::SmallVectorImpl<Value> &values,
                           llvm::StringRef object, unsigned depth) {
  auto kind = parseOpKind(text(source.mnemonic()));
  if (!kind)
    return fail(object) << "unknown op '" << text(source.mnemonic()) << "'";
  llvm::SmallVector<Value> operands;
  for (int32_t operand : numbers(source.operands())) {
    int64_t number = operand >= 0 ? operand : -1 - int64_t(operand);
    size_t count = operand >= 0 ? values.size() : module->weights().size();
    if (size_t(number) >= count)
      return fail(object) << "reads " << (operand >= 0 ? "value " : "weight ")
                          << number << " of " << count;
    operands.push_back(operand >= 0 ? values[number]
                                    : module->weights()[number]->value());
  }
  llvm::SmallVector<TensorType> types;
  llvm::SmallVector<State *> states;
  for (const fb::Value *result : items(source.results())) {
    MOEC_ASSIGN(auto typed, readValueType(*result, object));
    types.push_back(std::move(typed.first));
    states.push_back(typed.second);
  }
  std::unique_ptr<Attributes> attrs = infoOf(*kind).makeAttrs();
  MOEC_TRY(readAttrs(source.attrs(), *attrs, object));
  std::unique_ptr<Block> body;
  if (source.body()) {
    if (!isKernel(*kind))
      return fail(object) << "only kernel ops have a body";
    body = std::make_unique<Block>();
    MOEC_TRY(readBlock(*source.body(), *body, object, depth + 1));
  }
  Operation *op = block.append(Operation::create(
      *kind, operands, types, std::move(attrs), readLoc(source.loc())));
  if (body)
    op->setBody(std::move(body));
  for (unsigned i = 0; i < op->numResults(); ++i) {
    op->result(i).setState(states[i]);
    op->result(i).setHint(text(source.results()->Get(i)->hint()));
    values.push_back(op->result(i));
  }
  return llvm::Error::success();
}

llvm::Error Reader::readBlock(const fb::Block &source, Block &block,
                              llvm::StringRef object, unsigned depth) {
  constexpr unsigned kDeepest = 8;
  if (depth > kDeepest)
    return fail(object) << "bodies nest deeper than " << kDeepest;
  llvm::SmallVector<Value> values;
  for (const fb::Value *argument : items(source.arguments())) {
    MOEC_ASSIGN(auto typed, readValueType(*argument, object));
    values.push_back(block.addArgument(std::move(typed.first),
                                       text(argument->hint()), typed.second));
  }
  unsigned number = 0;
  for (const fb::Op *op : items(source.ops()))
    MOEC_TRY(readOp(*op, block, values,
                    (object + ", op " + llvm::Twine(number++)).str(), depth));
  return llvm::Error::success();
}

llvm::Error Reader::readPrograms() {
  for (const fb::Program *source : items(root.programs())) {
    std::string name = text(source->name());
    Program *program = module->addProgram(name);
    if (!program)
      return fail(name) << "program is declared twice";
    program->loc = readLoc(source->loc());
    for (const flatbuffers::String *result : items(source->result_names()))
      program->resultNames.push_back(result->str());
    MOEC_TRY(readBlock(*source->block(), program->body(),
                       "program '" + name + "'", /*depth=*/0));
  }
  return llvm::Error::success();
}

llvm::Error Reader::readAll() {
  MOEC_TRY(readDims());
  MOEC_TRY(readFilesAndFacts());
  MOEC_TRY(readStates());
  MOEC_TRY(readWeights());
  return readPrograms();
}

llvm::Expected<std::unique_ptr<Module>> Reader::read() {
  module = std::make_unique<Module>(text(root.name()));
  llvm::Error err = readAll();
  if (isSpent) {
    // What else seems wrong may be so only because it read as empty.
    llvm::consumeError(std::move(err));
    return fail("") << "holds strings or lists that are shared more than "
                    << kMostSharing << " times over";
  }
  if (err)
    return std::move(err);
  return std::move(module);
}

bool moec::looksLikeBinary(llvm::StringRef bytes) {
  return bytes.size() >= 8 &&
         fb::ModuleBufferHasIdentifier(static_cast<const void *>(bytes.data()));
}

llvm::Expected<std::unique_ptr<Module>> moec::readBinary(llvm::StringRef bytes,
                                                         llvm::StringRef file) {
  constexpr unsigned kMaxDepth = 64;
  Location place = Location::inFile(file.str());
  if (bytes.size() < 8 || bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE)
    return error(place) << "expects a binary module of 8 bytes to 2 GiB, got "
                        << bytes.size() << " bytes";
  if (!looksLikeBinary(bytes))
    return error(place)
           << "is no binary module: expects the identifier 'MOEG' at byte 4";
  // Scalars are read in place, at multiples of their size.
  std::vector<uint64_t> aligned;
  const uint8_t *data = bytes.bytes_begin();
  if (reinterpret_cast<uintptr_t>(data) % alignof(uint64_t)) {
    aligned.resize(bytes.size() / sizeof(uint64_t) + 1);
    std::memcpy(aligned.data(), data, bytes.size());
    data = reinterpret_cast<const uint8_t *>(aligned.data());
  }
  // Tables may share parts; a bound on their number bounds the time.
  unsigned maxTables = bytes.size() / 4 + 16;
  flatbuffers::Verifier head(data, bytes.size(), kMaxDepth, maxTables);
  if (!head.VerifyBuffer<fb::VersionOnly>(fb::ModuleIdentifier()))
    return error(place) << "is damaged: its head does not hold a version";
  auto *version = flatbuffers::GetRoot<fb::VersionOnly>(data);
  if (version->major() != kModuleMajor)
    return error(place) << "is a module of version " << version->major() << "."
                        << version->minor() << ", this program reads version "
                        << kModuleMajor << "." << kModuleMinor;
  flatbuffers::Verifier verifier(data, bytes.size(), kMaxDepth, maxTables);
  if (!fb::VerifyModuleBuffer(verifier))
    return error(place)
           << "is damaged: an offset or a length leads outside the file's "
           << bytes.size() << " bytes";
  return Reader(*fb::GetModule(data), bytes.size(), file).read();
}
