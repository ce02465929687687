#include "ir/text/ModuleParser.h"

#include "ir/text/FileAttrs.h"
#include "ir/text/Parser.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Base64.h"

using namespace moec;

llvm::Expected<std::unique_ptr<Module>>
moec::parseModule(llvm::StringRef text, llvm::StringRef file) {
  return ModuleParser(text, file).parse();
}

llvm::Expected<std::unique_ptr<Module>> ModuleParser::parse() {
  MOEC_TRY(tokens.expect("module"));
  MOEC_ASSIGN(Token name, parseSymbol("the name of the module"));
  module = std::make_unique<Module>(name.name());
  MOEC_TRY(tokens.expect("{"));
  while (!tokens.takeIf("}"))
    MOEC_TRY(parseDeclaration());
  if (!tokens.peek().is(TokenKind::end))
    return tokens.unexpected("the end of the text");
  return std::move(module);
}

llvm::Error ModuleParser::parseDeclaration() {
  if (tokens.takeIf("dim"))
    return parseDim();
  if (tokens.takeIf("ragged"))
    return parseRagged();
  if (tokens.takeIf("file"))
    return parseFile();
  if (tokens.takeIf("fact"))
    return parseFact();
  if (tokens.takeIf("asset"))
    return parseAsset();
  if (tokens.takeIf("state"))
    return parseState();
  if (tokens.takeIf("expr"))
    return parseSharedExpr();
  if (tokens.takeIf("weight"))
    return parseWeight();
  if (tokens.takeIf("program"))
    return parseProgram();
  return tokens.unexpected("a declaration (dim, ragged, file, fact, asset, "
                           "state, expr, weight or program) or '}'");
}

llvm::Error ModuleParser::redefined(const Token &name, llvm::StringRef what) {
  return tokens.errorAt(name)
         << what << " '" << name.name() << "' is declared twice";
}

llvm::Error ModuleParser::parseDim() {
  MOEC_ASSIGN(Token name,
              tokens.expect(TokenKind::identifier, "the name of a dimension"));
  MOEC_TRY(tokens.expect("<="));
  Token start = tokens.peek();
  MOEC_ASSIGN(int64_t maximum, tokens.expectInteger("a maximum"));
  if (maximum < 1 || maximum > (int64_t(1) << 40))
    return tokens.errorAt(start)
           << "maximum " << maximum << " is outside [1, 2^40]";
  if (!module->addDim(name.name(), maximum))
    return redefined(name, "dimension");
  return llvm::Error::success();
}

llvm::Expected<Polynomial> ModuleParser::parseBound() {
  constexpr unsigned kMostFactors = 8;
  Polynomial bound;
  do {
    Polynomial term(1);
    unsigned factors = 0;
    do {
      Token factor = tokens.peek();
      if (++factors > kMostFactors)
        return tokens.errorAt(factor)
               << "a product has more than " << kMostFactors << " factors";
      if (factor.is(TokenKind::integer) && factors == 1) {
        MOEC_ASSIGN(int64_t value, tokens.expectInteger("a factor"));
        if (value < 1 || value > (int64_t(1) << 40))
          return tokens.errorAt(factor)
                 << "factor " << value << " is outside [1, 2^40]";
        term = Polynomial(value);
        continue;
      }
      MOEC_TRY(tokens.expect(TokenKind::identifier, "a dimension").takeError());
      DimSymbol *symbol = module->findDim(factor.spelling);
      if (!symbol || symbol->isRagged())
        return tokens.errorAt(factor)
               << "unknown dimension '" << factor.spelling
               << "', expected one that a 'dim' declares";
      term = term * Polynomial::of(symbol);
    } while (tokens.takeIf("*"));
    bound += term;
    // Each term has a coefficient of at most 2^40, so that sums of a million
    // stay in 63 bits.
    if (bound.terms().size() > 64)
      return tokens.unexpected("at most 64 terms");
  } while (tokens.takeIf("+"));
  return bound;
}

