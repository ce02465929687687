#include "frontend/checkpoint/Config.h"

using namespace moec;

static const JsonValue *findIn(const JsonValue &object, llvm::StringRef key) {
  if (const JsonValue *value = object.find(key))
    return value;
  auto [outer, inner] = key.split('.');
  const JsonValue *nested = inner.empty() ? nullptr : object.find(outer);
  return nested && nested->isObject() ? findIn(*nested, inner) : nullptr;
}

const JsonValue *Config::find(llvm::StringRef key) const {
  return findIn(root(), key);
}

bool Config::has(llvm::StringRef key) const {
  const JsonValue *value = find(key);
  return value && !value->isNull();
}

llvm::Expected<std::optional<int64_t>>
Config::integer(llvm::StringRef key, int64_t min, int64_t max) const {
  if (!has(key))
    return std::nullopt;
  const JsonValue &value = *find(key);
  if (!value.isInteger || value.integer < min || value.integer > max)
    return errorAt(value) << "expected '" << key << "' to be an integer from "
                          << min << " to " << max << ", found "
                          << value.describe();
  return value.integer;
}

llvm::Expected<std::optional<double>>
Config::number(llvm::StringRef key) const {
  if (!has(key))
    return std::nullopt;
  const JsonValue &value = *find(key);
  if (!value.isNumber())
    return errorAt(value) << "expected '" << key << "' to be a number, found "
                          << value.describe();
  return value.number;
}

llvm::Expected<std::optional<bool>> Config::boolean(llvm::StringRef key) const {
  if (!has(key))
    return std::nullopt;
  const JsonValue &value = *find(key);
  if (!value.isBoolean())
    return errorAt(value) << "expected '" << key
                          << "' to be true or false, found "
                          << value.describe();
  return value.boolean;
}

llvm::Expected<std::optional<std::string>>
Config::string(llvm::StringRef key) const {
  if (!has(key))
    return std::nullopt;
  const JsonValue &value = *find(key);
  if (!value.isString())
    return errorAt(value) << "expected '" << key << "' to be a string, found "
                          << value.describe();
  return value.string;
}

llvm::Expected<int64_t> Config::requireInteger(llvm::StringRef key, int64_t min,
                                               int64_t max) const {
  MOEC_ASSIGN(std::optional<int64_t> value, integer(key, min, max));
  if (!value)
    return error(Location::inFile(path()))
           << "expected the setting '" << key << "', found none";
  return *value;
}

Location Config::locationOf(const JsonValue &value) const {
  if (document)
    return document->locate(value);
  return Location::atByte(binaryPath, int64_t(value.offset));
}

Location Config::locationOf(llvm::StringRef key) const {
  const JsonValue *value = find(key);
  return value ? locationOf(*value) : Location::inFile(path());
}

ErrorBuilder Config::errorAt(const JsonValue &value) const {
  if (document)
    return document->errorAt(value);
  return error(locationOf(value));
}

ErrorBuilder Config::errorAt(llvm::StringRef key) const {
  const JsonValue *value = find(key);
  return value ? errorAt(*value) : error(Location::inFile(path()));
}
