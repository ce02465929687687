#include "ir/support/Json.h"

#include "tests/ir/support/TemporaryFolder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

using namespace moec;
using ::testing::HasSubstr;

static std::string parseFailure(std::string text) {
  auto document = JsonDocument::parse(std::move(text), "f.json");
  return document ? "(no error)" : toText(document.takeError());
}

TEST(Json, ReadsEveryKindOfValue) {
  auto document = JsonDocument::parse(
      R"({"a": [1, -2.5, 1e3, 12345678901234567890, 1e-999],
          "b": {"c": "x\n\"\u00e9\ud83d\ude00"}, "d": null, "e": true})",
      "f.json");
  ASSERT_TRUE(bool(document));
  const JsonValue &root = (*document)->root();
  const JsonValue &array = *root.find("a");
  EXPECT_TRUE(array.items[0].isInteger);
  EXPECT_EQ(array.items[0].integer, 1);
  EXPECT_EQ(array.items[1].number, -2.5);
  EXPECT_EQ(array.items[2].number, 1000);
  EXPECT_FALSE(array.items[2].isInteger);
  EXPECT_FALSE(array.items[3].isInteger);
  EXPECT_EQ(array.items[3].number, 12345678901234567890.0);
  EXPECT_EQ(array.items[4].number, 0);
  EXPECT_EQ(root.find("b")->find("c")->string, "x\n\"\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_TRUE(root.find("d")->isNull());
  EXPECT_TRUE(root.find("e")->boolean);
  EXPECT_EQ(root.find("f"), nullptr);
}

TEST(Json, ErrorsShowLineColumnAndCaret) {
  EXPECT_EQ(parseFailure("{\n  \"k\": 9,\n  \"j\" 1\n}"),
            "f.json:3:7: error: expected ':', found '1'\n"
            " 3 |   \"j\" 1\n"
            "   |       ^");
  auto document = JsonDocument::parse("{\n\t\"k\": [9]}", "f.json");
  ASSERT_TRUE(bool(document));
  llvm::Error err = (*document)->errorAt(*(*document)->root().find("k"))
                    << "no";
  EXPECT_EQ(toText(std::move(err)), "f.json:2:7: error: no\n"
                                    " 2 | \t\"k\": [9]}\n"
                                    "   | \t     ^");
}

TEST(Json, BinaryFilesGiveByteOffsets) {
  auto document = JsonDocument::parse("{\"a\": x}", "f", /*byteBase=*/8);
  ASSERT_FALSE(bool(document));
  EXPECT_EQ(toText(document.takeError()),
            "f: at byte 14: error: expected a value, found 'x'");
}

TEST(Json, RefusesWhatIsNoJson) {
  EXPECT_THAT(parseFailure(""), HasSubstr("found the end of the text"));
  EXPECT_THAT(parseFailure("{} x"), HasSubstr("expected the end"));
  EXPECT_THAT(parseFailure("{\"a\":1,\"a\":2}"),
              HasSubstr("the key 'a' occurs twice"));
  EXPECT_THAT(parseFailure("[1,]"), HasSubstr("expected a value"));
  EXPECT_THAT(parseFailure("{\"a\":1,}"), HasSubstr("expected a key"));
  EXPECT_THAT(parseFailure("[1 2]"), HasSubstr("expected ',' or ']'"));
  EXPECT_THAT(parseFailure("{\"a\":1 2}"), HasSubstr("expected ',' or '}'"));
  EXPECT_THAT(parseFailure("01"), HasSubstr("leading zeros"));
  EXPECT_THAT(parseFailure("1."), HasSubstr("expected a digit after '.'"));
  EXPECT_THAT(parseFailure("1e"), HasSubstr("digit in the exponent"));
  EXPECT_THAT(parseFailure("-"), HasSubstr("expected a value"));
  EXPECT_THAT(parseFailure("1e999"), HasSubstr("out of range"));
  EXPECT_THAT(parseFailure("\"abc"), HasSubstr("no closing quote"));
  EXPECT_THAT(parseFailure("\"\\x\""), HasSubstr("after '\\'"));
  EXPECT_THAT(parseFailure("\"\\u12g4\""), HasSubstr("four hexadecimal"));
  EXPECT_THAT(parseFailure("\"\\ud800\""), HasSubstr("stands alone"));
  EXPECT_THAT(parseFailure("\"\\udc00\""), HasSubstr("stands alone"));
  EXPECT_THAT(parseFailure("\"\\ud800\\u0041\""), HasSubstr("second half"));
  EXPECT_THAT(parseFailure("\"\x01\""), HasSubstr("control characters"));
  EXPECT_THAT(parseFailure("\"\xff\""), HasSubstr("expected UTF-8"));
  EXPECT_THAT(parseFailure(std::string("\"\0\"", 3)),
              HasSubstr("found byte 0x00"));
  EXPECT_THAT(parseFailure("nul"), HasSubstr("expected a value"));
  EXPECT_THAT(parseFailure("NaN"), HasSubstr("expected a value"));
}

TEST(Json, DeepNestingIsAnErrorNotACrash) {
  EXPECT_THAT(parseFailure(std::string(1'000'000, '[')),
              HasSubstr("nested levels"));
  EXPECT_EQ(parseFailure(std::string(100, '[') + std::string(100, ']')),
            "(no error)");
}

TEST(Json, LoadLimitsTheSize) {
  TemporaryFolder folder;
  std::string path = folder.write("f.json", "{\"a\": 1}");
  EXPECT_TRUE(bool(JsonDocument::load(path)));
  auto large = JsonDocument::load(path, /*maxBytes=*/4);
  ASSERT_FALSE(bool(large));
  EXPECT_THAT(toText(large.takeError()), HasSubstr("at most 4 bytes, found 8"));
}
