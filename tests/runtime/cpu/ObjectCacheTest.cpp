#include "runtime/cpu/ObjectCache.h"

#include "ir/support/Diagnostic.h"
#include "tests/ir/support/TemporaryFolder.h"

#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace moec;
using namespace moec::runtime;

namespace {

Digest keyOf(llvm::StringRef text) { return sha256(text); }

std::vector<uint8_t> content(size_t size, uint8_t fill) {
  return std::vector<uint8_t>(size, fill);
}

class ObjectCacheTest : public testing::Test {
protected:
  ObjectCache open(CacheMode mode = CacheMode::readWrite,
                   uint64_t limit = 1 << 20) {
    return ObjectCache({mode, folder.file("a/cache"), limit});
  }
  static void store(const ObjectCache &cache, llvm::StringRef key,
                    const std::vector<uint8_t> &bytes) {
    llvm::Error err = cache.store(keyOf(key), bytes);
    EXPECT_FALSE(bool(err)) << toText(std::move(err));
  }

  TemporaryFolder folder;
};

TEST_F(ObjectCacheTest, KeepsWhatIsStored) {
  ObjectCache cache = open();
  EXPECT_EQ(cache.find(keyOf("a")), std::nullopt);
  store(cache, "a", content(100, 1));
  store(cache, "b", content(50, 2));
  EXPECT_EQ(cache.find(keyOf("a")), content(100, 1));
  EXPECT_EQ(open().find(keyOf("b")), content(50, 2));
  EXPECT_EQ(cache.find(keyOf("c")), std::nullopt);
}

TEST_F(ObjectCacheTest, ReplacesDamagedEntries) {
  ObjectCache cache = open();
  for (size_t damage = 0; damage < 3; ++damage) {
    store(cache, "a", content(100, 1));
    std::string path = cache.pathOf(keyOf("a"));
    ASSERT_EQ(cache.find(keyOf("a")), content(100, 1));
    if (damage == 0) {
      ASSERT_EQ(truncate(path.c_str(), 90), 0);
    } else if (damage == 1) {
      ASSERT_EQ(truncate(path.c_str(), 0), 0);
    } else {
      FILE *file = std::fopen(path.c_str(), "r+b");
      ASSERT_NE(file, nullptr);
      std::fseek(file, 60, SEEK_SET);
      std::fputc('!', file);
      std::fclose(file);
    }
    EXPECT_EQ(cache.find(keyOf("a")), std::nullopt);
    EXPECT_FALSE(llvm::sys::fs::exists(path)) << "a damaged entry is removed";
  }
}

TEST_F(ObjectCacheTest, ObeysItsMode) {
  ObjectCache off = open(CacheMode::off);
  store(off, "a", content(10, 1));
  EXPECT_FALSE(llvm::sys::fs::exists(folder.file("a")));
  store(open(), "a", content(10, 1));
  EXPECT_EQ(off.find(keyOf("a")), std::nullopt);
  ObjectCache readOnly = open(CacheMode::readOnly);
  EXPECT_EQ(readOnly.find(keyOf("a")), content(10, 1));
  store(readOnly, "b", content(10, 2));
  EXPECT_EQ(open().find(keyOf("b")), std::nullopt);
  // Damaged entries stay where nothing may be written.
  ASSERT_EQ(truncate(readOnly.pathOf(keyOf("a")).c_str(), 20), 0);
  EXPECT_EQ(readOnly.find(keyOf("a")), std::nullopt);
  EXPECT_TRUE(llvm::sys::fs::exists(readOnly.pathOf(keyOf("a"))));
}

TEST_F(ObjectCacheTest, DropsTheLeastRecentlyUsed) {
  ObjectCache cache = open(CacheMode::readWrite, 3500);
  auto setAge = [&](llvm::StringRef key, int seconds) {
    timespec times[2] = {{std::time(nullptr) - seconds, 0},
                         {std::time(nullptr) - seconds, 0}};
    utimensat(AT_FDCWD, cache.pathOf(keyOf(key)).c_str(), times, 0);
  };
  store(cache, "old", content(1000, 1));
  store(cache, "older", content(1000, 2));
  store(cache, "new", content(1000, 3));
  setAge("old", 100);
  setAge("older", 200);
  setAge("new", 50);
  // Reading makes it the most recent.
  EXPECT_EQ(cache.find(keyOf("older")), content(1000, 2));
  store(cache, "newest", content(1000, 4));
  EXPECT_EQ(cache.find(keyOf("old")), std::nullopt);
  EXPECT_NE(cache.find(keyOf("older")), std::nullopt);
  EXPECT_NE(cache.find(keyOf("new")), std::nullopt);
  EXPECT_NE(cache.find(keyOf("newest")), std::nullopt);
  // What does not fit at all is still there for the next start.
  store(cache, "large", content(5000, 5));
  EXPECT_NE(cache.find(keyOf("large")), std::nullopt);
  EXPECT_EQ(cache.find(keyOf("newest")), std::nullopt);
}

TEST_F(ObjectCacheTest, ServesSeveralProcesses) {
  constexpr int kProcesses = 4;
  for (int process = 0; process < kProcesses; ++process) {
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ObjectCache cache = open(CacheMode::readWrite, 40000);
      bool right = true;
      for (int round = 0; round < 20; ++round)
        for (int key = 0; key < 6; ++key) {
          std::string name = std::to_string(key);
          std::vector<uint8_t> expected = content(8000, uint8_t(key));
          auto found = cache.find(keyOf(name));
          right &= !found || *found == expected;
          if (!found)
            if (llvm::Error err = cache.store(keyOf(name), expected)) {
              // Trimming and storing at once may fail, damage may not come.
              llvm::consumeError(std::move(err));
            }
        }
      _exit(right ? 0 : 1);
    }
  }
  for (int process = 0; process < kProcesses; ++process) {
    int status = -1;
    wait(&status);
    EXPECT_EQ(status, 0);
  }
  // How much is left depends on who came when; the folder is in order.
  ObjectCache cache = open(CacheMode::readWrite, 40000);
  for (int key = 0; key < 6; ++key) {
    std::string name = std::to_string(key);
    store(cache, name, content(8000, uint8_t(key)));
    EXPECT_EQ(cache.find(keyOf(name)), content(8000, uint8_t(key)));
  }
  unsigned left = 0;
  for (int key = 0; key < 6; ++key)
    left += cache.find(keyOf(std::to_string(key))).has_value();
  EXPECT_EQ(left, 4u);
}