llvm::Error ModuleParser::parseRagged() {
  MOEC_ASSIGN(Token name,
              tokens.expect(TokenKind::identifier, "the name of a dimension"));
  MOEC_TRY(tokens.expect("<="));
  MOEC_ASSIGN(Polynomial bound, parseBound());
  if (!module->addRagged(name.name(), std::move(bound)))
    return redefined(name, "dimension");
  return llvm::Error::success();
}

llvm::Error ModuleParser::parseFile() {
  MOEC_ASSIGN(Token name, parseSymbol("the name of a file"));
  MOEC_TRY(tokens.expect("="));
  MOEC_ASSIGN(Token path, tokens.expect(TokenKind::string, "a path"));
  FileAttrs attrs;
  if (tokens.peek().is("{"))
    MOEC_TRY(parseAttributes(tokens, attrs));
  if (attrs.bytes < 0)
    return tokens.errorAt(name) << "file '" << name.name() << "' has "
                                << attrs.bytes << " bytes, expected 0 or more";
  if (files.contains(name.name()))
    return redefined(name, "file");
  SourceFile *file = module->addFile(name.name(), path.name());
  file->bytes = attrs.bytes;
  file->sha256 = attrs.sha256;
  files[file->name] = file;
  return llvm::Error::success();
}

llvm::Error ModuleParser::parseFact() {
  MOEC_ASSIGN(Token key, tokens.expect(TokenKind::string, "a key"));
  MOEC_TRY(tokens.expect("="));
  MOEC_ASSIGN(Token value, tokens.expect(TokenKind::string, "a value"));
  if (!module->facts.try_emplace(key.name(), value.name()).second)
    return redefined(key, "fact");
  return llvm::Error::success();
}

llvm::Error ModuleParser::parseAsset() {
  MOEC_ASSIGN(Token name, parseSymbol("the name of an asset"));
  MOEC_TRY(tokens.expect("="));
  MOEC_TRY(tokens.expect("base64"));
  MOEC_ASSIGN(Token text, tokens.expect(TokenKind::string, "base64 text"));
  std::vector<char> bytes;
  if (llvm::Error err = llvm::decodeBase64(text.name(), bytes))
    return tokens.errorAt(text)
           << "asset '" << name.name()
           << "' is no base64 text: " << llvm::toString(std::move(err));
  std::string value(bytes.begin(), bytes.end());
  if (!module->assets.try_emplace(name.name(), std::move(value)).second)
    return redefined(name, "asset");
  return llvm::Error::success();
}

llvm::Error ModuleParser::parseState() {
  MOEC_ASSIGN(Token name, parseSymbol("the name of a state"));
  MOEC_TRY(tokens.expect(":"));
  llvm::ArrayRef<llvm::StringRef> kinds = enumNames(StateKind());
  auto kind = llvm::find(kinds, tokens.peek().spelling);
  if (kind == kinds.end())
    return tokens.unexpected("the kind of a state (" + llvm::join(kinds, ", ") +
                             ")");
  tokens.take();
  MOEC_ASSIGN(TensorType type, parseTensorType());
  if (states.contains(name.name()))
    return redefined(name, "state");
  State *state = module->addState(name.name(), StateKind(kind - kinds.begin()),
                                  std::move(type));
  states[state->name] = state;
  return llvm::Error::success();
}

