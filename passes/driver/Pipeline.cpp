#include "passes/driver/Pipeline.h"

#include "ir/text/AttrText.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <algorithm>

using namespace moec;

PassContext::~PassContext() = default;
Pass::~Pass() = default;

std::unique_ptr<Pass> PassRegistry::create(llvm::StringRef name) const {
  for (const PassInfo &info : list)
    if (info.name == name) {
      std::unique_ptr<Pass> pass = info.create();
      pass->setName(name);
      return pass;
    }
  return nullptr;
}

namespace {
class PipelineParser {
public:
  PipelineParser(llvm::StringRef given, const PassRegistry &registry,
                 llvm::StringRef place)
      : text(given.str()), registry(registry), place(place) {
    // Positions are columns of one line.
    std::replace(text.begin(), text.end(), '\n', ' ');
  }

  llvm::Expected<Pipeline> parse();

private:
  llvm::Expected<std::unique_ptr<Pass>> parsePass();
  llvm::Error parseOptions(Pass &pass);
  void skipBlanks() {
    while (at < text.size() && text[at] == ' ')
      ++at;
  }
  ErrorBuilder fail(size_t position) const {
    return error(Location::atLine(place.str(), 1, position + 1))
        .withSource(text);
  }

  std::string text;
  const PassRegistry &registry;
  llvm::StringRef place;
  size_t at = 0;
};
} // namespace

llvm::Expected<Pipeline> PipelineParser::parse() {
  Pipeline pipeline;
  skipBlanks();
  while (at < text.size()) {
    MOEC_ASSIGN(std::unique_ptr<Pass> pass, parsePass());
    pipeline.push_back(std::move(pass));
    skipBlanks();
    if (at == text.size())
      break;
    if (text[at] != ',')
      return fail(at) << "expected ',' between passes, found '" << text[at]
                      << "'";
    ++at;
    skipBlanks();
    if (at == text.size())
      return fail(at) << "expected a pass behind ','";
  }
  return pipeline;
}

llvm::Expected<std::unique_ptr<Pass>> PipelineParser::parsePass() {
  size_t start = at;
  while (at < text.size() &&
         (llvm::isAlnum(text[at]) || text[at] == '-' || text[at] == '_'))
    ++at;
  llvm::StringRef name = llvm::StringRef(text).slice(start, at);
  if (name.empty())
    return fail(at) << "expected the name of a pass";
  std::unique_ptr<Pass> pass = registry.create(name);
  if (!pass)
    return fail(start) << "unknown pass '" << name << "'; there are "
                       << llvm::join(llvm::map_range(registry.passes(),
                                                     [](const PassInfo &info) {
                                                       return info.name.str();
                                                     }),
                                     ", ");
  skipBlanks();
  if (at < text.size() && text[at] == '{')
    MOEC_TRY(parseOptions(*pass));
  return pass;
}

llvm::Error PipelineParser::parseOptions(Pass &pass) {
  TokenStream tokens(text, place, at);
  NoAttrs none;
  Attributes *options = pass.optionFields();
  MOEC_TRY(parseAttributes(tokens, options ? *options : none));
  at = tokens.peek().column - 1;
  return llvm::Error::success();
}

llvm::Expected<Pipeline> moec::parsePipeline(llvm::StringRef text,
                                             const PassRegistry &registry,
                                             llvm::StringRef place) {
  return PipelineParser(text, registry, place).parse();
}

std::string moec::pipelineText(llvm::ArrayRef<std::unique_ptr<Pass>> pipeline) {
  std::string text;
  for (const auto &pass : pipeline) {
    text += (text.empty() ? "" : ",") + pass->name();
    if (Attributes *options = pass->optionFields())
      text += options->str();
  }
  return text;
}