TEST_F(ObjectCacheTest, SaysWhereItCannotWrite) {
  folder.write("file", "not a folder");
  ObjectCache cache({CacheMode::readWrite, folder.file("file/cache"), 100});
  EXPECT_THAT(toText(cache.store(keyOf("a"), content(10, 1))),
              testing::HasSubstr("file/cache: error: the cache folder cannot "
                                 "be made"));
}

/// Sets a variable, or takes it away; at the end it is as it was.
class Variable {
public:
  Variable(const char *name, const char *value) : name(name) {
    if (const char *found = std::getenv(name))
      before = found;
    set(value);
  }
  ~Variable() { set(before ? before->c_str() : nullptr); }

private:
  void set(const char *value) const {
    if (value)
      setenv(name, value, 1);
    else
      unsetenv(name);
  }

  const char *name;
  std::optional<std::string> before;
};

TEST(CacheOptions, ComeFromTheEnvironment) {
  auto with = [](const char *cache, const char *folder, const char *xdg,
                 const char *home) {
    Variable set[] = {{"MOEC_CACHE", cache},
                      {"MOEC_CACHE_DIR", folder},
                      {"XDG_CACHE_HOME", xdg},
                      {"HOME", home}};
    return cacheOptionsFromEnvironment();
  };
  auto options = with(nullptr, "/c", "/x", "/h");
  EXPECT_EQ(options->directory, "/c");
  EXPECT_EQ(options->mode, CacheMode::readWrite);
  EXPECT_EQ(with("ro", nullptr, "/x", "/h")->directory, "/x/moec");
  EXPECT_EQ(with("ro", nullptr, "/x", "/h")->mode, CacheMode::readOnly);
  EXPECT_EQ(with("rw", nullptr, nullptr, "/h")->directory, "/h/.cache/moec");
  EXPECT_EQ(with(nullptr, nullptr, nullptr, nullptr)->mode, CacheMode::off);
  EXPECT_EQ(with("off", "/c", nullptr, nullptr)->mode, CacheMode::off);
  auto wrong = with("yes", "/c", nullptr, nullptr);
  ASSERT_FALSE(bool(wrong));
  EXPECT_EQ(toText(wrong.takeError()),
            "error: expects MOEC_CACHE to be 'off', 'ro' or 'rw', got 'yes'");
}

} // namespace
