//===- ModuleDiffPage.cpp - a diff as one HTML page -----------------------===//

#include "tools/driver/Align.h"
#include "tools/driver/Describe.h"
#include "tools/driver/ExprText.h"
#include "tools/driver/Html.h"
#include "tools/driver/ModuleDiff.h"
#include "tools/driver/StreamRunner.h"
#include "tools/driver/Table.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Format.h"

#include <cmath>

using namespace moec;
using namespace moec::html;

/// Runs of equal ops up to this length are shown.
static constexpr size_t kShownSame = 2;
/// Experts of a bank whose definitions are listed.
static constexpr int64_t kListedExperts = 64;

template <typename T> static std::string textOf(const T &printable) {
  std::string text;
  llvm::raw_string_ostream(text) << printable;
  return text;
}

static std::string decimal(double value, const char *format) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format(format, value);
  return text;
}

static const char *cssClass(Change change) {
  static constexpr const char *names[] = {"", "add", "del", "mod"};
  return names[unsigned(change)];
}

namespace {
class DiffPage {
public:
  DiffPage(const ModuleDiff &diff, llvm::raw_ostream &os)
      : diff(diff), os(os),
        page(os, "What changed",
             diff.beforeName + " \u2192 " + diff.afterName) {
    for (const WeightDiff &weight : diff.weights)
      weightByName[weight.name] = &weight;
  }

  void write();

private:
  void summary();
  void fields(const char *title, llvm::ArrayRef<FieldChange> list);
  void program(const ProgramDiff &program);
  void layer(const LayerDiff &layer);
  void rows(llvm::ArrayRef<OpChange> ops);
  void same(llvm::ArrayRef<OpChange> ops);
  void op(const OpChange &change, bool after);
  void weight(const Weight &weight);
  void weights();
  void numbers(const WeightDiff &weight);

  const ModuleDiff &diff;
  llvm::raw_ostream &os;
  Page page;
  llvm::StringMap<const WeightDiff *> weightByName;
};
} // namespace

static std::string chip(llvm::StringRef kind, const std::string &text) {
  return "<span class=\"chip " + kind.str() + "\">" + escape(text) + "</span> ";
}

/// `+12`, `-3`, `~1` in their colours.
static std::string chips(size_t added, size_t removed, size_t changed) {
  std::string text;
  if (added)
    text += chip("add", "+" + std::to_string(added));
  if (removed)
    text += chip("del", "\u2212" + std::to_string(removed));
  if (changed)
    text += chip("mod", "~" + std::to_string(changed));
  return text;
}

/// One number, or what became of it.
static std::string arrow(const std::string &before, const std::string &after) {
  return before == after ? before : before + " \u2192 " + after;
}

void DiffPage::summary() {
  size_t rewritten = 0, layers = 0, added = 0, removed = 0, changed = 0;
  for (const ProgramDiff &one : diff.programs) {
    for (const LayerDiff &part : one.layers) {
      layers += part.layer >= 0;
      rewritten += part.layer >= 0 && !part.isSame();
    }
    added += one.count(Change::added);
    removed += one.count(Change::removed);
    changed += one.count(Change::changed);
  }
  if (diff.isEmpty())
    page.banner(Tone::good, "Nothing",
                "The graphs and the definitions of all weights are the same.");
  std::vector<std::pair<std::string, std::string>> cards{
      {std::to_string(rewritten) + " of " + std::to_string(layers),
       "layers that differ"},
      {"+" + std::to_string(added) + " \u2212" + std::to_string(removed) +
           " ~" + std::to_string(changed),
       "ops"},
      {"+" + std::to_string(diff.countWeights(Change::added)) + " \u2212" +
           std::to_string(diff.countWeights(Change::removed)) + " ~" +
           std::to_string(diff.countWeights(Change::changed)),
       "weights"},
      {arrow(formatCount(diff.parametersBefore),
             formatCount(diff.parametersAfter)),
       "parameters"},
      {arrow(formatCount(diff.activeBefore), formatCount(diff.activeAfter)),
       "parameters that a token uses"}};
  page.cards(cards);
}

