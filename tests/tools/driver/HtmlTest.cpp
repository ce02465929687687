#include "tools/driver/Html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moec;
using testing::HasSubstr;
using testing::Not;

TEST(HtmlTest, escapesWhatMeansSomething) {
  EXPECT_EQ(html::escape("<b>&\"'"), "&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(html::escape("caf\xC3\xA9"), "caf\xC3\xA9");
}

TEST(HtmlTest, replacesWhatIsNoText) {
  EXPECT_EQ(html::escape(llvm::StringRef("a\0b\x1b", 4)), "a\xEF\xBF\xBD"
                                                          "b\xEF\xBF\xBD");
  // A lone continuation byte, a cut sequence, and a surrogate.
  EXPECT_EQ(html::escape("\x80"), "\xEF\xBF\xBD");
  EXPECT_EQ(html::escape("\xC3"), "\xEF\xBF\xBD");
  EXPECT_EQ(html::escape("\xED\xA0\x80"),
            "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(HtmlTest, everythingGivenToAPageIsEscaped) {
  std::string text;
  llvm::raw_string_ostream os(text);
  const char *evil = "<script>alert('x')</script>";
  {
    html::Page page(os, evil, evil);
    page.banner(html::Tone::bad, evil, evil);
    page.cards({{evil, evil}});
    page.section(evil, evil);
    page.facts({{evil, evil}});
    page.table({evil}, {{evil}});
    page.text(evil);
    html::LogChart chart;
    chart.xName = chart.limitName = evil;
    chart.limit = 1;
    chart.labels = {evil};
    chart.series = {{evil, 0, true, {0.5}}};
    chart.write(os);
    auto same = [&](size_t, size_t) { return std::string(evil); };
    auto one = [](size_t, size_t) { return 1.0; };
    html::HeatMap map{evil, evil, {evil}, {evil}, one, same, same, 0, 1};
    map.write(os);
  }
  EXPECT_THAT(text, Not(HasSubstr("<script")));
  EXPECT_THAT(text, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(text, HasSubstr("</html>"));
}

// A page is one file: nothing is fetched from elsewhere, and nothing runs.
TEST(HtmlTest, pagesStandAlone) {
  std::string text;
  llvm::raw_string_ostream os(text);
  {
    html::Page page(os, "title", "subtitle");
  }
  for (const char *word : {"src=", "href=", "@import", "url(", "<script"})
    EXPECT_THAT(text, Not(HasSubstr(word)));
}

// Zeros, infinities and empty charts have a place too.
TEST(HtmlTest, chartsTakeAnyNumber) {
  std::string text;
  llvm::raw_string_ostream os(text);
  html::LogChart chart;
  chart.labels = {"0", "1", "2"};
  chart.series = {{"s", 0, true, {0, INFINITY, 1e-3}}};
  chart.write(os);
  html::LogChart().write(os);
  EXPECT_THAT(text, Not(HasSubstr("nan")));
  EXPECT_THAT(text, HasSubstr(">1e-3<"));
}
