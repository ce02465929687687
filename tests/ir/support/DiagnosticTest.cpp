#include "ir/support/Diagnostic.h"
#include "ir/support/Escape.h"
#include "ir/support/Numbers.h"

#include "gtest/gtest.h"

#include <cmath>

using namespace moec;

static llvm::Expected<int> failing() {
  return error(Location::atLine("config.json", 17, 3)).withSource("  \"k\": 9")
         << "routes to " << 9 << " experts";
}

TEST(Diagnostic, PrintsPlaceMessageCaretAndNotes) {
  auto result = failing();
  ASSERT_FALSE(static_cast<bool>(result));
  std::string text =
      toText(withNote(result.takeError(), Location::ofObject("model.layers.3"),
                      "while importing"));
  EXPECT_EQ(text, "config.json:17:3: error: routes to 9 experts\n"
                  " 17 |   \"k\": 9\n"
                  "    |   ^\n"
                  "model.layers.3: note: while importing");
}

TEST(Diagnostic, PutsTheCaretUnderACharacterOfManyBytes) {
  EXPECT_EQ(toText(error(Location::atLine("m.moe", 1, 12))
                       .withSource("\tcaf\xc3\xa9 \xe2\x96\x81 x")
                   << "is no name"),
            "m.moe:1:12: error: is no name\n"
            " 1 | \tcaf\xc3\xa9 \xe2\x96\x81 x\n"
            "   | \t       ^");
}

TEST(Diagnostic, ShowsWhatATerminalMaySee) {
  // Names come from files; a terminal obeys some of their bytes.
  std::string text =
      toText(error(Location::ofObject("tensor '\x1b[2J'"))
                 .withNote({}, "caf\xc3\xa9 \xff\xc2\x9b")
             << "found '" << std::string("a\0b", 3) << "'\n\tfor \xe2\x96\x81");
  EXPECT_EQ(text, "tensor '\\x1B[2J': error: found 'a\\x00b'\n\tfor "
                  "\xe2\x96\x81\nnote: caf\xc3\xa9 \\xFF\\xC2\\x9B");
  // A source line of other bytes is not shown.
  EXPECT_EQ(toText(error(Location::atLine("m.moe", 1, 1))
                       .withSource(std::string("\x01\x02", 2))
                   << "no text"),
            "m.moe:1:1: error: no text");
}

TEST(Diagnostic, NumbersReadBackExactly) {
  auto said = [](auto number) { return toText(error() << number); };
  EXPECT_EQ(said(0.5), "error: 0.5");
  EXPECT_EQ(said(1e-5), "error: 1e-05");
  EXPECT_EQ(said(0.1f), "error: 0.1");
  EXPECT_EQ(said(7), "error: 7");
}

TEST(Numbers, ReadBackExactly) {
  EXPECT_EQ(formatDouble(0.5), "0.5");
  EXPECT_EQ(formatDouble(1e-5), "1e-05");
  EXPECT_EQ(formatDouble(-3.0), "-3.0");
  EXPECT_EQ(formatDouble(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(formatDouble(std::nan("")), "nan");
  EXPECT_EQ(formatDouble(-HUGE_VAL), "-inf");
  // Not the double that is nearest.
  EXPECT_EQ(formatFloat(0.1f), "0.1");
}

TEST(Escape, Utf8ForJson) {
  EXPECT_EQ(toUtf8("caf\xc3\xa9 \x1b"), "caf\xc3\xa9 \x1b");
  EXPECT_EQ(toUtf8("a\xff"), "a\xef\xbf\xbd");
  // The first bytes of a character, at the end.
  EXPECT_EQ(toUtf8("a\xe2\x96"), "a\xef\xbf\xbd");
  EXPECT_EQ(toUtf8("\xed\xa0\x80z").back(), 'z');
  EXPECT_EQ(toUtf8(""), "");
}