void DiffPage::fields(const char *title, llvm::ArrayRef<FieldChange> list) {
  if (list.empty())
    return;
  std::string summary = "<b>" + std::string(title) + "</b> ";
  size_t counts[4] = {};
  for (const FieldChange &field : list)
    ++counts[unsigned(field.kind())];
  summary += chips(counts[1], counts[2], counts[3]);
  page.beginDetails(summary, list.size() <= 12, "box");
  os << "<table>\n";
  for (const FieldChange &field : list) {
    os << "<tr><td class=\"mono\">" << escape(field.name) << "</td><td>";
    if (!field.before.empty())
      os << "<del>" << escape(field.before) << "</del> ";
    if (!field.after.empty())
      os << "<ins>" << escape(field.after) << "</ins>";
    os << "</td></tr>\n";
  }
  os << "</table>\n";
  page.endDetails();
}

/// A weight under an op: its definition and its sources unfold; experts are
/// one line until they are opened.
void DiffPage::weight(const Weight &weight) {
  page.beginDetails("<span class=\"mono\">@" + escape(weight.name) +
                        "</span> <span class=\"dim\">" +
                        escape(textOf(weight.type())) + "</span>",
                    false, "inner");
  os << "<div class=\"dim\">" << escape(provenance(weight)) << "</div>\n";
  const Expr &expr = resolve(*weight.expr);
  if (expr.kind == ExprKind::Stack) {
    int64_t experts = expr.args.size();
    page.beginDetails(std::to_string(experts) + " experts", false, "inner");
    for (int64_t e = 0; e < std::min(experts, kListedExperts); ++e)
      os << "<pre>" << e << ": " << escape(exprText(*rowExpr(expr, e), 1000))
         << "</pre>\n";
    if (experts > kListedExperts)
      os << "<div class=\"dim\">and " << experts - kListedExperts
         << " more</div>\n";
    page.endDetails();
  } else {
    os << "<pre>" << escape(exprText(*weight.expr)) << "</pre>\n";
  }
  std::vector<std::string> sources = sourcesOf(*weight.expr);
  for (size_t i = 0; i < std::min<size_t>(sources.size(), 8); ++i)
    os << "<div class=\"dim\">from " << escape(sources[i]) << "</div>\n";
  if (sources.size() > 8)
    os << "<div class=\"dim\">and " << sources.size() - 8
       << " more tensors</div>\n";
  auto at = weightByName.find(weight.name);
  if (at != weightByName.end())
    numbers(*at->second);
  page.endDetails();
}

void DiffPage::numbers(const WeightDiff &weight) {
  auto line = [&](const std::string &what, const NumberDiff &numbers) {
    os << "<div class=\"dim\">" << escape(what) << ": cosine "
       << decimal(numbers.cosine, "%.6f") << ", ||difference|| / ||before|| "
       << formatScientific(numbers.relative) << ", largest "
       << formatScientific(numbers.maxDifference) << "</div>\n";
  };
  if (weight.numbers)
    line("numbers", *weight.numbers);
  for (auto [e, numbers] : llvm::enumerate(weight.experts))
    if (int64_t(e) < kListedExperts)
      line("expert " + std::to_string(e) + " beside " + weight.comparedWith,
           numbers);
}

/// One side of a row.
void DiffPage::op(const OpChange &change, bool after) {
  const Operation &one = after ? *change.after : *change.before;
  os << "<div class=\"op " << cssClass(change.change) << "\"><b>"
     << escape(one.mnemonic()) << "</b> <span class=\"dim mono\">"
     << escape(one.attrs().str(/*maxListElements=*/4)) << "</span>\n";
  if (after)
    for (const FieldChange &field : change.fields)
      os << "<div>" << escape(field.name) << ": <del>" << escape(field.before)
         << "</del> <ins>" << escape(field.after) << "</ins></div>\n";
  for (Value operand : one.operands())
    if (const Weight *used = operand.weight()) {
      if (change.change == Change::same)
        os << "<div class=\"dim mono\">@" << escape(used->name) << "</div>\n";
      else
        weight(*used);
    }
  os << "</div>\n";
}

void DiffPage::same(llvm::ArrayRef<OpChange> ops) {
  if (ops.empty())
    return;
  bool folded = ops.size() > kShownSame;
  if (folded)
    os << "<details class=\"span\"><summary>" << ops.size()
       << " ops the same</summary><div class=\"graph\">\n";
  for (const OpChange &change : ops) {
    op(change, false);
    op(change, true);
  }
  if (folded)
    os << "</div></details>\n";
}

