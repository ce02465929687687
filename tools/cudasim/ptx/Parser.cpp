//===- Parser.cpp - modules, functions and instructions -------------------===//
//
// Declarations of variables are in VariableParser.cpp.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/ptx/ParserImpl.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace cudasim::ptx;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

Type cudasim::ptx::parseType(StringRef word) {
  return llvm::StringSwitch<Type>(word)
      .Case("pred", Type::Pred)
      .Case("b8", Type::B8)
      .Case("b16", Type::B16)
      .Case("b32", Type::B32)
      .Case("b64", Type::B64)
      .Case("b128", Type::B128)
      .Case("u8", Type::U8)
      .Case("u16", Type::U16)
      .Case("u32", Type::U32)
      .Case("u64", Type::U64)
      .Case("s8", Type::S8)
      .Case("s16", Type::S16)
      .Case("s32", Type::S32)
      .Case("s64", Type::S64)
      .Case("f16", Type::F16)
      .Case("f16x2", Type::F16x2)
      .Case("bf16", Type::BF16)
      .Case("bf16x2", Type::BF16x2)
      .Case("f32", Type::F32)
      .Case("f64", Type::F64)
      .Default(Type::None);
}

StringRef cudasim::ptx::nameOf(Type type) {
  static constexpr const char *names[] = {
      "none", "pred", "b8",    "b16",  "b32",    "b64", "b128",
      "u8",   "u16",  "u32",   "u64",  "s8",     "s16", "s32",
      "s64",  "f16",  "f16x2", "bf16", "bf16x2", "f32", "f64"};
  return names[size_t(type)];
}

unsigned cudasim::ptx::bitsOf(Type type) {
  switch (type) {
  case Type::None:
    return 0;
  case Type::Pred:
    return 1;
  case Type::B8:
  case Type::U8:
  case Type::S8:
    return 8;
  case Type::B16:
  case Type::U16:
  case Type::S16:
  case Type::F16:
  case Type::BF16:
    return 16;
  case Type::B32:
  case Type::U32:
  case Type::S32:
  case Type::F16x2:
  case Type::BF16x2:
  case Type::F32:
    return 32;
  case Type::B64:
  case Type::U64:
  case Type::S64:
  case Type::F64:
    return 64;
  case Type::B128:
    return 128;
  }
  return 0;
}

std::string Parser::describe(const Token &token) {
  if (token.kind == TokenKind::End)
    return "the end of the module";
  std::string text = token.kind == TokenKind::DotWord ? "." : "";
  return "'" + text + token.text.take_front(60).str() + "'";
}

Error Parser::expected(StringRef what) const {
  return module.source.error(now())
         << "expected " << what << ", found " << describe(now());
}

Error Parser::expectPunct(char punct) {
  if (!now().is(punct))
    return expected(std::string("'") + punct + "'");
  ++at;
  return Error::success();
}

bool Parser::acceptPunct(char punct) {
  if (!now().is(punct))
    return false;
  ++at;
  return true;
}

bool Parser::acceptDot(StringRef word) {
  if (!now().isDot(word))
    return false;
  ++at;
  return true;
}

Expected<uint32_t> Parser::expectCount(StringRef what, uint32_t atMost) {
  if (now().kind != TokenKind::Integer)
    return expected(what);
  if (now().value > atMost)
    return module.source.error(now()) << what << " is " << now().value
                                      << ", at most " << atMost << " is taken";
  return uint32_t(next().value);
}

//===--- module ---------------------------------------------------------===//

Error Parser::parseModule() {
  MOEC_TRY(parseHeader());
  while (now().kind != TokenKind::End)
    MOEC_TRY(parseTopLevel());
  return Error::success();
}

Error Parser::parseHeader() {
  if (!acceptDot("version"))
    return expected("'.version' as the first directive");
  // `9.0` is lexed as a decimal.
  StringRef version = now().text;
  if (now().kind != TokenKind::Float64 && now().kind != TokenKind::Integer)
    return expected("a version such as '9.0'");
  auto [major, minor] = version.split('.');
  if (major.getAsInteger(10, module.versionMajor) ||
      (!minor.empty() && minor.getAsInteger(10, module.versionMinor)))
    return expected("a version such as '9.0'");
  ++at;
  if (!acceptDot("target"))
    return expected("'.target' after the version");
  if (now().kind != TokenKind::Word || !now().text.starts_with("sm_"))
    return expected("a target such as 'sm_80'");
  module.target = now().text.str();
  StringRef digits = now().text.drop_front(3).take_while(llvm::isDigit);
  if (digits.getAsInteger(10, module.targetNumber))
    return expected("a target such as 'sm_80'");
  ++at;
  while (acceptPunct(',')) {
    if (now().kind != TokenKind::Word)
      return expected("a target option");
    if (!now().isWord("debug") && !now().isWord("texmode_independent") &&
        !now().isWord("texmode_unified"))
      return module.source.error(now())
             << "target option '" << now().text << "' is not supported";
    ++at;
  }
  if (acceptDot("address_size")) {
    if (now().kind != TokenKind::Integer || now().value != 64)
      return expected("the address size 64");
    ++at;
  }
  return Error::success();
}

