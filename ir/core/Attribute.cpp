#include "ir/core/Attribute.h"

#include "ir/core/FieldTexts.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace moec;

std::string moec::quote(llvm::StringRef text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\')
      (result += '\\') += c;
    else if (c == '\n')
      result += "\\n";
    else if (c == '\t')
      result += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      (result += "\\x") += llvm::toHex(llvm::StringRef(&c, 1));
    else
      result += c;
  }
  return result + "\"";
}

namespace {
/// Collects each field as text.
class FieldPrinter final : public AttrVisitor {
public:
  std::vector<std::pair<std::string, std::string>> fields;
  size_t maxListElements = 0;

  void field(llvm::StringRef name, int64_t &value) override {
    add(name, std::to_string(value));
  }
  void field(llvm::StringRef name, double &value) override {
    add(name, formatDouble(value));
  }
  void field(llvm::StringRef name, bool &value) override {
    add(name, value ? "true" : "false");
  }
  void field(llvm::StringRef name, std::string &value) override {
    add(name, quote(value));
  }
  void field(llvm::StringRef name, ElementType &value) override {
    add(name, elementTypeName(value).str());
  }
  void field(llvm::StringRef name, std::vector<int64_t> &value) override {
    addList(name, value, [](int64_t v) { return std::to_string(v); });
  }
  void field(llvm::StringRef name, std::vector<double> &value) override {
    addList(name, value, formatDouble);
  }
  void enumField(llvm::StringRef name, unsigned &value,
                 llvm::ArrayRef<llvm::StringRef> names) override {
    assert(value < names.size() && "enumerators and names have one list");
    add(name, names[value].str());
  }

private:
  void add(llvm::StringRef name, std::string text) {
    fields.push_back({name.str(), std::move(text)});
  }
  template <typename T, typename F>
  void addList(llvm::StringRef name, const std::vector<T> &list, F format) {
    bool cut = maxListElements && list.size() > maxListElements;
    llvm::ArrayRef<T> shown =
        llvm::ArrayRef<T>(list).take_front(cut ? maxListElements : list.size());
    std::string text = "[";
    llvm::interleave(
        shown, [&](const T &v) { text += format(v); }, [&] { text += ", "; });
    add(name, text + (cut ? ", ...]" : "]"));
  }
};
} // namespace

std::vector<std::pair<std::string, std::string>>
moec::fieldTexts(const Attributes &attributes, size_t maxListElements) {
  FieldPrinter printer;
  printer.maxListElements = maxListElements;
  attributes.clone()->visit(printer);
  return std::move(printer.fields);
}

std::string Attributes::str(size_t maxListElements) const {
  auto own = fieldTexts(*this, maxListElements);
  auto defaults = fieldTexts(*makeDefault());
  std::string text;
  for (auto [field, standard] : llvm::zip_equal(own, defaults)) {
    if (field.second == standard.second)
      continue;
    text += (text.empty() ? "{" : ", ") + field.first + " = " + field.second;
  }
  return text.empty() ? text : text + "}";
}
