//===- StandaloneMain.cpp - a small fuzzer for compilers without libFuzzer ===//
//
// Runs a target on each file of its corpus, then on mutations of them until
// the time is up. Takes libFuzzer's flags -max_total_time=SECONDS, -seed=N and
// -runs=N. An input that crashes is left in `crash-<seed>` in the working
// directory; the same seed gives the same inputs in the same order.
//
//===----------------------------------------------------------------------===//

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <system_error>
#include <unistd.h>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
extern "C" int LLVMFuzzerInitialize(int *argc, char ***argv)
    __attribute__((weak));
extern "C" void __sanitizer_set_death_callback(void (*callback)())
    __attribute__((weak));

using Input = std::vector<uint8_t>;

static constexpr size_t kMaxInputBytes = 1 << 16;

/// What the target is running on, for the crash file.
static const Input *current = nullptr;
static char crashName[64];

/// Only async-signal-safe calls here.
static void saveCurrent() {
  if (!current)
    return;
  int descriptor = ::open(crashName, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (descriptor < 0)
    return;
  ssize_t written = ::write(descriptor, current->data(), current->size());
  (void)written; // There is nothing left to do about a failure.
  ::close(descriptor);
}

static void onCrash(int number) {
  saveCurrent();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

static void run(const Input &input) {
  current = &input;
  LLVMFuzzerTestOneInput(input.data(), input.size());
  current = nullptr;
}

static std::vector<Input> loadCorpus(const std::vector<std::string> &paths) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  std::error_code code;
  for (const std::string &path : paths) {
    if (!fs::is_directory(path, code)) {
      files.push_back(path);
      continue;
    }
    for (fs::recursive_directory_iterator it(path, code), end;
         !code && it != end; it.increment(code))
      if (it->is_regular_file(code))
        files.push_back(it->path().string());
  }
  // The order of a directory is the file system's; the run's must not be.
  std::sort(files.begin(), files.end());
  std::vector<Input> corpus;
  for (const std::string &file : files) {
    std::ifstream stream(file, std::ios::binary);
    Input input((std::istreambuf_iterator<char>(stream)),
                std::istreambuf_iterator<char>());
    corpus.push_back(std::move(input));
  }
  if (corpus.empty())
    corpus.emplace_back();
  return corpus;
}

namespace {
class Mutator {
public:
  Mutator(const std::vector<Input> &corpus, uint64_t seed)
      : corpus(corpus), random(seed) {}

  Input next() {
    Input input = pick();
    for (size_t rounds = 1 + below(4); rounds > 0; --rounds)
      mutate(input);
    if (input.size() > kMaxInputBytes)
      input.resize(kMaxInputBytes);
    return input;
  }

private:
  size_t below(size_t bound) { return bound ? random() % bound : 0; }
  const Input &pick() { return corpus[below(corpus.size())]; }

  void mutate(Input &input) {
    size_t at = below(input.size() + 1);
    auto here = input.begin() + at;
    size_t rest = input.size() - at;
    switch (below(9)) {
    case 0: // One bit.
      if (rest)
        input[at] ^= uint8_t(1u << below(8));
      return;
    case 1: // One byte.
      if (rest)
        input[at] = uint8_t(random());
      return;
    case 2: { // Some bytes more.
      Input fresh(1 + below(8));
      for (uint8_t &byte : fresh)
        byte = uint8_t(random());
      input.insert(here, fresh.begin(), fresh.end());
      return;
    }
    case 3: // Some bytes less.
      input.erase(here, here + below(std::min<size_t>(rest, 32) + 1));
      return;
    case 4: // An end.
      input.resize(at);
      return;
    case 5: { // An integer that hurts, of 1, 2, 4 or 8 bytes.
      static constexpr std::array<uint64_t, 10> kIntegers = {0,
                                                             1,
                                                             uint64_t(-1),
                                                             0x7f,
                                                             0x7fffffff,
                                                             0x80000000,
                                                             0xffffffff,
                                                             0x7fffffffffffffff,
                                                             0x8000000000000000,
                                                             uint64_t(1) << 61};
      uint64_t value = kIntegers[below(kIntegers.size())];
      if (below(2))
        value = below(1024);
      size_t width = size_t(1) << below(4);
      if (rest >= width)
        std::memcpy(input.data() + at, &value, width);
      return;
    }
    case 6: { // A part of another input.
      const Input &other = pick();
      size_t from = below(other.size() + 1);
      size_t length = below(std::min<size_t>(other.size() - from, 64) + 1);
      Input part(other.begin() + from, other.begin() + from + length);
      input.insert(here, part.begin(), part.end());
      return;
    }
    case 7: { // A part twice.
      size_t length = below(std::min<size_t>(rest, 64) + 1);
      Input part(here, here + length);
      input.insert(here, part.begin(), part.end());
      return;
    }
    default: // A digit, where one stands: sizes in text.
      if (rest && input[at] >= '0' && input[at] <= '9')
        input[at] = uint8_t('0' + below(10));
      return;
    }
  }

  const std::vector<Input> &corpus;
  std::mt19937_64 random;
};
} // namespace

int main(int argc, char **argv) {
  if (LLVMFuzzerInitialize)
    LLVMFuzzerInitialize(&argc, &argv);
  double seconds = 10;
  uint64_t seed = std::random_device()(), maxRuns = UINT64_MAX;
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i];
    auto valueOf = [&](const char *name) {
      return flag.rfind(name, 0) == 0 ? flag.c_str() + std::strlen(name)
                                      : nullptr;
    };
    if (const char *value = valueOf("-max_total_time="))
      seconds = std::atof(value);
    else if (const char *value = valueOf("-seed="))
      seed = std::strtoull(value, nullptr, 10);
    else if (const char *value = valueOf("-runs="))
      maxRuns = std::strtoull(value, nullptr, 10);
    else if (flag[0] != '-')
      paths.push_back(flag);
  }
  std::snprintf(crashName, sizeof(crashName), "crash-%llu",
                static_cast<unsigned long long>(seed));
  for (int number : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS, SIGILL})
    std::signal(number, onCrash);
  if (__sanitizer_set_death_callback)
    __sanitizer_set_death_callback(saveCurrent);

  std::vector<Input> corpus = loadCorpus(paths);
  std::printf("seed %llu, %zu inputs in the corpus\n",
              static_cast<unsigned long long>(seed), corpus.size());
  std::fflush(stdout);
  for (const Input &input : corpus)
    run(input);
  Mutator mutator(corpus, seed);
  auto end =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  uint64_t runs = 0;
  for (; runs < maxRuns && std::chrono::steady_clock::now() < end; ++runs)
    run(mutator.next());
  std::printf("%llu runs, no crash\n", static_cast<unsigned long long>(runs));
  return 0;
}