/// `.section .debug_info { ... }`: what debuggers read.
Error Parser::skipSection() {
  const Token open = now();
  ++at;
  while (now().kind == TokenKind::DotWord || now().kind == TokenKind::Word)
    ++at;
  MOEC_TRY(expectPunct('{'));
  for (unsigned depth = 1; depth > 0; ++at) {
    if (now().kind == TokenKind::End)
      return module.source.error(open) << "expected '}' to end this section";
    depth += now().is('{');
    depth -= now().is('}');
  }
  return Error::success();
}

Error Parser::parseFile() {
  ++at;
  MOEC_ASSIGN(uint32_t index, expectCount("a file number", 1 << 20));
  if (now().kind != TokenKind::String)
    return expected("the file's name in quotes");
  if (module.files.size() <= index)
    module.files.resize(index + 1);
  module.files[index] = next().text.str();
  while (acceptPunct(',')) // time stamp and size
    if (next().kind != TokenKind::Integer)
      return expected("an integer");
  return Error::success();
}

Error Parser::parseTopLevel() {
  if (now().isDot("file"))
    return parseFile();
  if (now().isDot("section"))
    return skipSection();
  if (now().isDot("pragma")) {
    ++at;
    if (now().kind != TokenKind::String)
      return expected("a pragma in quotes");
    ++at;
    return expectPunct(';');
  }
  if (acceptPunct(';'))
    return Error::success();
  bool isExtern = false;
  while (now().kind == TokenKind::DotWord) {
    if (now().isDot("extern"))
      isExtern = true;
    else if (!now().isDot("visible") && !now().isDot("weak") &&
             !now().isDot("common"))
      break;
    ++at;
  }
  if (now().isDot("entry") || now().isDot("func"))
    return parseFunction(isExtern);
  if (now().isDot("global") || now().isDot("const") || now().isDot("shared"))
    return parseModuleVariable(isExtern);
  return expected("'.entry', '.func' or a variable");
}

//===--- functions ------------------------------------------------------===//

Error Parser::parseParameters(Function &into, bool isEntry, uint32_t &count) {
  MOEC_TRY(expectPunct('('));
  if (acceptPunct(')'))
    return Error::success();
  do {
    if (now().isDot("reg"))
      return module.source.error(now())
             << "parameters in registers are not supported";
    if (!acceptDot("param"))
      return expected("'.param'");
    Variable variable;
    variable.space = Space::Param;
    MOEC_TRY(parseDeclarator(variable, /*isParameter=*/true));
    into.variables.push_back(std::move(variable));
    ++count;
  } while (acceptPunct(','));
  return expectPunct(')');
}

Error Parser::parseDim(uint32_t (&dim)[3]) {
  dim[0] = dim[1] = dim[2] = 1;
  for (unsigned i = 0; i < 3; ++i) {
    MOEC_ASSIGN(dim[i], expectCount("a number of threads", 1 << 16));
    if (dim[i] == 0)
      return module.source.error(tokens[at - 1])
             << "expected at least 1 thread, found 0";
    if (i == 2 || !acceptPunct(','))
      break;
  }
  return Error::success();
}

Error Parser::parseDirectives(Function &into) {
  while (now().kind == TokenKind::DotWord) {
    const Token word = next();
    if (word.text == "maxntid") {
      MOEC_TRY(parseDim(into.maxThreads));
    } else if (word.text == "reqntid") {
      MOEC_TRY(parseDim(into.requiredThreads));
    } else if (word.text == "minnctapersm") {
      MOEC_ASSIGN(into.minBlocks, expectCount("a number of blocks", 1 << 16));
    } else if (word.text == "maxnreg" || word.text == "maxnctapersm" ||
               word.text == "maxclusterrank") {
      MOEC_ASSIGN(uint32_t ignored, expectCount("a limit", ~0u >> 1));
      (void)ignored; // limits that only ptxas acts on
    } else if (word.text == "noreturn") {
      continue;
    } else if (word.text == "pragma") {
      if (next().kind != TokenKind::String)
        return expected("a pragma in quotes");
      MOEC_TRY(expectPunct(';'));
    } else {
      return module.source.error(word)
             << "function directive '." << word.text << "' is not supported";
    }
  }
  return Error::success();
}

