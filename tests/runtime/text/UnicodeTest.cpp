#include "runtime/text/Unicode.h"

#include <gtest/gtest.h>

using namespace moec;

namespace {

TEST(Utf8, AcceptsExactlyTheStandard) {
  EXPECT_TRUE(isUtf8("plain ascii, longer than one word"));
  EXPECT_TRUE(isUtf8("\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xEF\xBF\xBF"));
  EXPECT_TRUE(isUtf8("\xF0\x90\x80\x80 \xF4\x8F\xBF\xBF"));
  for (const char *bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xC2", "\xE0\x9F\xBF", "\xED\xA0\x80",
        "\xE2\x82", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80",
        "abcdefgh\xFF"})
    EXPECT_FALSE(isUtf8(bad)) << bad;
}

TEST(Utf8, EveryCharacterSurvivesEncoding) {
  for (uint32_t code : {0x41u, 0x7Fu, 0x80u, 0x7FFu, 0x800u, 0xD7FFu, 0xE000u,
                        0xFFFFu, 0x10000u, 0x10FFFFu}) {
    std::string text;
    appendUtf8(text, code);
    Utf8Char c = decodeUtf8(text, 0);
    EXPECT_TRUE(c.valid);
    EXPECT_EQ(c.code, code);
    EXPECT_EQ(c.bytes, text.size());
  }
}

TEST(Utf8, BadBytesAreReplacedOneByOne) {
  EXPECT_EQ(replaceBadBytes("a\xFF\xE2\x82z"),
            "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz");
  EXPECT_EQ(replaceBadBytes("ok \xE2\x82\xAC"), "ok \xE2\x82\xAC");
}

TEST(Utf8, LossyReadingKeepsBackWhatMayBecomeWhole) {
  auto read = [](llvm::StringRef bytes, bool final) {
    std::string text;
    size_t taken = appendLossyUtf8(text, bytes, final);
    return std::pair(text, bytes.size() - taken);
  };
  using Result = std::pair<std::string, size_t>;
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(read("a\xF0\x9F\xA6", false), Result("a", 3));
  EXPECT_EQ(read("a\xF0\x9F\xA6", true), Result("a" + bad, 0));
  EXPECT_EQ(read("a\xF0\x9F\xA6\x99", false), Result("a\xF0\x9F\xA6\x99", 0));
  // A byte that cannot continue ends the character at once.
  EXPECT_EQ(read("\xF0\x9Fz", false), Result(bad + "z", 0));
  EXPECT_EQ(read("\xE0\x80", false), Result(bad + bad, 0));
  EXPECT_EQ(read("\xFF", false), Result(bad, 0));
  EXPECT_EQ(read("\x80", false), Result(bad, 0));
}

TEST(Normalise, FourForms) {
  // An A with a ring, composed and not; the ligature fi; an Angstrom sign.
  EXPECT_EQ(normalizeUnicode("A\xCC\x8A", NormalForm::Nfc), "\xC3\x85");
  EXPECT_EQ(normalizeUnicode("\xC3\x85", NormalForm::Nfd), "A\xCC\x8A");
  EXPECT_EQ(normalizeUnicode("\xEF\xAC\x81", NormalForm::Nfc), "\xEF\xAC\x81");
  EXPECT_EQ(normalizeUnicode("\xEF\xAC\x81", NormalForm::Nfkc), "fi");
  EXPECT_EQ(normalizeUnicode("\xE2\x84\xAB", NormalForm::Nfc), "\xC3\x85");
  EXPECT_EQ(normalizeUnicode("\xE2\x84\xAB", NormalForm::Nfkd), "A\xCC\x8A");
  EXPECT_EQ(normalizeUnicode("plain", NormalForm::Nfkd), "plain");
}

TEST(Classes, SpacesAndWords) {
  for (uint32_t code : {0x20u, 0x09u, 0x85u, 0xA0u, 0x2003u, 0x3000u})
    EXPECT_TRUE(isUnicodeSpace(code)) << code;
  for (uint32_t code : {0x200Bu, 0x180Eu, 0x41u, 0x1Fu})
    EXPECT_FALSE(isUnicodeSpace(code)) << code;
  for (uint32_t code : {0x61u, 0x5Fu, 0x39u, 0x301u, 0x4E2Du, 0x24DDu, 0x200Du})
    EXPECT_TRUE(isWordChar(code)) << code;
  for (uint32_t code : {0x2Du, 0x20u, 0xB2u, 0x1F999u})
    EXPECT_FALSE(isWordChar(code)) << code;
}

TEST(Classes, LowerCase) {
  EXPECT_EQ(lowercaseUnicode("A\xC3\x84\xCE\xA9z"), "a\xC3\xA4\xCF\x89z");
  EXPECT_EQ(lowercaseUnicode("\xC4\xB0"), "i\xCC\x87");
}

} // namespace
