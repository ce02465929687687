//===- Parser.cpp - modules and functions ---------------------------------===//
//
// Declarations of variables are in VariableParser.cpp, what stands in a body is
// in StatementParser.cpp.
//
//===----------------------------------------------------------------------===//

#include "tools/cudasim/ptx/ParserImpl.h"

#include "llvm/ADT/StringExtras.h"

using namespace cudasim::ptx;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

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