Error Parser::parseFunction(bool isExtern) {
  Function parsed;
  parsed.isEntry = next().isDot("entry");
  uint32_t returns = 0;
  std::vector<Variable> returnVariables;
  if (!parsed.isEntry && now().is('(')) {
    Function holder;
    MOEC_TRY(parseParameters(holder, false, returns));
    returnVariables = std::move(holder.variables);
  }
  if (now().kind != TokenKind::Word)
    return expected("a function's name");
  const Token name = next();
  parsed.name = name.text.str();
  parsed.line = name.line;
  parsed.offset = name.offset;
  if (now().is('('))
    MOEC_TRY(parseParameters(parsed, parsed.isEntry, parsed.parameterCount));
  parsed.returnCount = returns;
  for (Variable &variable : returnVariables)
    parsed.variables.push_back(std::move(variable));
  MOEC_TRY(parseDirectives(parsed));

  parsed.isDeclaration = !now().is('{');
  auto known = module.functionByName.find(parsed.name);
  uint32_t index;
  if (known != module.functionByName.end()) {
    index = known->second;
    const Function &before = module.functions[index];
    if (!before.isDeclaration && !parsed.isDeclaration)
      return module.source.error(name)
             << "function '" << parsed.name << "' is defined twice";
    if (!sameSignature(before, parsed))
      return module.source.error(name)
             << "function '" << parsed.name
             << "' is declared with other parameters before";
    if (parsed.isDeclaration) {
      acceptPunct(';');
      return Error::success();
    }
  } else {
    if (module.variableByName.count(parsed.name))
      return module.source.error(name)
             << "'" << parsed.name << "' is declared twice";
    index = uint32_t(module.functions.size());
    module.functionByName[parsed.name] = index;
    module.functions.emplace_back();
  }
  if (parsed.isDeclaration) {
    module.functions[index] = std::move(parsed);
    acceptPunct(';');
    return Error::success();
  }
  return parseBody(std::move(parsed), index);
}

bool Parser::sameSignature(const Function &a, const Function &b) {
  if (a.isEntry != b.isEntry || a.parameterCount != b.parameterCount ||
      a.returnCount != b.returnCount)
    return false;
  for (uint32_t i = 0; i < a.parameterCount + a.returnCount; ++i)
    if (a.variables[i].bytes != b.variables[i].bytes)
      return false;
  return true;
}

Error Parser::parseBody(Function parsed, uint32_t index) {
  const Token open = now();
  MOEC_TRY(expectPunct('{'));
  // Calls of the function within itself need its signature.
  Function declared;
  declared.name = parsed.name;
  declared.variables = parsed.variables;
  declared.isEntry = parsed.isEntry;
  declared.parameterCount = parsed.parameterCount;
  declared.returnCount = parsed.returnCount;
  declared.isDeclaration = true;
  module.functions[index] = std::move(declared);

  current = &parsed;
  ScopeStack names(parsed);
  scopes = &names;
  location = {};
  for (uint32_t i = 0; i < parsed.variables.size(); ++i)
    if (!parsed.variables[i].name.empty() &&
        !names.declareVariable(parsed.variables[i].name, i))
      return module.source.error(parsed.variables[i].line,
                                 parsed.variables[i].offset)
             << "parameter '" << parsed.variables[i].name
             << "' is declared twice";
  while (names.depth() > 0) {
    if (now().kind == TokenKind::End)
      return module.source.error(open)
             << "expected '}' to end function '" << parsed.name << "'";
    MOEC_TRY(parseStatement());
  }
  if (!names.unresolved().empty()) {
    const ScopeStack::LabelUse &use = names.unresolved().front();
    return module.source.error(use.line, use.offset)
           << "expected a name that is declared, found '"
           << use.name.take_front(60) << "'";
  }
  current = nullptr;
  scopes = nullptr;
  module.functions[index] = std::move(parsed);
  return Error::success();
}

//===--- statements -----------------------------------------------------===//

