#include "ir/kernel/KernelOps.h"
#include "ir/ops/OpInfo.h"
#include "ir/text/ModuleParser.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

llvm::Error ModuleParser::define(Scope &scope, const Token &name, Value value) {
  std::string text = name.name();
  auto [entry, added] =
      scope.values.try_emplace(text, Scope::Entry{value, name});
  if (!added)
    return tokens.errorAt(name).withNote(
               tokens.locationOf(entry->second.definition),
               "it is defined here")
           << "value '" << name.spelling << "' is defined twice";
  // A number is no name that a user gave.
  if (!llvm::all_of(text, llvm::isDigit))
    value.setHint(std::move(text));
  return llvm::Error::success();
}

llvm::Error ModuleParser::parseArguments(Block &block, Scope &scope) {
  MOEC_TRY(tokens.expect("("));
  if (tokens.takeIf(")"))
    return llvm::Error::success();
  do {
    MOEC_ASSIGN(Token name,
                tokens.expect(TokenKind::value, "an argument '%...'"));
    MOEC_TRY(tokens.expect(":"));
    MOEC_ASSIGN(ParsedType type, parseType());
    Value argument = block.addArgument(type.type, "", type.state);
    MOEC_TRY(define(scope, name, argument));
  } while (tokens.takeIf(","));
  return tokens.expect(")");
}

llvm::Error ModuleParser::parseProgram() {
  MOEC_ASSIGN(Token name, parseSymbol("the name of a program"));
  Program *program = module->addProgram(name.name());
  if (!program)
    return redefined(name, "program");
  program->loc = tokens.locationOf(name);
  Scope scope;
  MOEC_TRY(parseArguments(program->body(), scope));
  MOEC_TRY(tokens.expect("->"));
  MOEC_TRY(tokens.expect("("));
  std::vector<ParsedType> types;
  if (!tokens.takeIf(")")) {
    do {
      Token result = tokens.peek();
      if (!result.is(TokenKind::identifier) && !result.is(TokenKind::string))
        return tokens.unexpected("the name of a result");
      program->resultNames.push_back(tokens.take().name());
      MOEC_TRY(tokens.expect(":"));
      MOEC_ASSIGN(ParsedType type, parseType());
      types.push_back(std::move(type));
    } while (tokens.takeIf(","));
    MOEC_TRY(tokens.expect(")"));
  }
  MOEC_TRY(parseLoc(program->loc));
  MOEC_TRY(tokens.expect("{"));
  MOEC_TRY(parseBlock(program->body(), scope, /*depth=*/0));
  // The signature repeats what the block returns; the verifier counts.
  Operation *end = program->body().terminator();
  if (!end || !end->is(OpKind::Return))
    return llvm::Error::success();
  for (auto [operand, type, result] :
       llvm::zip(end->operands(), types, program->resultNames))
    if (operand.type() != type.type || operand.state() != type.state)
      return tokens.errorAt(type.start)
                 .withNote(end->loc(), "it is returned here")
             << "result '" << result << "' does not have the type of the "
             << "returned value, " << operand.type();
  return llvm::Error::success();
}

llvm::Error ModuleParser::parseBlock(Block &block, Scope &scope,
                                     unsigned depth) {
  while (!tokens.takeIf("}"))
    MOEC_TRY(parseOp(block, scope, depth));
  return llvm::Error::success();
}

llvm::Expected<Value> ModuleParser::parseOperand(const Scope &scope) {
  const Token &token = tokens.peek();
  if (token.is(TokenKind::value)) {
    auto at = scope.values.find(token.name());
    if (at == scope.values.end())
      return tokens.errorAt(token)
             << "unknown value '" << token.spelling << "'";
    tokens.take();
    return at->second.value;
  }
  if (!token.is(TokenKind::symbol))
    return tokens.unexpected("an operand '%...' or '@...'");
  Weight *weight = module->findWeight(token.name());
  if (!weight)
    return tokens.errorAt(token) << "unknown weight '" << token.name() << "'";
  tokens.take();
  return weight->value();
}

