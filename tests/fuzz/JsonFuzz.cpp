#include "ir/support/Json.h"

#include <cstdlib>

using namespace moec;

/// Places of values lie in the text, and errors can be made at them.
static void visit(const JsonDocument &document, const JsonValue &value) {
  if (value.offset >= document.text().size())
    std::abort();
  (void)toText(document.errorAt(value) << value.describe());
  for (const JsonValue &item : value.items)
    visit(document, item);
  for (const JsonMember &member : value.members) {
    if (value.find(member.key) != &member.value)
      std::abort();
    visit(document, member.value);
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  // Errors copy their line, so that visiting is quadratic.
  size = std::min<size_t>(size, 2048);
  auto document = JsonDocument::parse(
      std::string(reinterpret_cast<const char *>(bytes), size), "fuzz");
  if (!document) {
    (void)toText(document.takeError());
    return 0;
  }
  visit(**document, (*document)->root());
  return 0;
}
