#include "tools/driver/Table.h"

#include <gtest/gtest.h>

using namespace moec;

namespace {
std::string print(const Table &table) {
  std::string text;
  llvm::raw_string_ostream os(text);
  table.print(os);
  return text;
}

TEST(Table, columns_are_what_a_terminal_shows) {
  EXPECT_EQ(displayColumns("abc"), 3u);
  EXPECT_EQ(displayColumns("Köln"), 4u);
  EXPECT_EQ(displayColumns("日本"), 4u);
  Table table({"name", "what"});
  table.addRow({"Köln", "x"});
  table.addRow({"日本語", "y"});
  EXPECT_EQ(print(table), "name    what\n"
                          "Köln    x\n"
                          "日本語  y\n");
}

TEST(Table, control_characters_and_stray_bytes_are_spelled_out) {
  EXPECT_EQ(printable("a\nb\tc\r"), "a\\nb\\tc\\r");
  EXPECT_EQ(printable("\x1b[31m\x7f"), "\\x1b[31m\\x7f");
  EXPECT_EQ(printable("ö\xff\xc3"), "ö\\xff\\xc3");
  EXPECT_EQ(printable(llvm::StringRef("\0", 1)), "\\x00");
}

TEST(Table, numbers_stand_to_the_right_and_lists_do_not) {
  Table table({"what", "list", "number"});
  table.addRow({"a", "16 16", "inf"});
  table.addRow({"b", "1 2", "1.5"});
  table.addRow({"c", "", "-"});
  table.addRow({"d", "3", "200.5 ms"});
  EXPECT_EQ(print(table), "what  list     number\n"
                          "a     16 16       inf\n"
                          "b     1 2         1.5\n"
                          "c                   -\n"
                          "d     3      200.5 ms\n");
}

TEST(Table, end_of_a_text_within_columns) {
  EXPECT_EQ(endWithin("short", 5), "short");
  EXPECT_EQ(endWithin("writing a/b/c 10%", 10), "...b/c 10%");
  EXPECT_EQ(endWithin("日本語日本語", 7), "...本語");
  EXPECT_EQ(endWithin("long", 2), "");
}

TEST(Table, seconds_have_a_unit_that_shows_them) {
  EXPECT_EQ(formatSeconds(0), "0.0 ms");
  EXPECT_EQ(formatSeconds(4.5e-6), "4.5 us");
  EXPECT_EQ(formatSeconds(0.0123), "12.3 ms");
  EXPECT_EQ(formatSeconds(2.5), "2.50 s");
}
} // namespace
