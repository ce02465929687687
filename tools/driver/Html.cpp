#include "tools/driver/Html.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/ConvertUTF.h"

using namespace moec;
using namespace moec::html;

static const char kStyle[] = R"css(
:root { color-scheme: light dark;
  --paper: #fbfaf8; --panel: #ffffff; --ink: #1d2330; --soft: #636b7b;
  --line: #dfe1e7; --accent: #2f62c9; --on-accent: #ffffff;
  --good: #1b7f4b; --good-soft: #e3f4ea; --warn: #9a6200; --warn-soft: #fdf0d8;
  --bad: #b3261e; --bad-soft: #fce6e4; --second: #c2571a; --third: #7b8496;
  --code: #f1f2f5; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171d; --panel: #1c2028; --ink: #e4e7ee; --soft: #98a1b3;
  --line: #313743; --accent: #7ba6ff; --on-accent: #10141c;
  --good: #6fd39b; --good-soft: #17301f; --warn: #efb95c; --warn-soft: #342812;
  --bad: #ff9a90; --bad-soft: #3a1b19; --second: #f2a06a; --third: #8b94a6;
  --code: #252a34; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 36px 24px 72px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 4px; }
p { margin: 0 0 12px; }
.sub, .note { color: var(--soft); overflow-wrap: anywhere; }
.note { max-width: 76ch; }
.banner { margin: 20px 0; padding: 14px 18px; border-radius: 10px;
  border-left: 5px solid var(--third); background: var(--panel); }
.banner b { display: block; font-size: 17px; }
.banner.good { border-color: var(--good); background: var(--good-soft); }
.banner.warning { border-color: var(--warn); background: var(--warn-soft); }
.banner.bad { border-color: var(--bad); background: var(--bad-soft); }
.cards { display: grid; gap: 12px; margin: 16px 0;
  grid-template-columns: repeat(auto-fit, minmax(138px, 1fr)); }
.card { background: var(--panel); border: 1px solid var(--line);
  border-radius: 10px; padding: 12px 14px; }
.card b { display: block; font-size: 20px; font-weight: 600; line-height: 1.25;
  overflow-wrap: anywhere; }
.card span { color: var(--soft); font-size: 13px; }
.panel { background: var(--panel); border: 1px solid var(--line);
  border-radius: 10px; padding: 16px; margin: 12px 0; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px;
  margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code, pre, .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas,
  "DejaVu Sans Mono", monospace; font-size: 13px; }
pre { background: var(--code); border-radius: 6px; padding: 8px 10px;
  margin: 6px 0; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; }
summary:focus-visible { outline: 2px solid var(--accent); }
svg { display: block; max-width: 100%; height: auto; font-size: 12px; }
svg text { fill: var(--soft); } svg .in { fill: var(--ink); }
svg .on { fill: var(--on-accent); } svg .rule { stroke: var(--line); }
svg .cell { fill: var(--accent); stroke: var(--line); stroke-width: .5; }
svg .s0 { fill: var(--accent); stroke: var(--accent); }
svg .s1 { fill: var(--third); stroke: var(--third); }
svg .s2 { fill: var(--second); stroke: var(--second); }
svg .limit { stroke: var(--bad); stroke-dasharray: 5 4; }
svg polyline { fill: none !important; stroke-width: 1.5; }
svg text.limit { fill: var(--bad); stroke: none; }
)css";

/// Styles of pages that compare: colours say added, removed and changed.
static const char kDiffStyle[] = R"css(
.chip { display: inline-block; border-radius: 999px; padding: 0 9px;
  font-size: 12.5px; border: 1px solid var(--line); color: var(--soft); }
.add { background: var(--good-soft); color: var(--good); }
.del { background: var(--bad-soft); color: var(--bad); }
.mod { background: var(--warn-soft); color: var(--warn); }
details.box { background: var(--panel); border: 1px solid var(--line);
  border-radius: 10px; margin: 8px 0; }
details.box > summary { padding: 10px 14px; }
details.box > div { padding: 2px 14px 14px; }
details.inner { margin: 2px 0 2px 4px; }
.graph { display: grid; grid-template-columns: 1fr 1fr; gap: 4px 16px;
  align-items: start; }
.graph > .head { color: var(--soft); font-size: 13px; }
.op { border: 1px solid var(--line); border-left-width: 4px; border-radius: 6px;
  padding: 3px 9px; min-width: 0; overflow-wrap: anywhere; }
.op.add { border-color: var(--good); color: var(--ink); }
.op.del { border-color: var(--bad); color: var(--ink); }
.op.mod { border-color: var(--warn); color: var(--ink); }
.op b { font-weight: 600; } .op .dim { color: var(--soft); font-size: 13px; }
.span { grid-column: 1 / -1; color: var(--soft); font-size: 13px; }
ins { text-decoration: none; background: var(--good-soft); color: var(--good); }
del { background: var(--bad-soft); color: var(--bad); }
)css";

