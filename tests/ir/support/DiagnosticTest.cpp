#include "ir/support/Diagnostic.h"

#include "gtest/gtest.h"

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
