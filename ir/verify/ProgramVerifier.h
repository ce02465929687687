//===- ProgramVerifier.h - the rules inside one program -------------------===//
#pragma once

#include "ir/core/Module.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"

namespace moec {

class ErrorBuilder;

/// What a module declares; anything else that an op points to is foreign.
struct Declared {
  explicit Declared(const Module &module);

  llvm::DenseSet<const DimSymbol *> dims;
  llvm::DenseSet<const SourceFile *> files;
  llvm::DenseSet<const State *> states;
  llvm::DenseSet<const Weight *> weights;
};

/// What is wrong with a type of a value; empty for a good type.
std::string typeProblem(const TensorType &type, const Declared &declared);

/// A name that text and plans can carry: [A-Za-z_][A-Za-z0-9_.]*.
bool isPlainName(llvm::StringRef name);

class ProgramVerifier {
public:
  ProgramVerifier(const Program &program, const Declared &declared)
      : program(program), declared(declared) {}

  llvm::Error verify();

private:
  /// The current version of each state in one block, and who wrote it.
  struct Version {
    Value value;
    const Operation *writer = nullptr;
  };
  using Versions = llvm::MapVector<State *, Version>;

  llvm::Error verifySignature();
  llvm::Error verifyArguments(const Block &block, const Location &loc);
  llvm::Error verifyBlock(const Block &block, const Location &loc);
  llvm::Error verifyOp(const Operation &op,
                       const llvm::DenseSet<Value> &defined);
  llvm::Error verifyOperand(const Operation &op, unsigned i,
                            const llvm::DenseSet<Value> &defined);
  llvm::Error verifyStates(const Block &block);
  llvm::Error readStates(const Operation &op, const Versions &versions);
  llvm::Error writeStates(const Operation &op, Versions &versions);
  llvm::Error returnStates(const Operation &end, const Versions &versions);
  llvm::Error verifyRagged(const Operation &op);

  const Program &program;
  const Declared &declared;
  llvm::DenseMap<const DimSymbol *, const Operation *> raggedDefinitions;
};

} // namespace moec