llvm::Expected<Dim> ModuleParser::parseDimension() {
  Token start = tokens.peek();
  if (start.is(TokenKind::integer)) {
    MOEC_ASSIGN(int64_t extent, tokens.expectInteger("a dimension"));
    if (extent < 0)
      return tokens.errorAt(start) << "dimension " << extent << " is negative";
    return Dim(extent);
  }
  MOEC_TRY(tokens.expect(TokenKind::identifier, "a dimension").takeError());
  DimSymbol *symbol = module->findDim(start.spelling);
  if (!symbol)
    return tokens.errorAt(start)
           << "unknown dimension '" << start.spelling << "'";
  if (!tokens.takeIf("+"))
    return Dim(symbol);
  Token number = tokens.peek();
  MOEC_ASSIGN(int64_t addend, tokens.expectInteger("a number"));
  if (addend < 1)
    return tokens.errorAt(number)
           << "expected 1 or more behind '+', found " << addend;
  return Dim(symbol, addend);
}

llvm::Expected<TensorType> ModuleParser::parseTensorType() {
  Token start = tokens.peek();
  if (!tokens.takeIf("tensor"))
    return tokens.unexpected("a tensor type");
  MOEC_TRY(tokens.expect("<"));
  MOEC_TRY(tokens.expect("["));
  llvm::SmallVector<Dim> dims;
  if (!tokens.takeIf("]")) {
    do {
      MOEC_ASSIGN(Dim dim, parseDimension());
      dims.push_back(dim);
      if (dims.size() > kMaxRank)
        return tokens.errorAt(start)
               << "a tensor has more than " << kMaxRank << " dimensions";
    } while (tokens.takeIf(","));
    MOEC_TRY(tokens.expect("]"));
  }
  MOEC_TRY(tokens.expect(","));
  auto element = parseElementType(tokens.peek().spelling);
  if (!element)
    return tokens.unexpected("an element type");
  tokens.take();
  MOEC_TRY(tokens.expect(">"));
  TensorType type(dims, *element);
  if (std::string problem = type.sizeProblem(); !problem.empty())
    return tokens.errorAt(start) << "bad type " << type << ": " << problem;
  return type;
}

llvm::Expected<ModuleParser::ParsedType> ModuleParser::parseType() {
  ParsedType parsed;
  parsed.start = tokens.peek();
  if (!tokens.takeIf("state")) {
    if (!parsed.start.is("tensor"))
      return tokens.unexpected("a type (tensor<...> or state @...)");
    MOEC_ASSIGN(parsed.type, parseTensorType());
    return parsed;
  }
  MOEC_ASSIGN(Token name, parseSymbol("the name of a state"));
  parsed.state = states.lookup(name.name());
  if (!parsed.state)
    return tokens.errorAt(name) << "unknown state '" << name.name() << "'";
  parsed.type = parsed.state->type;
  return parsed;
}

/// `loc("object")`, `loc("file":line:column)`, or both.
llvm::Error ModuleParser::parseLoc(Location &loc) {
  if (!tokens.takeIf("loc"))
    return llvm::Error::success();
  auto number = [&](llvm::StringRef what, int64_t most,
                    auto &value) -> llvm::Error {
    Token start = tokens.peek();
    MOEC_ASSIGN(int64_t parsed, tokens.expectInteger(what));
    if (parsed < 0 || parsed > most)
      return tokens.errorAt(start)
             << what.drop_front(2) << " " << parsed << " is out of range";
    value = parsed;
    return llvm::Error::success();
  };
  MOEC_TRY(tokens.expect("("));
  MOEC_ASSIGN(Token first, tokens.expect(TokenKind::string, "a place"));
  if (!tokens.takeIf(":")) {
    loc.object = first.name();
    return tokens.expect(")");
  }
  loc = Location::inFile(first.name());
  MOEC_TRY(number("a line", UINT32_MAX, loc.line));
  if (tokens.takeIf(":"))
    MOEC_TRY(number("a column", UINT32_MAX, loc.column));
  if (tokens.takeIf("at"))
    MOEC_TRY(number("a byte offset", INT64_MAX, loc.byteOffset));
  if (tokens.takeIf(",")) {
    MOEC_ASSIGN(Token object, tokens.expect(TokenKind::string, "a place"));
    loc.object = object.name();
  }
  return tokens.expect(")");
}

