#include "runtime/text/Regex.h"

#include "ir/support/Diagnostic.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

using namespace moec;

void Regex::FreeCode::operator()(pcre2_code_8 *code) const {
  pcre2_code_free(code);
}
void Regex::FreeContext::operator()(pcre2_match_context_8 *context) const {
  pcre2_match_context_free(context);
}
void Regex::Matcher::FreeMatch::operator()(pcre2_match_data_8 *match) const {
  pcre2_match_data_free(match);
}

static constexpr size_t kMaxPatternBytes = 1 << 16;
/// Steps that one match may take: a split that needs more is no split of words.
static constexpr uint32_t kMatchLimit = 10'000'000;
static constexpr uint32_t kHeapLimitKiB = 256 << 10;

static std::string textOf(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char *>(buffer);
}

/// Rewrites what means one thing in Ruby's syntax and another in PCRE2's: \s
/// is White_Space, \w has marks and connectors, \h is a hexadecimal digit.
static llvm::Expected<std::string> toPcre2(llvm::StringRef pattern,
                                           llvm::StringRef name) {
  constexpr llvm::StringLiteral kSpace = "\\p{Z}\\t-\\r\\x{85}";
  // The ranges are letters in circles and squares, which are symbols.
  constexpr llvm::StringLiteral kWord =
      "\\p{L}\\p{M}\\p{N}\\p{Pc}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}"
      "\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}";
  constexpr llvm::StringLiteral kHex = "0-9A-Fa-f";
  std::string out;
  bool inClass = false;
  for (size_t pos = 0; pos < pattern.size(); ++pos) {
    char c = pattern[pos];
    if (c == '\\' && pos + 1 < pattern.size()) {
      char escaped = pattern[++pos];
      llvm::StringRef set = escaped == 's' || escaped == 'S'   ? kSpace
                            : escaped == 'w' || escaped == 'W' ? kWord
                            : escaped == 'h' || escaped == 'H' ? kHex
                                                               : "";
      bool negated = escaped >= 'A' && escaped <= 'Z';
      if (set.empty() || (inClass && negated)) {
        out += '\\';
        out += escaped;
      } else if (inClass) {
        out += set;
      } else {
        out += negated ? "[^" : "[";
        out += set;
        out += ']';
      }
      continue;
    }
    if (inClass && (c == '[' || pattern.substr(pos).starts_with("&&")) &&
        !pattern.substr(pos).starts_with("[:"))
      return error(Location::inFile(name.str()))
             << "expected no nested set in the class of the expression '"
             << pattern << "'";
    if (c == '[' && !inClass) {
      inClass = true;
      out += c;
      // A bracket that comes first stands for itself.
      if (pattern.substr(pos + 1).starts_with("^"))
        out += pattern[++pos];
      if (pattern.substr(pos + 1).starts_with("]"))
        out += pattern[++pos];
      continue;
    }
    if (c == '[' && inClass) { // [:alpha:]
      size_t end = pattern.find(":]", pos);
      if (end == llvm::StringRef::npos)
        end = pos;
      out += pattern.slice(pos, end + 2);
      pos = end + 1;
      continue;
    }
    if (c == ']')
      inClass = false;
    out += c;
  }
  return out;
}

llvm::Expected<Regex> Regex::compile(llvm::StringRef pattern,
                                     llvm::StringRef name) {
  Location loc = Location::inFile(name.str());
  if (pattern.size() > kMaxPatternBytes)
    return error(loc) << "expected an expression of at most "
                      << kMaxPatternBytes << " bytes, got " << pattern.size();
  MOEC_ASSIGN(std::string translated, toPcre2(pattern, name));
  int code = 0;
  PCRE2_SIZE offset = 0;
  Regex regex;
  regex.pattern = pattern.str();
  // In Ruby's syntax ^ and $ match at every line.
  regex.code.reset(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
      &offset, nullptr));
  if (!regex.code)
    return error(loc) << "expected a regular expression, got '" << pattern
                      << "': " << textOf(code) << " at offset " << offset;
  // Without JIT the interpreter matches; the results are the same.
  pcre2_jit_compile(regex.code.get(), PCRE2_JIT_COMPLETE);
  regex.limits.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(regex.limits.get(), kMatchLimit);
  pcre2_set_heap_limit(regex.limits.get(), kHeapLimitKiB);
  return regex;
}

Regex::Matcher::Matcher(const Regex &regex, llvm::StringRef text)
    : regex(regex), text(text),
      match(pcre2_match_data_create_from_pattern(regex.code.get(), nullptr)) {}

llvm::Expected<bool> Regex::Matcher::next(size_t &begin, size_t &end) {
  auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
  if (pos >= text.size())
    return false;
  int rc = pcre2_match(regex.code.get(), subject, text.size(), pos, options,
                       match.get(), regex.limits.get());
  // The JIT's stack is small; the interpreter uses the heap.
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
    rc = pcre2_match(regex.code.get(), subject, text.size(), pos,
                     options | PCRE2_NO_JIT, match.get(), regex.limits.get());
  if (rc == PCRE2_ERROR_NOMATCH) {
    pos = text.size();
    return false;
  }
  if (rc < 0)
    return error() << "the tokenizer's expression '" << regex.pattern
                   << "' cannot split this text: " << textOf(rc);
  const PCRE2_SIZE *range = pcre2_get_ovector_pointer(match.get());
  // \K can move the beginning; what lies before `pos` was taken already.
  begin = std::max<size_t>(range[0], pos);
  end = std::max<size_t>(range[1], begin);
  if (end == begin)
    return error() << "the tokenizer's expression '" << regex.pattern
                   << "' matches backwards";
  pos = end;
  return true;
}
