#include "ir/text/Printer.h"

#include "ir/core/Module.h"
#include "ir/kernel/KernelOps.h"
#include "ir/text/FileAttrs.h"
#include "ir/text/Lexer.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Base64.h"

using namespace moec;

namespace {
/// The names of the values of one block: hints made unique, else numbers.
class BlockNames {
public:
  explicit BlockNames(const Block &block) {
    for (unsigned i = 0; i < block.numArguments(); ++i)
      add(block.argument(i));
    for (const Operation &op : block.ops())
      for (Value result : op.results())
        add(result);
  }

  std::string of(Value value) const {
    if (value.weight())
      return "@" + sigilName(value.weight()->name);
    auto at = names.find(value);
    // A value of another block is wrong, but must print for the message.
    return "%" + (at == names.end() ? "?" : at->second);
  }

private:
  void add(Value value) {
    llvm::StringRef hint = value.hint();
    if (hint.empty() || llvm::all_of(hint, llvm::isDigit)) {
      names[value] = std::to_string(nextNumber++);
      return;
    }
    std::string name = hint.str();
    for (unsigned &suffix = suffixes[hint]; !taken.insert(name).second;)
      name = (hint + "_" + llvm::Twine(++suffix)).str();
    names[value] = sigilName(name);
  }

  llvm::DenseMap<Value, std::string> names;
  llvm::StringSet<> taken;
  /// The last suffix tried per hint, so that many equal hints stay cheap.
  llvm::StringMap<unsigned> suffixes;
  unsigned nextNumber = 0;
};

/// Numbers the expressions that several others or weights share.
class SharedExprs {
public:
  explicit SharedExprs(const Module &module) {
    for (const auto &weight : module.weights())
      count(weight->expr.get());
  }

  /// A leaf is as short as a reference to it.
  bool isShared(const Expr *expr) const {
    return !expr->args.empty() && readers.lookup(expr) > 1;
  }
  /// The number of a shared expression; nothing before `assign`.
  std::optional<unsigned> numberOf(const Expr *expr) const {
    auto at = numbers.find(expr);
    return at == numbers.end() ? std::nullopt : std::optional(at->second);
  }
  unsigned assign(const Expr *expr) {
    unsigned number = numbers.size();
    numbers[expr] = number;
    return number;
  }

private:
  void count(const Expr *expr) {
    if (readers[expr]++)
      return;
    for (const ExprRef &arg : expr->args)
      count(arg.get());
  }

  llvm::DenseMap<const Expr *, unsigned> readers;
  llvm::DenseMap<const Expr *, unsigned> numbers;
};

class Printer {
public:
  Printer(llvm::raw_ostream &os, const PrintOptions &options)
      : os(os), options(options) {}

  void print(const Module &module);
  void print(const Program &program, unsigned indent);
  void print(const Operation &op, const BlockNames &names, unsigned indent);

private:
  void print(const Weight &weight, SharedExprs &shared);
  void printSharedOf(const Expr *expr, SharedExprs &shared);
  void print(const Expr *expr, const SharedExprs &shared, bool definition);
  void printAttrs(const Attributes &attrs, llvm::StringRef before);
  void printLoc(const Location &loc);
  void printType(Value value);
  void printArguments(const Block &block, const BlockNames &names);
  void printBody(const Operation &op, unsigned indent);

  llvm::raw_ostream &os;
  const PrintOptions &options;
};
} // namespace

void Printer::printLoc(const Location &loc) {
  bool hasFile = !loc.fromText && (!loc.file.empty() || loc.line ||
                                   loc.column || loc.byteOffset >= 0);
  if (!options.locations || (!hasFile && loc.object.empty()))
    return;
  os << " loc(";
  if (hasFile) {
    os << quote(loc.file) << ":" << loc.line;
    if (loc.column)
      os << ":" << loc.column;
    if (loc.byteOffset >= 0)
      os << " at " << loc.byteOffset;
    if (!loc.object.empty())
      os << ", ";
  }
  if (!loc.object.empty())
    os << quote(loc.object);
  os << ")";
}

void Printer::printAttrs(const Attributes &attrs, llvm::StringRef before) {
  std::string text = attrs.str(options.maxListElements);
  if (!text.empty())
    os << before << text;
}

void Printer::printType(Value value) {
  if (value.state())
    os << "state @" << sigilName(value.state()->name);
  else
    os << value.type();
}

void Printer::print(const Expr *expr, const SharedExprs &shared,
                    bool definition) {
  if (expr->kind == ExprKind::Ref) {
    os << "@" << sigilName(expr->weight->name);
    return;
  }
  if (auto number = shared.numberOf(expr); number && !definition) {
    os << "#" << *number;
    return;
  }
  os << exprName(expr->kind) << "(";
  llvm::ListSeparator comma;
  if (expr->file)
    os << comma << "@" << sigilName(expr->file->name);
  for (const ExprRef &arg : expr->args) {
    os << comma;
    print(arg.get(), shared, /*definition=*/false);
  }
  printAttrs(*expr->attributes, comma);
  os << ")";
}

