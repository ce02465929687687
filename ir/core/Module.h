//===- Module.h - dimensions, files, weights, states and programs ---------===//
#pragma once

#include "ir/core/Expr.h"
#include "ir/core/Operation.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"

#include <map>

namespace moec {

/// A checkpoint that weights are read from: `file @src = "model.gguf" {...}`.
class SourceFile {
public:
  std::string name;
  /// A file, or a folder of them; relative paths are relative to the module's
  /// own file.
  std::string path;
  /// Bytes of all tensor files together; SHA-256 as hex. Empty: not taken yet.
  int64_t bytes = 0;
  std::string sha256;
};

/// A named tensor that is the same for every run of a program.
class Weight {
public:
  std::string name;
  ExprRef expr;
  Location loc;

  /// The weight as an operand. Its type is that of the expression.
  Value value() const { return const_cast<ValueImpl *>(&impl); }
  const TensorType &type() const { return impl.type; }

private:
  friend class Module;
  ValueImpl impl;
};

enum class StateKind : unsigned { param, moment, kv, counter };
inline llvm::ArrayRef<llvm::StringRef> enumNames(StateKind) {
  static const llvm::StringRef names[] = {"param", "moment", "kv", "counter"};
  return names;
}

/// What outlives a run: `state @kv.k.0 : kv tensor<...>`. A program takes a
/// version of it as an argument and returns the last one.
class State {
public:
  std::string name;
  StateKind kind = StateKind::kv;
  TensorType type;
};

/// A straight-line function over tensors. Its block ends in `return`.
class Program {
public:
  std::string name;
  Location loc;
  /// Names of the results, in order.
  std::vector<std::string> resultNames;
  Block &body() { return block; }
  const Block &body() const { return block; }

  /// The argument of this name, null if there is none.
  Value argument(llvm::StringRef name) const;

private:
  friend class Module;
  Block block;
};

/// Everything about one model. Names are unique per kind of thing.
class Module {
public:
  explicit Module(std::string name) : nameText(std::move(name)) {}
  Module(const Module &) = delete;
  Module &operator=(const Module &) = delete;
  ~Module();

  const std::string &name() const { return nameText; }
  void setName(std::string name) { nameText = std::move(name); }

  // Add functions return null where the name is taken.
  DimSymbol *addDim(std::string name, int64_t maximum);
  DimSymbol *addRagged(std::string name, Polynomial bound);
  SourceFile *addFile(std::string name, std::string path);
  Weight *addWeight(std::string name, ExprRef expr, Location loc = {});
  State *addState(std::string name, StateKind kind, TensorType type);
  Program *addProgram(std::string name);

  DimSymbol *findDim(llvm::StringRef name) const;
  SourceFile *findFile(llvm::StringRef name) const;
  Weight *findWeight(llvm::StringRef name) const;
  State *findState(llvm::StringRef name) const;
  Program *findProgram(llvm::StringRef name) const;

  /// In order of declaration.
  template <typename T> using List = std::vector<std::unique_ptr<T>>;
  const List<DimSymbol> &dims() const { return dimList; }
  const List<SourceFile> &files() const { return fileList; }
  const List<Weight> &weights() const { return weightList; }
  const List<State> &states() const { return stateList; }
  const List<Program> &programs() const { return programList; }

  /// Gives a weight another definition; its users see the new type.
  void redefine(Weight *weight, ExprRef expr);
  /// Removes a weight that no op and no expression uses.
  void eraseWeight(Weight *weight);
  /// Removes a file that no expression reads.
  void eraseFile(SourceFile *file);
  void eraseProgram(Program *program);
  /// Removes a state that no program takes.
  void eraseState(State *state);

  /// Facts that hosts need (context length, ids, ...), by key.
  std::map<std::string, std::string> facts;
  /// Bytes that travel with the model, such as its tokenizer, by name.
  std::map<std::string, std::string> assets;
  /// Folder that relative paths of files start from; not printed.
  std::string baseFolder;

private:
  std::string nameText;
  List<DimSymbol> dimList;
  List<SourceFile> fileList;
  List<Weight> weightList;
  List<State> stateList;
  // Last, so that ops go before the weights they use.
  List<Program> programList;
  llvm::StringMap<Weight *> weightsByName;
  llvm::StringMap<DimSymbol *> dimsByName;
};

} // namespace moec
