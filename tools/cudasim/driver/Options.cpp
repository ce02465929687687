#include "tools/cudasim/driver/Options.h"

#include "ir/support/Diagnostic.h"
#include "tools/cudasim/driver/Models.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using moec::error;
using moec::Location;

namespace cudasim::driver {

static const StringRef kChecks[] = {"global", "init",     "leaks",
                                    "race",   "redzones", "sync"};

ArrayRef<StringRef> checkNames() { return kChecks; }

namespace {

constexpr unsigned kMaxDevices = 16;

/// One `key=value` and where each half starts.
struct Word {
  StringRef key;
  StringRef value;
  size_t keyAt;
  size_t valueAt;
};

class OptionsParser {
public:
  explicit OptionsParser(StringRef text) : text(text) {}
  Expected<Options> parse();

private:
  Error apply(const Word &word);
  Error parseChecks(const Word &word);
  Error parseDevices(const Word &word);
  Expected<uint64_t> number(const Word &word, uint64_t least, uint64_t most);
  Expected<bool> flag(const Word &word);

  moec::ErrorBuilder at(size_t offset) {
    Location loc;
    loc.file = "MOEC_CUDASIM";
    loc.line = 1;
    loc.column = unsigned(offset + 1);
    return error(loc).withSource(text.str());
  }

  StringRef text;
  Options options;
  std::vector<const DeviceModel *> named;
  std::optional<uint64_t> count;
  size_t countAt = 0;
};

} // namespace

Expected<uint64_t> OptionsParser::number(const Word &word, uint64_t least,
                                         uint64_t most) {
  uint64_t value = 0;
  if (word.value.getAsInteger(10, value) || value < least || value > most)
    return at(word.valueAt)
           << "'" << word.key << "' is '" << word.value
           << "', but it takes a whole number from " << least << " to " << most;
  return value;
}

Expected<bool> OptionsParser::flag(const Word &word) {
  if (word.value == "0" || word.value == "1")
    return word.value == "1";
  return at(word.valueAt) << "'" << word.key << "' is '" << word.value
                          << "', but it takes 0 or 1";
}

// checks=all, checks=none, or names joined by '+'.
Error OptionsParser::parseChecks(const Word &word) {
  options.checks.clear();
  if (word.value == "none")
    return Error::success();
  if (word.value == "all") {
    for (StringRef name : kChecks)
      options.checks.push_back(name.str());
    return Error::success();
  }
  SmallVector<StringRef, 8> parts;
  word.value.split(parts, '+');
  for (StringRef part : parts) {
    if (!is_contained(kChecks, part))
      return at(word.valueAt + (part.data() - word.value.data()))
             << "there is no check '" << part << "': expected all, none or "
             << llvm::join(checkNames(), "+");
    options.checks.push_back(part.str());
  }
  llvm::sort(options.checks);
  options.checks.erase(llvm::unique(options.checks), options.checks.end());
  return Error::success();
}

Error OptionsParser::parseDevices(const Word &word) {
  SmallVector<StringRef, 8> names;
  word.value.split(names, '+');
  for (StringRef part : names) {
    const DeviceModel *model = findDeviceModel(part);
    if (!model) {
      std::string known;
      for (const PartFacts &each : parts())
        known += (known.empty() ? "" : ", ") + each.key.str();
      return at(word.valueAt + (part.data() - word.value.data()))
             << "there is no device '" << part << "': expected one of "
             << known;
    }
    named.push_back(model);
  }
  if (named.size() > kMaxDevices)
    return at(word.valueAt)
           << "'device' names " << named.size()
           << " devices, but there are at most " << kMaxDevices;
  return Error::success();
}

Error OptionsParser::apply(const Word &word) {
  if (word.key == "checks")
    return parseChecks(word);
  if (word.key == "device")
    return parseDevices(word);
  if (word.key == "devices") {
    MOEC_ASSIGN(count, number(word, 1, kMaxDevices));
    countAt = word.valueAt;
    return Error::success();
  }
  if (word.key == "seed") {
    MOEC_ASSIGN(options.seed, number(word, 0, UINT64_MAX));
    return Error::success();
  }
  if (word.key == "budget") {
    MOEC_ASSIGN(options.budget, number(word, 1, UINT64_MAX));
    return Error::success();
  }
  if (word.key == "hang") {
    MOEC_ASSIGN(options.hangMs, number(word, 1, 86400000));
    return Error::success();
  }
  if (word.key == "perturb") {
    MOEC_ASSIGN(options.perturb, flag(word));
    return Error::success();
  }
  if (word.key == "counters") {
    if (word.value.empty())
      return at(word.valueAt) << "'counters' has no path";
    options.counters = word.value.str();
    return Error::success();
  }
  if (word.key == "fma") {
    if (word.value != "never" && word.value != "greedy")
      return at(word.valueAt)
             << "'fma' is '" << word.value << "', but it takes never or greedy";
    options.contract = word.value == "greedy";
    return Error::success();
  }
  if (word.key == "log") {
    static const StringRef levels[] = {"none", "faults", "errors", "calls"};
    const auto *level = llvm::find(levels, word.value);
    if (level == std::end(levels))
      return at(word.valueAt)
             << "'log' is '" << word.value
             << "', but it takes none, faults, errors or calls";
    options.log = LogLevel(level - levels);
    return Error::success();
  }
  return at(word.keyAt) << "there is no option '" << word.key
                        << "': expected budget, checks, counters, device, "
                           "devices, fma, hang, log, perturb or seed";
}

Expected<Options> OptionsParser::parse() {
  // Bounds, use after free, alignment and peer rules are always checked; of
  // the rest, what costs next to nothing is on unless it is turned off.
  options.checks = {"redzones", "sync"};
  size_t offset = 0;
  while (offset < text.size()) {
    size_t end = std::min(text.find(',', offset), text.size());
    StringRef part = text.slice(offset, end);
    size_t lead = part.size() - part.ltrim().size();
    size_t keyAt = offset + lead;
    part = part.trim();
    size_t equals = part.find('=');
    if (!part.empty()) {
      if (equals == StringRef::npos)
        return at(keyAt) << "expected key=value, found '" << part << "'";
      if (Error err = apply({part.take_front(equals), part.substr(equals + 1),
                             keyAt, keyAt + equals + 1}))
        return std::move(err);
    }
    offset = end + 1;
  }
  if (count && named.size() > 1 && *count != named.size())
    return at(countAt) << "'devices' is " << *count << ", but 'device' names "
                       << named.size();
  if (named.empty())
    named.push_back(&defaultDeviceModel());
  uint64_t wanted = count ? *count : named.size() > 1 ? named.size() : 2;
  options.devices.assign(wanted, named.front());
  if (named.size() > 1)
    options.devices = named;
  return std::move(options);
}

bool Options::hasCheck(StringRef name) const {
  return llvm::is_contained(checks, name);
}

Expected<Options> Options::parse(StringRef text) {
  return OptionsParser(text).parse();
}

} // namespace cudasim::driver
