//===- Attribute.h - typed attributes of ops and weight expressions -------===//
//
// The attributes of an op are one struct with one field list:
//
//   struct RmsNormAttrs : AttrsOf<RmsNormAttrs> {
//     double epsilon = 1e-5;
//     int64_t groups = 1;
//     template <typename V> void fields(V &v) {
//       v.field("epsilon", epsilon);
//       v.field("groups", groups);
//     }
//   };
//
// From that list come printing, parsing, equality, hashing and the binary
// form; no other code names a field by a string. A field that equals its
// default is not printed.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "ir/support/ElementType.h"
#include "ir/support/Numbers.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace moec {

/// What an attribute may be, as the visitors of a field list see it.
class AttrVisitor {
public:
  virtual ~AttrVisitor() = default;
  virtual void field(llvm::StringRef name, int64_t &value) = 0;
  virtual void field(llvm::StringRef name, double &value) = 0;
  virtual void field(llvm::StringRef name, bool &value) = 0;
  virtual void field(llvm::StringRef name, std::string &value) = 0;
  virtual void field(llvm::StringRef name, ElementType &value) = 0;
  virtual void field(llvm::StringRef name, std::vector<int64_t> &value) = 0;
  virtual void field(llvm::StringRef name, std::vector<double> &value) = 0;
  /// An enumeration by its names, in order of value.
  virtual void enumField(llvm::StringRef name, unsigned &value,
                         llvm::ArrayRef<llvm::StringRef> names) = 0;

  template <typename Enum>
    requires std::is_enum_v<Enum> && (!std::is_same_v<Enum, ElementType>)
  void field(llvm::StringRef name, Enum &value) {
    unsigned raw = static_cast<unsigned>(value);
    enumField(name, raw, enumNames(value));
    value = static_cast<Enum>(raw);
  }
};

class Attributes {
public:
  virtual ~Attributes() = default;
  virtual void visit(AttrVisitor &visitor) = 0;
  virtual std::unique_ptr<Attributes> clone() const = 0;
  virtual std::unique_ptr<Attributes> makeDefault() const = 0;

  /// `{k = 2, score = softmax}` without the fields that equal their default;
  /// empty where all do. Two structs of one op are equal if this text is.
  /// Lists are cut after `maxListElements`, 0 keeps them whole.
  std::string str(size_t maxListElements = 0) const;
};

template <typename Derived> struct AttrsOf : Attributes {
  void visit(AttrVisitor &visitor) override {
    static_cast<Derived *>(this)->fields(visitor);
  }
  std::unique_ptr<Attributes> clone() const override {
    return std::make_unique<Derived>(static_cast<const Derived &>(*this));
  }
  std::unique_ptr<Attributes> makeDefault() const override {
    return std::make_unique<Derived>();
  }
};

/// The attributes of an op that has none.
struct NoAttrs final : AttrsOf<NoAttrs> {
  template <typename V> void fields(V &) {}
};

/// Prints a string with quotes and escapes.
std::string quote(llvm::StringRef text);

} // namespace moec