Error Parser::parseLoc() {
  ++at;
  MOEC_ASSIGN(location.file, expectCount("a file number", 1 << 20));
  MOEC_ASSIGN(location.line, expectCount("a line number", ~0u >> 1));
  MOEC_ASSIGN(uint32_t column, expectCount("a column number", ~0u >> 1));
  (void)column; // messages name the line
  // `, function_name $L__info_string0, inlined_at 1 20 3`: the inlined body is
  // the place that helps; where it was inlined is not kept.
  while (acceptPunct(',')) {
    bool named = now().isWord("function_name");
    if (!named && !now().isWord("inlined_at"))
      return expected("'function_name' or 'inlined_at'");
    ++at;
    if (named) {
      if (next().kind != TokenKind::Word)
        return expected("a label");
      if (acceptPunct('+'))
        MOEC_TRY(expectCount("an offset", ~0u >> 1).takeError());
    } else {
      for (int i = 0; i < 3; ++i)
        MOEC_TRY(expectCount("an integer", ~0u >> 1).takeError());
    }
  }
  return Error::success();
}

Error Parser::parseStatement() {
  const Token &first = now();
  if (first.is('{')) {
    if (scopes->depth() >= ScopeStack::kMaxDepth)
      return module.source.error(first) << "scopes are nested more than "
                                        << ScopeStack::kMaxDepth << " deep";
    ++at;
    scopes->push();
    return Error::success();
  }
  if (first.is('}')) {
    ++at;
    scopes->pop();
    return Error::success();
  }
  if (acceptPunct(';'))
    return Error::success();
  if (first.kind == TokenKind::DotWord)
    return parseBodyDirective();
  if (first.kind == TokenKind::Word && tokens[at + 1].is(':')) {
    if (!scopes->defineLabel(first.text, uint32_t(current->body.size())))
      return module.source.error(first)
             << "label '" << first.text << "' is defined twice";
    at += 2;
    return Error::success();
  }
  return parseInstruction();
}

Error Parser::parseBodyDirective() {
  const Token word = now();
  if (word.text == "loc")
    return parseLoc();
  if (word.text == "reg")
    return parseRegisters();
  if (word.text == "shared" || word.text == "local" || word.text == "param")
    return parseBodyVariable();
  if (word.text == "pragma") {
    at += 2;
    return expectPunct(';');
  }
  if (word.text == "branchtargets" || word.text == "callprototype" ||
      word.text == "calltargets")
    return module.source.error(word)
           << "'." << word.text << "' needs a label in front of it";
  return module.source.error(word)
         << "directive '." << word.text << "' is not supported in a function";
}

Error Parser::parseRegisters() {
  ++at;
  if (now().isDot("v2") || now().isDot("v4"))
    return module.source.error(now()) << "vector registers are not supported";
  Type type =
      now().kind == TokenKind::DotWord ? parseType(now().text) : Type::None;
  if (type == Type::None || bitsOf(type) == 8)
    return expected("a register type");
  ++at;
  do {
    const Token name = now();
    if (name.kind != TokenKind::Word)
      return expected("a register's name");
    ++at;
    bool fresh;
    if (acceptPunct('<')) {
      MOEC_ASSIGN(uint32_t count,
                  expectCount("a number of registers", 1 << 24));
      MOEC_TRY(expectPunct('>'));
      fresh = scopes->declareRange(name.text, count, type);
    } else {
      fresh = scopes->declareRegister(name.text, type);
    }
    if (!fresh)
      return module.source.error(name)
             << "register '" << name.text << "' is declared twice";
  } while (acceptPunct(','));
  return expectPunct(';');
}

Error Parser::parseInstruction() {
  Instruction instruction;
  instruction.loc = location;
  const Token first = now();
  instruction.line = first.line;
  instruction.offset = first.offset;
  if (acceptPunct('@')) {
    instruction.guardNegated = acceptPunct('!');
    if (now().kind != TokenKind::Word)
      return expected("a predicate register");
    uint32_t guard = scopes->findRegister(now().text);
    if (guard == kNone || current->registers[guard].type != Type::Pred)
      return expected("a predicate register");
    instruction.guard = guard;
    ++at;
  }
  if (now().kind != TokenKind::Word)
    return expected("an instruction");
  // The mnemonic and its modifiers.
  instruction.op.push_back(next().text);
  while (now().kind == TokenKind::DotWord)
    instruction.op.push_back(next().text);

  current->body.push_back(std::move(instruction));
  uint32_t index = uint32_t(current->body.size() - 1);
  if (current->body[index].op[0] == "call") {
    MOEC_TRY(parseCallOperands(index));
  } else if (!now().is(';')) {
    MOEC_TRY(parseOperands(index));
  }
  const Token last = now();
  MOEC_TRY(expectPunct(';'));
  StringRef all(module.source.text);
  current->body[index].text =
      all.slice(first.offset, last.offset).take_front(400);
  return Error::success();
}