llvm::Expected<ExprRef> ModuleParser::parseExprOperand() {
  Token token = tokens.take();
  if (token.is(TokenKind::shared)) {
    auto at = sharedExprs.find(token.spelling);
    if (at == sharedExprs.end())
      return tokens.errorAt(token)
             << "unknown expression '" << token.spelling << "'";
    return at->second;
  }
  Weight *weight = module->findWeight(token.name());
  if (!weight)
    return tokens.errorAt(token) << "unknown weight '" << token.name()
                                 << "', expected one that is declared before";
  return Expr::make(ExprKind::Ref, {}, nullptr, weight, nullptr,
                    tokens.locationOf(token));
}

llvm::Expected<ExprRef> ModuleParser::parseExpr(unsigned depth) {
  if (depth > kMaxExprDepth)
    return tokens.errorAt(tokens.peek())
           << "expressions nest deeper than " << kMaxExprDepth;
  if (tokens.peek().is(TokenKind::shared) ||
      tokens.peek().is(TokenKind::symbol))
    return parseExprOperand();
  Token name = tokens.peek();
  MOEC_TRY(tokens.expect(TokenKind::identifier, "an expression").takeError());
  auto kind = parseExprKind(name.spelling);
  if (!kind || *kind == ExprKind::Ref)
    return tokens.errorAt(name)
           << "unknown expression '" << name.spelling << "'";
  MOEC_TRY(tokens.expect("("));
  std::unique_ptr<Attributes> attrs = makeExprAttrs(*kind);
  std::vector<ExprRef> args;
  SourceFile *file = nullptr;
  if (*kind == ExprKind::Source) {
    MOEC_ASSIGN(Token fileName, parseSymbol("a file"));
    file = files.lookup(fileName.name());
    if (!file)
      return tokens.errorAt(fileName)
             << "unknown file '" << fileName.name() << "'";
    if (!tokens.peek().is(")"))
      MOEC_TRY(tokens.expect(","));
  }
  while (!tokens.peek().is(")")) {
    if (tokens.peek().is("{")) {
      MOEC_TRY(parseAttributes(tokens, *attrs));
      break;
    }
    MOEC_ASSIGN(ExprRef arg, parseExpr(depth + 1));
    args.push_back(std::move(arg));
    if (!tokens.peek().is(")"))
      MOEC_TRY(tokens.expect(","));
  }
  MOEC_TRY(tokens.expect(")"));
  auto expr = Expr::make(*kind, std::move(args), std::move(attrs), nullptr,
                         file, tokens.locationOf(name));
  if (!expr)
    return tokens.withSource(expr.takeError());
  return expr;
}

llvm::Error ModuleParser::parseSharedExpr() {
  MOEC_ASSIGN(Token name, tokens.expect(TokenKind::shared, "a number '#...'"));
  MOEC_TRY(tokens.expect("="));
  MOEC_ASSIGN(ExprRef expr, parseExpr(1));
  if (!sharedExprs.try_emplace(name.spelling, std::move(expr)).second)
    return redefined(name, "expression");
  return llvm::Error::success();
}

llvm::Error ModuleParser::parseWeight() {
  MOEC_ASSIGN(Token name, parseSymbol("the name of a weight"));
  MOEC_TRY(tokens.expect(":"));
  Token typeStart = tokens.peek();
  MOEC_ASSIGN(TensorType type, parseTensorType());
  MOEC_TRY(tokens.expect("="));
  MOEC_ASSIGN(ExprRef expr, parseExpr(1));
  if (expr->type != type)
    return tokens.errorAt(typeStart)
           << "weight '" << name.name() << "' is declared as " << type
           << ", but its expression makes " << expr->type;
  Location loc = tokens.locationOf(name);
  MOEC_TRY(parseLoc(loc));
  if (!module->addWeight(name.name(), std::move(expr), std::move(loc)))
    return redefined(name, "weight");
  return llvm::Error::success();
}