/// Removed ops stand on the left, added ones on the right.
void DiffPage::rows(llvm::ArrayRef<OpChange> ops) {
  for (size_t i = 0; i < ops.size();) {
    auto run = [&](auto matches) {
      size_t end = i;
      while (end < ops.size() && matches(ops[end].change))
        ++end;
      auto part = ops.slice(i, end - i);
      i = end;
      return part;
    };
    same(run([](Change change) { return change == Change::same; }));
    auto rewrite = run([](Change change) {
      return change == Change::added || change == Change::removed;
    });
    std::vector<const OpChange *> left, right;
    for (const OpChange &change : rewrite)
      (change.before ? left : right).push_back(&change);
    for (size_t r = 0; r < std::max(left.size(), right.size()); ++r) {
      if (r < left.size())
        op(*left[r], false);
      else
        os << "<div></div>\n";
      if (r < right.size())
        op(*right[r], true);
      else
        os << "<div></div>\n";
    }
    for (const OpChange &change :
         run([](Change change) { return change == Change::changed; })) {
      op(change, false);
      op(change, true);
    }
  }
}

void DiffPage::layer(const LayerDiff &one) {
  std::string summary = "<b>" + escape(one.title()) + "</b> ";
  if (!one.rewrite.empty())
    summary += escape(one.rewrite) + " ";
  summary += chips(one.count(Change::added), one.count(Change::removed),
                   one.count(Change::changed));
  page.beginDetails(summary, false, "box");
  os << "<div class=\"graph\"><div class=\"head\">before</div><div "
        "class=\"head\">after</div>\n";
  rows(one.ops);
  os << "</div>\n";
  page.endDetails();
}

void DiffPage::program(const ProgramDiff &one) {
  page.section("Program " + one.name,
               "Layer by layer, before on the left and after on the right. "
               "Green was added, red removed, yellow changed; a weight unfolds "
               "to where its numbers come from.");
  size_t equal = 0;
  auto flush = [&] {
    if (equal)
      os << "<p class=\"note\">" << equal
         << (equal == 1 ? " layer is" : " layers are") << " the same</p>\n";
    equal = 0;
  };
  for (const LayerDiff &part : one.layers) {
    if (part.isSame()) {
      equal += part.layer >= 0;
      continue;
    }
    flush();
    layer(part);
  }
  flush();
}

void DiffPage::weights() {
  size_t differ = llvm::count_if(diff.weights, [](const WeightDiff &weight) {
    return weight.change != Change::same || weight.indirectly ||
           (weight.numbers && weight.numbers->maxDifference != 0);
  });
  page.section("Weights",
               std::to_string(diff.weights.size() - differ) +
                   " are the same. The others unfold to their definitions.");
  for (const WeightDiff &one : diff.weights) {
    bool numbersDiffer = one.numbers && one.numbers->maxDifference != 0;
    if (one.change == Change::same && !one.indirectly && !numbersDiffer)
      continue;
    Change shown = one.change == Change::same ? Change::changed : one.change;
    page.beginDetails(
        chip(cssClass(shown), one.indirectly ? "changed indirectly"
                              : one.change == Change::same
                                  ? "other numbers"
                                  : changeName(one.change).str()) +
            "<span class=\"mono\">" + escape(one.name) +
            "</span> <span class=\"sub\">" +
            escape(textOf(one.weight().type())) + "</span>",
        false, "box");
    for (const FieldChange &field : one.fields)
      os << "<div>" << escape(field.name) << "</div><pre><del>"
         << escape(field.before) << "</del>\n<ins>" << escape(field.after)
         << "</ins></pre>\n";
    if (one.fields.empty())
      weight(one.weight());
    else
      numbers(one);
    page.endDetails();
  }
}

void DiffPage::write() {
  summary();
  if (!diff.facts.empty() || !diff.files.empty() || !diff.assets.empty() ||
      !diff.dims.empty() || !diff.states.empty())
    page.section("Module");
  fields("facts", diff.facts);
  fields("files", diff.files);
  fields("assets", diff.assets);
  fields("dimensions", diff.dims);
  fields("states", diff.states);
  for (const ProgramDiff &one : diff.programs)
    if (one.change != Change::same)
      program(one);
  weights();
}

void moec::writeDiffPage(const ModuleDiff &diff, llvm::raw_ostream &os) {
  DiffPage(diff, os).write();
}
