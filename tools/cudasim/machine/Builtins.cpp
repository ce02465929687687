//===- Builtins.cpp - vprintf, __assertfail, malloc and free --------------===//

#include "tools/cudasim/machine/Machine.h"

#include "llvm/ADT/StringExtras.h"

#include <cinttypes>
#include <cstdio>

using namespace cudasim;

namespace {

constexpr size_t kMaxString = 1 << 16;

/// Reads a thread's memory by generic address.
class ThreadMemory {
public:
  ThreadMemory(const Grid::Impl &grid, const WarpState &warp, uint32_t lane)
      : grid(grid), warp(warp), lane(lane) {}

  bool read(uint64_t address, void *to, size_t bytes) const {
    if (address - kLocalWindow < kWindowBytes) {
      uint64_t at = address - kLocalWindow;
      if (at > warp.localStride || warp.localStride - at < bytes)
        return false;
      memcpy(to, warp.local + size_t(lane) * warp.localStride + at, bytes);
      return true;
    }
    if (address - kSharedWindow < kWindowBytes) {
      uint64_t at = address - kSharedWindow;
      if (at > warp.sharedBytes || warp.sharedBytes - at < bytes)
        return false;
      memcpy(to, warp.shared + at, bytes);
      return true;
    }
    if (grid.memory->check(grid.device, address, bytes, false))
      return false;
    memcpy(to, grid.memory->hostView(address), bytes);
    return true;
  }
  /// Up to the terminating zero.
  bool readString(uint64_t address, std::string &to) const {
    for (size_t i = 0; i < kMaxString; ++i) {
      char c;
      if (!read(address + i, &c, 1))
        return false;
      if (!c)
        return true;
      to += c;
    }
    return false;
  }

private:
  const Grid::Impl &grid;
  const WarpState &warp;
  uint32_t lane;
};

/// Formats as C does; arguments lie at their natural alignment, as the
/// compiler stored them. The number of conversions, or -1 at an address that
/// cannot be read.
int format(const ThreadMemory &memory, const std::string &pattern,
           uint64_t arguments, std::string &out) {
  uint64_t at = arguments;
  int conversions = 0;
  auto fetch = [&](void *to, size_t bytes) {
    at = (at + bytes - 1) / bytes * bytes;
    bool good = memory.read(at, to, bytes);
    at += bytes;
    return good;
  };
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      out += pattern[i];
      continue;
    }
    if (i + 1 < pattern.size() && pattern[i + 1] == '%') {
      out += '%';
      ++i;
      continue;
    }
    // %[flags][width][.precision][length]kind; only what is rebuilt below is
    // ever handed to the host's printf.
    std::string flags;
    size_t j = i + 1;
    while (j < pattern.size() && llvm::StringRef("-+ #0").contains(pattern[j]))
      flags += pattern[j++];
    auto number = [&](int &value) {
      if (j < pattern.size() && pattern[j] == '*') {
        int32_t given = 0;
        ++j;
        if (!fetch(&given, 4))
          return false;
        value = given;
        return true;
      }
      while (j < pattern.size() && llvm::isDigit(pattern[j]))
        value = std::min(value * 10 + (pattern[j++] - '0'), 4096);
      return true;
    };
    int width = 0, precision = -1;
    if (!number(width))
      return -1;
    if (j < pattern.size() && pattern[j] == '.') {
      ++j;
      precision = 0;
      if (!number(precision))
        return -1;
    }
    width = std::clamp(width, -4096, 4096);
    precision = std::min(precision, 4096);
    int longs = 0;
    while (j < pattern.size() &&
           llvm::StringRef("hljztL").contains(pattern[j])) {
      longs += pattern[j] == 'l' || pattern[j] == 'j' || pattern[j] == 'z' ||
               pattern[j] == 't';
      ++j;
    }
    if (j >= pattern.size()) {
      out += pattern.substr(i);
      break;
    }
    char kind = pattern[j];
    i = j;
    ++conversions;
    char buffer[8448];
    std::string spec = "%" + flags + "*.*";
    switch (kind) {
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o':
    case 'c': {
      int64_t value = 0;
      if (longs) {
        if (!fetch(&value, 8))
          return -1;
      } else {
        int32_t narrow = 0;
        if (!fetch(&narrow, 4))
          return -1;
        value = kind == 'd' || kind == 'i' || kind == 'c'
                    ? int64_t(narrow)
                    : int64_t(uint32_t(narrow));
      }
      if (kind == 'c') {
        spec = "%" + flags + "*c";
        snprintf(buffer, sizeof(buffer), spec.c_str(), width, int(value));
      } else {
        spec += std::string("ll") + kind;
        snprintf(buffer, sizeof(buffer), spec.c_str(), width, precision,
                 static_cast<long long>(value));
      }
      out += buffer;
      break;
    }
    case 'f':
    case 'F':
    case 'e':
    case 'E':
    case 'g':
    case 'G':
    case 'a':
    case 'A': {
      double value = 0;
      if (!fetch(&value, 8))
        return -1;
      spec += kind;
      snprintf(buffer, sizeof(buffer), spec.c_str(), width, precision, value);
      out += buffer;
      break;
    }
    case 'p': {
      uint64_t value = 0;
      if (!fetch(&value, 8))
        return -1;
      snprintf(buffer, sizeof(buffer), "0x%" PRIx64, value);
      out += buffer;
      break;
    }
    case 's': {
      uint64_t address = 0;
      std::string text;
      if (!fetch(&address, 8) || !memory.readString(address, text))
        return -1;
      if (precision >= 0)
        text.resize(std::min(text.size(), size_t(precision)));
      size_t pad = size_t(std::abs(width));
      if (text.size() < pad) {
        bool left = width < 0 || flags.find('-') != std::string::npos;
        text.insert(left ? text.size() : 0, pad - text.size(), ' ');
      }
      out += text;
      break;
    }
    default:
      out += '%';
      out += kind;
      break;
    }
  }
  return conversions;
}

} // namespace

