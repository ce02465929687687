//===- Module.h - a parsed PTX module -------------------------------------===//
//
// Names are resolved: registers, variables, functions and labels are indices.
// What an instruction means is not looked at yet, see Forms.h.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tools/cudasim/ptx/Lexer.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace cudasim::ptx {

enum class Type : uint8_t {
  None,
  Pred,
  B8,
  B16,
  B32,
  B64,
  B128,
  U8,
  U16,
  U32,
  U64,
  S8,
  S16,
  S32,
  S64,
  F16,
  F16x2,
  BF16,
  BF16x2,
  F32,
  F64,
};
/// The type named by a modifier such as `f32`; None where it names none.
Type parseType(llvm::StringRef word);
llvm::StringRef nameOf(Type type);
/// 1 bit is told as 1 (predicates), all else by its width.
unsigned bitsOf(Type type);
inline unsigned bytesOf(Type type) { return bitsOf(type) / 8; }

enum class Space : uint8_t {
  Generic,
  Reg,
  Global,
  Const,
  Shared,
  Local,
  Param
};

constexpr uint32_t kNone = ~uint32_t(0);

/// A virtual register of a function.
struct Register {
  std::string name;
  Type type = Type::None;
};

/// A value in an initialiser that is only known when the module is placed.
struct Relocation {
  uint64_t offset = 0;   ///< within the variable
  uint32_t variable = 0; ///< of the module
  int64_t addend = 0;
  unsigned bytes = 8;
  unsigned shift = 0; ///< of the address, from masks such as 0xFF00(name)
};

struct Variable {
  std::string name;
  Space space = Space::Global;
  Type type = Type::None;
  uint32_t align = 1;
  uint64_t bytes = 0; ///< 0: extern array of unknown size
  bool isExtern = false;
  std::vector<uint8_t> initial; ///< shorter than bytes: the rest is zero
  std::vector<Relocation> relocations;
  uint32_t line = 0, offset = 0;
};

enum class OperandKind : uint8_t {
  Register,
  Special,  ///< `%tid.x`: text
  Integer,  ///< bits
  Float32,  ///< bits
  Float64,  ///< bits
  Symbol,   ///< a variable's address plus bits
  Function, ///< index
  Label,    ///< index
  Address,  ///< [base + bits]; base is a register, a symbol or nothing
  Vector,   ///< {a, b, ...}: in elements
  Sink,     ///< `_`
  Pair,     ///< `a|b`: in elements
  Flag,     ///< a word that belongs to the op, kept as text
};

struct Operand {
  OperandKind kind = OperandKind::Sink;
  bool negated = false;     ///< `!p`
  bool isUnsigned = false;  ///< integer with suffix U
  bool moduleScope = false; ///< for symbols: index into Module::variables
  uint32_t index = kNone;   ///< register, symbol, function or label
  /// For addresses: kind of the base (Register, Symbol or Integer for none).
  OperandKind base = OperandKind::Integer;
  uint64_t bits = 0;
  uint32_t offset = 0; ///< in the text
  llvm::StringRef text;
  std::vector<Operand> elements;
};

/// A place in CUDA source, from .loc.
struct SourceLine {
  uint32_t file = 0, line = 0;
};

struct Instruction {
  /// `ld`, `global`, `v4`, `f32`.
  llvm::SmallVector<llvm::StringRef, 6> op;
  llvm::SmallVector<Operand, 4> operands;
  uint32_t guard = kNone; ///< a predicate register
  bool guardNegated = false;
  SourceLine loc;
  uint32_t line = 0, offset = 0;
  llvm::StringRef text; ///< as written, without the semicolon
  /// For calls: how many of the operands are results, and the callee's index
  /// among them.
  uint32_t callResults = 0;
};

struct Function {
  std::string name;
  bool isEntry = false;
  bool isDeclaration = false;
  /// Parameters, then return parameters, then variables of the body: all in
  /// Param, Shared or Local space.
  std::vector<Variable> variables;
  uint32_t parameterCount = 0, returnCount = 0;
  /// .func returns or takes registers directly (`.reg` parameters); not
  /// supported by the machine and refused with the place.
  std::vector<Register> registers;
  std::vector<Instruction> body;
  /// By label index: the instruction it stands before.
  std::vector<uint32_t> labels;
  std::vector<std::string> labelNames;
  uint32_t maxThreads[3] = {0, 0, 0}, requiredThreads[3] = {0, 0, 0};
  uint32_t minBlocks = 0;
  uint32_t line = 0, offset = 0;
};

struct Module {
  Source source;
  unsigned versionMajor = 0, versionMinor = 0;
  std::string target;
  unsigned targetNumber = 0;
  std::vector<Variable> variables;
  std::vector<Function> functions;
  llvm::StringMap<uint32_t> functionByName, variableByName;
  /// By .file index.
  std::vector<std::string> files;
};

llvm::Expected<std::unique_ptr<Module>> parse(llvm::StringRef text,
                                              llvm::StringRef name);

} // namespace cudasim::ptx
