#include "ir/binary/AttrValue.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace moec;

namespace {
class Collector final : public AttrVisitor {
public:
  std::vector<AttrValue> values;

  void field(llvm::StringRef name, int64_t &value) override {
    add(name, fb::AttrKind::integer).integer = value;
  }
  void field(llvm::StringRef name, double &value) override {
    add(name, fb::AttrKind::real).real = value;
  }
  void field(llvm::StringRef name, bool &value) override {
    add(name, fb::AttrKind::boolean).integer = value;
  }
  void field(llvm::StringRef name, std::string &value) override {
    add(name, fb::AttrKind::text).text = value;
  }
  void field(llvm::StringRef name, ElementType &value) override {
    add(name, fb::AttrKind::name).text = elementTypeName(value).str();
  }
  void field(llvm::StringRef name, std::vector<int64_t> &value) override {
    add(name, fb::AttrKind::integers).integers = value;
  }
  void field(llvm::StringRef name, std::vector<double> &value) override {
    add(name, fb::AttrKind::reals).reals = value;
  }
  void enumField(llvm::StringRef name, unsigned &value,
                 llvm::ArrayRef<llvm::StringRef> names) override {
    add(name, fb::AttrKind::name).text = names[value].str();
  }

private:
  AttrValue &add(llvm::StringRef name, fb::AttrKind kind) {
    AttrValue &value = values.emplace_back();
    value.name = name.str();
    value.kind = kind;
    return value;
  }
};

/// Gives fields the values that were read.
class Setter final : public AttrVisitor {
public:
  explicit Setter(const std::vector<AttrValue> &values)
      : values(values), taken(values.size()) {}

  std::string problem() const {
    if (!wrongText.empty())
      return wrongText;
    for (auto [value, used] : llvm::zip(values, taken))
      if (!used)
        return "there is no attribute '" + value.name + "' here";
    return "";
  }

  void field(llvm::StringRef name, int64_t &value) override {
    if (const AttrValue *own = find(name, fb::AttrKind::integer))
      value = own->integer;
  }
  void field(llvm::StringRef name, double &value) override {
    if (const AttrValue *own = find(name, fb::AttrKind::real))
      value = own->real;
  }
  void field(llvm::StringRef name, bool &value) override {
    if (const AttrValue *own = find(name, fb::AttrKind::boolean))
      value = own->integer != 0;
  }
  void field(llvm::StringRef name, std::string &value) override {
    if (const AttrValue *own = find(name, fb::AttrKind::text))
      value = own->text;
  }
  void field(llvm::StringRef name, ElementType &value) override {
    const AttrValue *own = find(name, fb::AttrKind::name);
    if (!own)
      return;
    if (auto element = parseElementType(own->text))
      value = *element;
    else
      wrong(name, "an element type", own->text);
  }
  void field(llvm::StringRef name, std::vector<int64_t> &value) override {
    if (const AttrValue *own = find(name, fb::AttrKind::integers))
      value = own->integers;
  }
  void field(llvm::StringRef name, std::vector<double> &value) override {
    if (const AttrValue *own = find(name, fb::AttrKind::reals))
      value = own->reals;
  }
  void enumField(llvm::StringRef name, unsigned &value,
                 llvm::ArrayRef<llvm::StringRef> names) override {
    const AttrValue *own = find(name, fb::AttrKind::name);
    if (!own)
      return;
    auto at = llvm::find(names, own->text);
    if (at == names.end())
      return wrong(name, "one of " + llvm::join(names, ", "), own->text);
    value = at - names.begin();
  }

private:
  const AttrValue *find(llvm::StringRef name, fb::AttrKind kind) {
    const AttrValue *found = nullptr;
    for (auto [value, used] : llvm::zip(values, taken)) {
      if (value.name != name)
        continue;
      used = true;
      if (value.kind != kind)
        wrong(name, fb::EnumNameAttrKind(kind),
              fb::EnumNameAttrKind(value.kind));
      else
        found = &value;
    }
    return found;
  }
  void wrong(llvm::StringRef name, llvm::StringRef expected,
             llvm::StringRef found) {
    if (wrongText.empty())
      wrongText = ("attribute '" + name + "' is " + expected + ", found '" +
                   found + "'")
                      .str();
  }

  const std::vector<AttrValue> &values;
  std::vector<char> taken;
  std::string wrongText;
};
} // namespace

/// Reals by their bits, so that -0.0 and NaN keep theirs.
static bool sameBits(llvm::ArrayRef<double> a, llvm::ArrayRef<double> b) {
  return llvm::equal(a, b, [](double x, double y) {
    return llvm::bit_cast<uint64_t>(x) == llvm::bit_cast<uint64_t>(y);
  });
}

static bool same(const AttrValue &a, const AttrValue &b) {
  return a.integer == b.integer && sameBits(a.real, b.real) &&
         a.text == b.text && a.integers == b.integers &&
         sameBits(a.reals, b.reals);
}

std::vector<AttrValue> moec::changedFields(const Attributes &attrs) {
  Collector own, defaults;
  attrs.clone()->visit(own);
  attrs.makeDefault()->visit(defaults);
  std::vector<AttrValue> changed;
  for (auto [value, standard] : llvm::zip_equal(own.values, defaults.values))
    if (!same(value, standard))
      changed.push_back(value);
  return changed;
}

std::string moec::setFields(Attributes &attrs,
                            const std::vector<AttrValue> &values) {
  Setter setter(values);
  attrs.visit(setter);
  return setter.problem();
}