bool Grid::Impl::callBuiltin(WarpState &warp, const CallInfo &call,
                             uint32_t mask, uint32_t pc) {
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    if (!(mask >> lane & 1))
      continue;
    uint8_t *frame =
        warp.local + size_t(lane) * warp.localStride + warp.localBase;
    auto argument = [&](size_t index) {
      uint64_t value = 0;
      const CallInfo::Move &move = call.arguments[index];
      memcpy(&value, frame + move.from, std::min<uint32_t>(move.bytes, 8));
      return value;
    };
    auto answer = [&](uint64_t value) {
      if (!call.results.empty())
        memcpy(frame + call.results[0].to, &value,
               std::min<uint32_t>(call.results[0].bytes, 8));
    };
    ThreadMemory memoryOf(*this, warp, lane);
    auto fail = [&](ErrorCode error, std::string message) {
      raise(&warp, lane, pc, error, std::move(message));
      warp.faulted = true;
      return false;
    };
    switch (call.builtin) {
    case Builtin::Printf: {
      if (call.arguments.size() != 2)
        return fail(ErrorCode::LaunchFailed, "vprintf takes two parameters");
      std::string pattern, out;
      if (!memoryOf.readString(argument(0), pattern))
        return fail(ErrorCode::IllegalAddress,
                    "printf: the format is at an address that cannot be read");
      int count = format(memoryOf, pattern, argument(1), out);
      if (count < 0)
        return fail(ErrorCode::IllegalAddress,
                    "printf: an argument of \"" + pattern +
                        "\" is at an address that cannot be read");
      if (print)
        print(out);
      answer(uint64_t(uint32_t(count)));
      break;
    }
    case Builtin::AssertFail: {
      if (call.arguments.size() < 4)
        return fail(ErrorCode::Assert, "assertion failed");
      std::string what, file, function;
      memoryOf.readString(argument(0), what);
      memoryOf.readString(argument(1), file);
      memoryOf.readString(argument(3), function);
      return fail(ErrorCode::Assert, "assertion '" + what + "' failed at " +
                                         file + ":" +
                                         std::to_string(uint32_t(argument(2))) +
                                         " in " + function);
    }
    case Builtin::Malloc: {
      uint64_t bytes = call.arguments.empty() ? 0 : argument(0);
      answer(memory->allocate(device, bytes, "device malloc").value_or(0));
      break;
    }
    case Builtin::Free: {
      uint64_t address = call.arguments.empty() ? 0 : argument(0);
      if (address)
        if (auto refused = memory->free(address))
          return fail(ErrorCode::LaunchFailed, refused->message);
      break;
    }
    case Builtin::None:
      break;
    }
  }
  if ((call.builtin == Builtin::Malloc || call.builtin == Builtin::Free) &&
      memory->generation() != windowGeneration) {
    windowGeneration = memory->generation();
    std::fill(windows.begin(), windows.end(), AddressWindow());
  }
  return true;
}
