//===- ParserImpl.h - the parser's state, shared by its two files ---------===//
#pragma once

#include "tools/cudasim/ptx/Module.h"
#include "tools/cudasim/ptx/Scope.h"

namespace cudasim::ptx {

class Parser {
public:
  Parser(Module &module, std::vector<Token> tokens)
      : module(module), tokens(std::move(tokens)) {}
  llvm::Error parseModule();

private:
  // The End token is never passed, so looking one ahead is always safe.
  const Token &now() const { return tokens[at]; }
  const Token &next() {
    const Token &token = tokens[at];
    if (token.kind != TokenKind::End)
      ++at;
    return token;
  }
  static std::string describe(const Token &token);
  llvm::Error expected(llvm::StringRef what) const;
  llvm::Error expectPunct(char punct);
  bool acceptPunct(char punct);
  bool acceptDot(llvm::StringRef word);
  llvm::Expected<uint32_t> expectCount(llvm::StringRef what, uint32_t atMost);

  llvm::Error parseHeader();
  llvm::Error parseTopLevel();
  llvm::Error skipSection();
  llvm::Error parseFile();

  llvm::Error parseFunction(bool isExtern);
  llvm::Error parseParameters(Function &into, bool isEntry, uint32_t &count);
  llvm::Error parseDim(uint32_t (&dim)[3]);
  llvm::Error parseDirectives(Function &into);
  llvm::Error parseBody(Function parsed, uint32_t index);
  static bool sameSignature(const Function &a, const Function &b);

  llvm::Error parseStatement();
  llvm::Error parseBodyDirective();
  llvm::Error parseLoc();
  llvm::Error parseRegisters();
  llvm::Error parseInstruction();
  llvm::Error parseOperands(uint32_t index);
  llvm::Error parseCallOperands(uint32_t index);
  llvm::Expected<Operand> parseOperand(uint32_t instruction, unsigned depth);
  llvm::Expected<Operand> parseName(uint32_t instruction);
  llvm::Expected<Operand> parseNumber();
  llvm::Expected<Operand> parseAddress(uint32_t instruction);

  // VariableParser.cpp
  llvm::Error parseModuleVariable(bool isExtern);
  llvm::Error parseBodyVariable();
  /// `.align 4 .b8 name[16]`: everything after the space.
  llvm::Error parseDeclarator(Variable &into, bool isParameter);
  llvm::Error parseInitializer(Variable &into);
  llvm::Error parseInitialValue(Variable &into, uint64_t &offset);

  Module &module;
  std::vector<Token> tokens;
  size_t at = 0;
  Function *current = nullptr;
  ScopeStack *scopes = nullptr;
  SourceLine location;
};

} // namespace cudasim::ptx