std::string html::escape(llvm::StringRef text) {
  std::string result;
  const auto *at = reinterpret_cast<const llvm::UTF8 *>(text.bytes_begin());
  const auto *end = reinterpret_cast<const llvm::UTF8 *>(text.bytes_end());
  while (at != end) {
    unsigned length = llvm::getNumBytesForUTF8(*at);
    if (length > size_t(end - at) || !llvm::isLegalUTF8Sequence(at, end) ||
        *at == 0x7f || (*at < 0x20 && *at != '\n' && *at != '\t')) {
      result += "\xEF\xBF\xBD";
      ++at;
      continue;
    }
    switch (*at) {
    case '&':
      result += "&amp;";
      break;
    case '<':
      result += "&lt;";
      break;
    case '>':
      result += "&gt;";
      break;
    case '"':
      result += "&quot;";
      break;
    case '\'':
      result += "&#39;";
      break;
    default:
      result.append(at, at + length);
    }
    at += length;
  }
  return result;
}

static const char *toneClass(Tone tone) {
  static constexpr const char *names[] = {"plain", "good", "warning", "bad"};
  return names[unsigned(tone)];
}

Page::Page(llvm::raw_ostream &os, llvm::StringRef title,
           llvm::StringRef subtitle)
    : os(os) {
  os << "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
        "<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\">\n"
        "<title>"
     << escape(title) << "</title>\n<style>" << kStyle << kDiffStyle
     << "</style>\n</head>\n<body>\n<main>\n<h1>" << escape(title)
     << "</h1>\n<p class=\"sub\">" << escape(subtitle) << "</p>\n";
}

Page::~Page() { os << "</main>\n</body>\n</html>\n"; }

Page &Page::raw(const llvm::Twine &markup) {
  os << markup;
  return *this;
}

Page &Page::text(llvm::StringRef text) {
  os << escape(text);
  return *this;
}

void Page::banner(Tone tone, llvm::StringRef headline, llvm::StringRef detail) {
  os << "<div class=\"banner " << toneClass(tone) << "\"><b>"
     << escape(headline) << "</b>" << escape(detail) << "</div>\n";
}

void Page::cards(
    llvm::ArrayRef<std::pair<std::string, std::string>> valuesAndNames) {
  os << "<div class=\"cards\">\n";
  for (auto &[value, name] : valuesAndNames)
    os << "<div class=\"card\"><b>" << escape(value) << "</b><span>"
       << escape(name) << "</span></div>\n";
  os << "</div>\n";
}

void Page::section(llvm::StringRef title, llvm::StringRef explanation) {
  os << "<h2>" << escape(title) << "</h2>\n";
  if (!explanation.empty())
    os << "<p class=\"note\">" << escape(explanation) << "</p>\n";
}

void Page::facts(llvm::ArrayRef<std::pair<std::string, std::string>> rows) {
  os << "<div class=\"panel\"><dl>\n";
  for (auto &[name, value] : rows)
    os << "<dt>" << escape(name) << "</dt><dd>" << escape(value) << "</dd>\n";
  os << "</dl></div>\n";
}

static bool isNumber(llvm::StringRef cell) {
  return cell.empty() || llvm::isDigit(cell[0]) || cell == "-" ||
         cell == "inf" || (cell[0] == '-' && llvm::isDigit(cell[1]));
}

void Page::table(llvm::ArrayRef<std::string> header,
                 llvm::ArrayRef<std::vector<std::string>> rows) {
  auto kind = [&](size_t column) {
    bool numbers =
        llvm::all_of(rows, [&](auto &row) { return isNumber(row[column]); });
    return numbers ? " class=\"n\"" : "";
  };
  os << "<div class=\"panel\"><table>\n<tr>";
  for (size_t i = 0; i < header.size(); ++i)
    os << "<th" << kind(i) << ">" << escape(header[i]) << "</th>";
  os << "</tr>\n";
  for (const auto &row : rows) {
    os << "<tr>";
    for (size_t i = 0; i < row.size(); ++i)
      os << "<td" << kind(i) << ">" << escape(row[i]) << "</td>";
    os << "</tr>\n";
  }
  os << "</table></div>\n";
}

void Page::beginDetails(const llvm::Twine &summary, bool open,
                        llvm::StringRef cssClass) {
  os << "<details" << (open ? " open" : "");
  if (!cssClass.empty())
    os << " class=\"" << cssClass << "\"";
  os << "><summary>" << summary << "</summary><div>\n";
}

void Page::endDetails() { os << "</div></details>\n"; }
