//===- ModuleParser.h - the grammar, a function a rule --------------------===//
//
// ModuleParser.cpp holds what stands at the level of the module,
// ProgramParser.cpp what stands inside a program.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/core/Module.h"
#include "ir/text/AttrText.h"
#include "llvm/ADT/StringMap.h"

namespace moec {

class ModuleParser {
public:
  ModuleParser(llvm::StringRef text, llvm::StringRef file)
      : tokens(text, file) {}

  llvm::Expected<std::unique_ptr<Module>> parse();

private:
  /// A type as the text gives it: a tensor, or a version of a state.
  struct ParsedType {
    TensorType type;
    State *state = nullptr;
    Token start;
  };
  /// The values that a block has defined so far, by name.
  struct Scope {
    struct Entry {
      Value value;
      Token definition;
    };
    llvm::StringMap<Entry> values;
  };

  // Declarations.
  llvm::Error parseDeclaration();
  llvm::Error parseDim();
  llvm::Error parseRagged();
  llvm::Expected<Polynomial> parseBound();
  llvm::Error parseFile();
  llvm::Error parseFact();
  llvm::Error parseAsset();
  llvm::Error parseState();
  llvm::Error parseSharedExpr();
  llvm::Error parseWeight();
  llvm::Error redefined(const Token &name, llvm::StringRef what);

  // What several rules share.
  llvm::Expected<Token> parseSymbol(llvm::StringRef what) {
    return tokens.expect(TokenKind::symbol, what);
  }
  llvm::Expected<Dim> parseDimension();
  llvm::Expected<TensorType> parseTensorType();
  llvm::Expected<ParsedType> parseType();
  llvm::Error parseLoc(Location &loc);
  llvm::Expected<ExprRef> parseExpr(unsigned depth);
  llvm::Expected<ExprRef> parseExprOperand();

  // Programs.
  llvm::Error parseProgram();
  llvm::Error parseArguments(Block &block, Scope &scope);
  llvm::Error parseBlock(Block &block, Scope &scope, unsigned depth);
  llvm::Error parseOp(Block &block, Scope &scope, unsigned depth);
  llvm::Expected<Value> parseOperand(const Scope &scope);
  llvm::Error parseOperands(const Scope &scope, bool kernel,
                            llvm::SmallVectorImpl<Value> &operands);
  llvm::Error parseAttrsAndBody(Attributes &attrs, bool kernel,
                                std::unique_ptr<Block> &body, unsigned depth);
  llvm::Error parseBody(Block &body, unsigned depth);
  llvm::Error define(Scope &scope, const Token &name, Value value);

  TokenStream tokens;
  std::unique_ptr<Module> module;
  llvm::StringMap<ExprRef> sharedExprs;
  llvm::StringMap<State *> states;
  llvm::StringMap<SourceFile *> files;
};

} // namespace moec