llvm::Error
ModuleParser::parseOperands(const Scope &scope, bool kernel,
                            llvm::SmallVectorImpl<Value> &operands) {
  if (kernel)
    MOEC_TRY(tokens.expect("("));
  bool any = kernel ? !tokens.peek().is(")")
                    : tokens.peek().is(TokenKind::value) ||
                          tokens.peek().is(TokenKind::symbol);
  if (any) {
    do {
      MOEC_ASSIGN(Value operand, parseOperand(scope));
      operands.push_back(operand);
    } while (tokens.takeIf(","));
  }
  return kernel ? tokens.expect(")") : llvm::Error::success();
}

/// What follows the opening brace and `^`.
llvm::Error ModuleParser::parseBody(Block &body, unsigned depth) {
  // A kernel in a kernel is for the verifier to refuse; a pile of them must
  // not exhaust the stack.
  constexpr unsigned kDeepest = 8;
  if (depth > kDeepest)
    return tokens.errorAt(tokens.peek())
           << "bodies nest deeper than " << kDeepest;
  Scope scope;
  MOEC_TRY(parseArguments(body, scope));
  MOEC_TRY(tokens.expect(":"));
  return parseBlock(body, scope, depth);
}

llvm::Error ModuleParser::parseAttrsAndBody(Attributes &attrs, bool kernel,
                                            std::unique_ptr<Block> &body,
                                            unsigned depth) {
  // Both start with a brace; what follows it tells them apart.
  while (tokens.peek().is("{")) {
    if (!tokens.peekBehind().is("^")) {
      MOEC_TRY(parseAttributes(tokens, attrs));
      continue;
    }
    if (!kernel)
      return tokens.errorAt(tokens.peek()) << "only kernel ops have a body";
    tokens.take();
    tokens.take();
    body = std::make_unique<Block>();
    return parseBody(*body, depth + 1);
  }
  return llvm::Error::success();
}

llvm::Error ModuleParser::parseOp(Block &block, Scope &scope, unsigned depth) {
  Token start = tokens.peek();
  llvm::SmallVector<Token> names;
  if (start.is(TokenKind::value)) {
    do {
      MOEC_ASSIGN(Token name,
                  tokens.expect(TokenKind::value, "a result '%...'"));
      names.push_back(name);
    } while (tokens.takeIf(","));
    MOEC_TRY(tokens.expect("="));
  }
  Token mnemonic = tokens.peek();
  if (!mnemonic.is(TokenKind::identifier))
    return tokens.unexpected(names.empty() ? "an op or '}'" : "an op");
  auto kind = parseOpKind(mnemonic.spelling);
  if (!kind)
    return tokens.errorAt(mnemonic)
           << "unknown op '" << mnemonic.spelling << "'";
  tokens.take();

  bool kernel = isKernel(*kind);
  llvm::SmallVector<Value> operands;
  std::unique_ptr<Attributes> attrs = infoOf(*kind).makeAttrs();
  std::unique_ptr<Block> body;
  MOEC_TRY(parseOperands(scope, kernel, operands));
  MOEC_TRY(parseAttrsAndBody(*attrs, kernel, body, depth));

  llvm::SmallVector<ParsedType> parsed;
  if (tokens.takeIf(":")) {
    do {
      MOEC_ASSIGN(ParsedType type, parseType());
      parsed.push_back(std::move(type));
    } while (tokens.takeIf(","));
  }
  if (parsed.size() != names.size())
    return tokens.errorAt(mnemonic)
           << "'" << mnemonic.spelling << "' names " << names.size()
           << " results, but gives " << parsed.size() << " types";
  Location loc = tokens.locationOf(start);
  MOEC_TRY(parseLoc(loc));

  llvm::SmallVector<TensorType> types;
  for (const ParsedType &type : parsed)
    types.push_back(type.type);
  Operation *op = block.append(Operation::create(
      *kind, operands, types, std::move(attrs), std::move(loc)));
  if (body)
    op->setBody(std::move(body));
  for (auto [i, name] : llvm::enumerate(names)) {
    op->result(i).setState(parsed[i].state);
    MOEC_TRY(define(scope, name, op->result(i)));
  }
  return llvm::Error::success();
}
