#include "tools/driver/ExprText.h"

#include "ir/support/Hash.h"
#include "ir/weights/Materialize.h"

using namespace moec;

static void append(const Expr &expr, size_t maxLength, std::string &text) {
  if (text.size() > maxLength)
    return;
  if (expr.kind == ExprKind::Ref) {
    text += "@" + expr.weight->name;
    return;
  }
  text += exprName(expr.kind).str() + "(";
  bool first = true;
  auto comma = [&] { text += std::exchange(first, false) ? "" : ", "; };
  if (expr.file) {
    comma();
    text += "@" + expr.file->name;
  }
  for (const ExprRef &arg : expr.args) {
    comma();
    append(*arg, maxLength, text);
    if (text.size() > maxLength)
      return;
  }
  std::string attrs = expr.attributes ? expr.attributes->str() : "";
  if (!attrs.empty()) {
    comma();
    text += attrs;
  }
  text += ")";
}

std::string moec::exprText(const Expr &expr, size_t maxLength) {
  std::string text;
  append(expr, maxLength, text);
  if (text.size() > maxLength) {
    text.resize(maxLength);
    text += " ...";
  }
  return text;
}

const std::string &ExprDigests::of(const Expr &expr) {
  const Expr &at = followRefs ? resolve(expr) : expr;
  if (auto found = known.find(&at); found != known.end())
    return *found->second;
  Sha256 hash;
  hash.updateSized(exprName(at.kind));
  hash.updateSized(at.attributes ? at.attributes->str() : "");
  hash.updateSized(at.file ? at.file->name : at.weight ? at.weight->name : "");
  for (const ExprRef &arg : at.args)
    hash.updateSized(of(*arg));
  auto digest = hash.finish();
  auto text = std::make_unique<std::string>(digest.begin(), digest.end());
  return *(known[&at] = std::move(text));
}

std::vector<std::string> moec::sourcesOf(const Expr &expr) {
  std::vector<std::string> sources;
  for (const Expr *source : sourceTensors(expr))
    sources.push_back(source->file->path + ": " +
                      source->attrs<SourceAttrs>().key);
  return sources;
}