void Printer::printSharedOf(const Expr *expr, SharedExprs &shared) {
  if (shared.numberOf(expr))
    return;
  for (const ExprRef &arg : expr->args)
    printSharedOf(arg.get(), shared);
  if (!shared.isShared(expr))
    return;
  os << "  expr #" << shared.assign(expr) << " = ";
  print(expr, shared, /*definition=*/true);
  os << "\n";
}

void Printer::print(const Weight &weight, SharedExprs &shared) {
  printSharedOf(weight.expr.get(), shared);
  os << "  weight @" << sigilName(weight.name) << " : " << weight.type()
     << " = ";
  print(weight.expr.get(), shared, /*definition=*/false);
  printLoc(weight.loc);
  os << "\n";
}

void Printer::printArguments(const Block &block, const BlockNames &names) {
  os << "(";
  llvm::ListSeparator comma;
  for (unsigned i = 0; i < block.numArguments(); ++i) {
    os << comma << names.of(block.argument(i)) << ": ";
    printType(block.argument(i));
  }
  os << ")";
}

void Printer::printBody(const Operation &op, unsigned indent) {
  BlockNames names(*op.body());
  os << " {\n";
  os.indent(indent + 2) << "^";
  printArguments(*op.body(), names);
  os << ":\n";
  for (const Operation &inner : op.body()->ops())
    print(inner, names, indent + 2);
  os.indent(indent) << "}";
}

void Printer::print(const Operation &op, const BlockNames &names,
                    unsigned indent) {
  os.indent(indent);
  if (op.numResults()) {
    llvm::interleaveComma(op.results(), os,
                          [&](Value value) { os << names.of(value); });
    os << " = ";
  }
  bool kernel = isKernel(op);
  os << op.mnemonic() << (kernel ? "(" : op.numOperands() ? " " : "");
  llvm::interleaveComma(op.operands(), os,
                        [&](Value value) { os << names.of(value); });
  os << (kernel ? ")" : "");
  printAttrs(op.attrs(), " ");
  if (op.body())
    printBody(op, indent);
  if (op.numResults()) {
    os << " : ";
    llvm::interleaveComma(op.results(), os,
                          [&](Value value) { printType(value); });
  }
  printLoc(op.loc());
  os << "\n";
}

void Printer::print(const Program &program, unsigned indent) {
  BlockNames names(program.body());
  os.indent(indent) << "program @" << sigilName(program.name);
  printArguments(program.body(), names);
  os << " -> (";
  Operation *end = program.body().terminator();
  llvm::ListSeparator comma;
  for (unsigned i = 0; i < program.resultNames.size(); ++i) {
    os << comma << bareOrQuoted(program.resultNames[i]) << ": ";
    // A program under construction may not return its results yet.
    if (end && i < end->numOperands())
      printType(end->operand(i));
    else
      os << "?";
  }
  os << ")";
  printLoc(program.loc);
  os << " {\n";
  for (const Operation &op : program.body().ops())
    print(op, names, indent + 2);
  os.indent(indent) << "}\n";
}

void Printer::print(const Module &module) {
  os << "module @" << sigilName(module.name()) << " {\n";
  for (const auto &dim : module.dims()) {
    os << (dim->isRagged() ? "  ragged " : "  dim ") << dim->name() << " <= ";
    if (dim->isRagged())
      os << dim->bound();
    else
      os << dim->maximum();
    os << "\n";
  }
  for (const auto &file : module.files()) {
    os << "  file @" << sigilName(file->name) << " = " << quote(file->path);
    FileAttrs attrs;
    attrs.bytes = file->bytes;
    attrs.sha256 = file->sha256;
    printAttrs(attrs, " ");
    os << "\n";
  }
  for (const auto &[key, value] : module.facts)
    os << "  fact " << quote(key) << " = " << quote(value) << "\n";
  for (const auto &[name, bytes] : module.assets) {
    os << "  asset @" << sigilName(name) << " = base64 ";
    if (options.elideAssets)
      os << "... // " << bytes.size() << " bytes";
    else
      os << '"' << llvm::encodeBase64(bytes) << '"';
    os << "\n";
  }
  for (const auto &state : module.states())
    os << "  state @" << sigilName(state->name) << " : "
       << enumNames(state->kind)[unsigned(state->kind)] << " " << state->type
       << "\n";
  SharedExprs shared(module);
  for (const auto &weight : module.weights())
    print(*weight, shared);
  for (const auto &program : module.programs())
    print(*program, 2);
  os << "}\n";
}

void moec::printModule(const Module &module, llvm::raw_ostream &os,
                       const PrintOptions &options) {
  Printer(os, options).print(module);
}

std::string moec::printModule(const Module &module,
                              const PrintOptions &options) {
  std::string text;
  llvm::raw_string_ostream os(text);
  printModule(module, os, options);
  return text;
}

std::string moec::printOp(const Operation &op) {
  std::string text;
  llvm::raw_string_ostream os(text);
  PrintOptions options;
  options.locations = false;
  Printer(os, options).print(op, BlockNames(*op.parent()), 0);
  return llvm::StringRef(text).rtrim().str();
}