Error Parser::parseOperands(uint32_t index) {
  do {
    MOEC_ASSIGN(Operand operand, parseOperand(index, /*depth=*/0));
    current->body[index].operands.push_back(std::move(operand));
  } while (acceptPunct(','));
  return Error::success();
}

/// `call (retval0), name, (param0, param1);` with results and parameters
/// optional.
Error Parser::parseCallOperands(uint32_t index) {
  auto parseList = [&]() -> Error {
    MOEC_TRY(expectPunct('('));
    if (acceptPunct(')'))
      return Error::success();
    do {
      MOEC_ASSIGN(Operand operand, parseOperand(index, 0));
      if (operand.kind != OperandKind::Symbol || operand.moduleScope ||
          operand.bits != 0 ||
          current->variables[operand.index].space != Space::Param)
        return module.source.error(now().line, operand.offset)
               << "expected a .param variable in a call";
      current->body[index].operands.push_back(std::move(operand));
    } while (acceptPunct(','));
    return expectPunct(')');
  };
  if (now().is('(')) {
    MOEC_TRY(parseList());
    current->body[index].callResults =
        uint32_t(current->body[index].operands.size());
    MOEC_TRY(expectPunct(','));
  }
  const Token name = now();
  if (name.kind != TokenKind::Word)
    return expected("the name of a function");
  auto found = module.functionByName.find(name.text);
  if (found == module.functionByName.end()) {
    if (scopes->findRegister(name.text) != kNone)
      return module.source.error(name)
             << "calls through a register are not supported";
    return expected("the name of a function");
  }
  ++at;
  Operand callee;
  callee.kind = OperandKind::Function;
  callee.index = found->second;
  callee.offset = name.offset;
  callee.text = name.text;
  current->body[index].operands.push_back(callee);
  if (acceptPunct(','))
    MOEC_TRY(parseList());

  const Function &target = module.functions[found->second];
  const Instruction &call = current->body[index];
  size_t arguments = call.operands.size() - 1 - call.callResults;
  if (target.isEntry)
    return module.source.error(name) << "a kernel cannot be called";
  if (arguments != target.parameterCount ||
      call.callResults != target.returnCount)
    return module.source.error(name)
           << "'" << name.text << "' takes " << target.parameterCount
           << " parameters and returns " << target.returnCount << ", found "
           << arguments << " and " << call.callResults;
  return Error::success();
}

Expected<Operand> Parser::parseNumber() {
  Operand operand;
  operand.offset = now().offset;
  bool negative = false, complement = false;
  if (acceptPunct('-'))
    negative = true;
  else if (acceptPunct('~'))
    complement = true;
  else
    acceptPunct('+');
  const Token &token = now();
  switch (token.kind) {
  case TokenKind::Integer:
    operand.kind = OperandKind::Integer;
    operand.isUnsigned = token.isUnsigned;
    operand.bits = negative     ? 0 - token.value
                   : complement ? ~token.value
                                : token.value;
    break;
  case TokenKind::Float32:
    operand.kind = OperandKind::Float32;
    operand.bits = token.value ^ (negative ? 0x80000000ull : 0);
    break;
  case TokenKind::Float64:
    operand.kind = OperandKind::Float64;
    operand.bits = token.value ^ (negative ? uint64_t(1) << 63 : 0);
    break;
  default:
    return expected("a number");
  }
  ++at;
  return operand;
}

Expected<Operand> Parser::parseName(uint32_t instruction) {
  const Token name = now();
  Operand operand;
  operand.offset = name.offset;
  operand.text = name.text;
  ++at;
  if (name.text == "_") {
    operand.kind = OperandKind::Sink;
    return operand;
  }
  if (uint32_t found = scopes->findRegister(name.text); found != kNone) {
    operand.kind = OperandKind::Register;
    operand.index = found;
    return operand;
  }
  if (uint32_t found = scopes->findVariable(name.text); found != kNone) {
    operand.kind = OperandKind::Symbol;
    operand.index = found;
    return operand;
  }
  if (auto found = module.variableByName.find(name.text);
      found != module.variableByName.end()) {
    operand.kind = OperandKind::Symbol;
    operand.moduleScope = true;
    operand.index = found->second;
    return operand;
  }
  if (name.text.starts_with("%")) {
    operand.kind = OperandKind::Special;
    StringRef all(module.source.text);
    if (now().kind == TokenKind::DotWord &&
        now().offset == name.offset + name.text.size()) {
      operand.text =
          all.substr(name.offset, name.text.size() + 1 + now().text.size());
      ++at;
    }
    return operand;
  }
  if (module.functionByName.count(name.text))
    return module.source.error(name)
           << "the address of a function is not supported";
  if (name.text == "WARP_SZ") {
    operand.kind = OperandKind::Integer;
    operand.bits = 32;
    return operand;
  }
  // A label, which may come later.
  operand.kind = OperandKind::Flag;
  scopes->useLabel({name.text, instruction,
                    uint32_t(current->body[instruction].operands.size()),
                    name.line, name.offset});
  return operand;
}

