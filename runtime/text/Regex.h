//===- Regex.h - the expressions that tokenizers split text with ----------===//
//
// Tokenizer files are written for Oniguruma's Ruby syntax; this compiles the
// part of it that they use with PCRE2 (Unicode properties, JIT where the
// machine allows it).
//
//===----------------------------------------------------------------------===//
#pragma once

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <memory>
#include <string>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;

namespace moec {

/// A compiled expression; safe to match with from many threads.
class Regex {
public:
  static llvm::Expected<Regex> compile(llvm::StringRef pattern,
                                       llvm::StringRef name);

  /// Finds matches one after the other in a text of valid UTF-8.
  class Matcher {
  public:
    Matcher(const Regex &regex, llvm::StringRef text);
    /// The next match that is not empty, as [begin, end), or false at the end.
    llvm::Expected<bool> next(size_t &begin, size_t &end);

  private:
    struct FreeMatch {
      void operator()(pcre2_real_match_data_8 *match) const;
    };
    const Regex &regex;
    llvm::StringRef text;
    size_t pos = 0;
    std::unique_ptr<pcre2_real_match_data_8, FreeMatch> match;
  };

private:
  struct FreeCode {
    void operator()(pcre2_real_code_8 *code) const;
  };
  struct FreeContext {
    void operator()(pcre2_real_match_context_8 *context) const;
  };
  std::string pattern;
  std::unique_ptr<pcre2_real_code_8, FreeCode> code;
  std::unique_ptr<pcre2_real_match_context_8, FreeContext> limits;
};

} // namespace moec