Expected<Operand> Parser::parseAddress(uint32_t instruction) {
  const Token open = next();
  Operand address;
  address.kind = OperandKind::Address;
  address.offset = open.offset;
  if (now().kind == TokenKind::Word) {
    const Token name = now();
    MOEC_ASSIGN(Operand base, parseName(instruction));
    if (base.kind != OperandKind::Register && base.kind != OperandKind::Symbol)
      return module.source.error(name)
             << "expected a register or a variable that is declared, found "
             << describe(name);
    address.base = base.kind;
    address.index = base.index;
    address.moduleScope = base.moduleScope;
    if (now().is('+') || now().is('-')) {
      bool minus = next().is('-');
      MOEC_ASSIGN(Operand offset, parseNumber());
      if (offset.kind != OperandKind::Integer)
        return expected("an integer offset");
      address.bits = minus ? 0 - offset.bits : offset.bits;
    }
  } else {
    MOEC_ASSIGN(Operand number, parseNumber());
    if (number.kind != OperandKind::Integer)
      return expected("an address");
    address.bits = number.bits;
  }
  MOEC_TRY(expectPunct(']'));
  return address;
}

Expected<Operand> Parser::parseOperand(uint32_t instruction, unsigned depth) {
  const Token first = now();
  Operand operand;
  if (first.is('[')) {
    // Tensor maps, [map, {x, y}], come with instructions that the table of
    // forms refuses; here they are an address of several parts.
    return parseAddress(instruction);
  }
  if (first.is('{')) {
    if (depth > 0)
      return expected("a register or a number");
    ++at;
    operand.kind = OperandKind::Vector;
    operand.offset = first.offset;
    do {
      MOEC_ASSIGN(Operand element, parseOperand(instruction, depth + 1));
      operand.elements.push_back(std::move(element));
      if (operand.elements.size() > 256)
        return module.source.error(first) << "vector of more than 256 elements";
    } while (acceptPunct(','));
    MOEC_TRY(expectPunct('}'));
    return operand;
  }
  if (acceptPunct('!')) {
    if (now().kind != TokenKind::Word)
      return expected("a predicate register");
    MOEC_ASSIGN(operand, parseName(instruction));
    if (operand.kind != OperandKind::Register)
      return module.source.error(first) << "expected a register after '!'";
    operand.negated = true;
    return operand;
  }
  if (first.kind != TokenKind::Word)
    return parseNumber();
  MOEC_ASSIGN(operand, parseName(instruction));
  if (now().is('|') && depth == 0) {
    ++at;
    if (now().kind != TokenKind::Word)
      return expected("a register");
    Operand pair;
    pair.kind = OperandKind::Pair;
    pair.offset = first.offset;
    pair.elements.push_back(std::move(operand));
    MOEC_ASSIGN(Operand second, parseName(instruction));
    pair.elements.push_back(std::move(second));
    return pair;
  }
  if ((now().is('+') || now().is('-')) && operand.kind == OperandKind::Symbol) {
    bool minus = next().is('-');
    MOEC_ASSIGN(Operand offset, parseNumber());
    if (offset.kind != OperandKind::Integer)
      return expected("an integer offset");
    operand.bits = minus ? 0 - offset.bits : offset.bits;
  }
  return operand;
}

Expected<std::unique_ptr<Module>> cudasim::ptx::parse(StringRef text,
                                                      StringRef name) {
  auto module = std::make_unique<Module>();
  module->source.name = name.str();
  module->source.text = text.str();
  MOEC_ASSIGN(std::vector<Token> tokens, lex(module->source));
  Parser parser(*module, std::move(tokens));
  MOEC_TRY(parser.parseModule());
  return std::move(module);
}
