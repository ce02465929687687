#include "ir/support/AtomicFile.h"
#include "ir/support/Diagnostic.h"
#include "ir/support/FileFaults.h"
#include "ir/support/Interrupt.h"
#include "ir/support/MappedFile.h"
#include "ir/support/Parallel.h"
#include "ir/support/WholeFile.h"
#include "tests/ir/support/TemporaryFolder.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace moec;
using ::testing::HasSubstr;

template <typename T> static std::string failure(llvm::Expected<T> result) {
  return result ? "(no error)" : toText(result.takeError());
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  TemporaryFolder folder;
  EXPECT_EQ(failure(MappedFile::open(folder.file("none"))),
            folder.file("none") +
                ": error: cannot open the file: No such file or directory");
  EXPECT_EQ(failure(MappedFile::open(folder.path())),
            folder.path() + ": error: expected a file, found a directory");
  EXPECT_EQ(failure(MappedFile::open(folder.write("empty", ""))),
            folder.file("empty") + ": error: the file is empty");
  EXPECT_THAT(failure(MappedFile::open("/dev/null")),
              HasSubstr("expected a regular file"));
}

TEST(MappedFile, RangesAreChecked) {
  TemporaryFolder folder;
  auto file = MappedFile::open(folder.write("f", "0123456789"));
  ASSERT_TRUE(bool(file));
  auto part = (*file)->range(2, 3, "the header");
  ASSERT_TRUE(bool(part));
  EXPECT_EQ(llvm::toStringRef(*part), "234");
  EXPECT_TRUE(bool((*file)->range(10, 0, "nothing")));
  EXPECT_EQ(failure((*file)->range(8, 3, "the header")),
            folder.file("f") + ": at byte 8: error: the header needs 3 bytes, "
                               "but the file has only 10 in all");
  EXPECT_NE(failure((*file)->range(~uint64_t(0), 2, "x")), "(no error)");
  EXPECT_NE(failure((*file)->range(2, ~uint64_t(0), "x")), "(no error)");
}

TEST(MappedFile, DigestAndDroppedPages) {
  TemporaryFolder folder;
  std::string text(100'000, 'x');
  auto file = MappedFile::open(folder.write("f", text));
  ASSERT_TRUE(bool(file));
  uint64_t lastDone = 0;
  auto digest =
      (*file)->digest([&](uint64_t done, uint64_t total) { lastDone = done; });
  ASSERT_TRUE(bool(digest));
  EXPECT_EQ(*digest, sha256(llvm::StringRef(text)));
  EXPECT_EQ(lastDone, text.size());
  (*file)->dropPages(0, 50'000);
  (*file)->dropPages(99'999, 10'000'000);
  (*file)->dropPages(~uint64_t(0), 1);
  (*file)->prefetch(10, 20'000);
  EXPECT_EQ(llvm::toStringRef((*file)->bytes()), text);
}

TEST(MappedFile, ForLargePages) {
  TemporaryFolder folder;
  for (size_t bytes : {size_t(1), size_t(4096), (size_t(2) << 20) + 5}) {
    std::string text(bytes, 'x');
    text.back() = 'y';
    auto file = MappedFile::open(folder.write("f", text), /*largePages=*/true);
    ASSERT_TRUE(bool(file));
    (*file)->populate(bytes / 2, bytes);
    (*file)->populate(~uint64_t(0), 1);
    EXPECT_EQ(llvm::toStringRef((*file)->bytes()), text);
    EXPECT_EQ(reinterpret_cast<uintptr_t>((*file)->bytes().data()) %
                  (size_t(2) << 20),
              0u);
  }
}

TEST(MappedFile, CutOffWhileItIsRead) {
  TemporaryFolder folder;
  std::string path = folder.write("weights", std::string(20000, 'x'));
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe[1], STDERR_FILENO);
    installFileFaultHandler();
    auto other = MappedFile::open(path);
    auto temporary = AtomicFile::create(folder.file("out"));
    auto file = MappedFile::open(path);
    if (!other || !temporary || !file)
      ::_exit(2);
    other->reset();
    if (::truncate(path.c_str(), 5000))
      ::_exit(2);
    volatile uint8_t byte = (*file)->bytes()[19999];
    (void)byte;
    ::_exit(3);
  }
  ::close(pipe[1]);
  std::string said(1000, 0);
  said.resize(
      size_t(std::max<ssize_t>(0, ::read(pipe[0], said.data(), said.size()))));
  ::close(pipe[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_EQ(said, path + ": error: the file was cut off while it was read: "
                         "expected 20000 bytes, found 5000\n");
  EXPECT_EQ(folder.list(), std::vector<std::string>{"weights"});
}

TEST(AtomicFile, AppearsOnCommitOnly) {
  TemporaryFolder folder;
  folder.write("out", "old");
  {
    auto file = AtomicFile::create(folder.file("out"));
    ASSERT_TRUE(bool(file));
    ASSERT_FALSE(bool(file->append(llvm::StringRef("new "))));
    ASSERT_FALSE(bool(file->append(llvm::StringRef("text"))));
    EXPECT_EQ(folder.read("out"), "old");
    ASSERT_FALSE(bool(file->commit()));
    EXPECT_EQ(folder.read("out"), "new text");
  }
  {
    auto file = AtomicFile::create(folder.file("out"));
    ASSERT_TRUE(bool(file));
    ASSERT_FALSE(bool(file->append(llvm::StringRef("lost"))));
    EXPECT_EQ(folder.list().size(), 2u);
  }
  EXPECT_EQ(folder.read("out"), "new text");
  EXPECT_EQ(folder.list(), std::vector<std::string>{"out"});
}

TEST(AtomicFile, DoesNotAppearAfterAnInterruption) {
  TemporaryFolder folder;
  folder.write("old", "before");
  setInterruptRequested(true);
  for (const char *name : {"old", "new"})
    EXPECT_EQ(toText(writeFileAtomically(folder.file(name), "after")),
              "interrupted");
  setInterruptRequested(false);
  EXPECT_EQ(folder.list(), std::vector<std::string>{"old"});
  EXPECT_EQ(folder.read("old"), "before");
}

TEST(AtomicFile, LinksStay) {
  TemporaryFolder folder;
  folder.write("real", "old");
  ASSERT_EQ(::symlink("real", folder.file("link").c_str()), 0);
  ASSERT_EQ(toText(writeFileAtomically(folder.file("link"), "new")), "");
  EXPECT_EQ(folder.read("real"), "new");
  EXPECT_TRUE(llvm::sys::fs::is_symlink_file(folder.file("link")));
}

TEST(AtomicFile, LinksToWhatIsNotThereYet) {
  TemporaryFolder folder;
  ASSERT_EQ(::mkdir(folder.file("deep").c_str(), 0777), 0);
  ASSERT_EQ(::symlink("deep/target", folder.file("link").c_str()), 0);
  ASSERT_EQ(::symlink("link", folder.file("second").c_str()), 0);
  ASSERT_FALSE(bool(writeFileAtomically(folder.file("second"), "text")));
  auto text = readWholeFile(folder.file("deep/target"));
  ASSERT_TRUE(bool(text));
  EXPECT_EQ(*text, "text");
  EXPECT_TRUE(llvm::sys::fs::is_symlink_file(folder.file("link")));
  // One to itself points nowhere.
  ASSERT_EQ(::symlink("loop", folder.file("loop").c_str()), 0);
  EXPECT_THAT(failure(AtomicFile::create(folder.file("loop"))),
              HasSubstr("cannot create the file"));
}

TEST(AtomicFile, KeepsThePermissionsOfWhatItReplaces) {
  TemporaryFolder folder;
  std::string path = folder.write("f", "old");
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  ASSERT_FALSE(bool(writeFileAtomically(path, "new")));
  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST(AtomicFile, PositionalWritesFromThreads) {
  TemporaryFolder folder;
  auto file = AtomicFile::create(folder.file("out"));
  ASSERT_TRUE(bool(file));
  constexpr uint64_t kPieces = 64, kPieceBytes = 1000;
  ASSERT_FALSE(bool(file->preallocate(kPieces * kPieceBytes)));
  llvm::Error err = parallelFor(kPieces, 4, [&](uint64_t piece) {
    std::vector<uint8_t> bytes(kPieceBytes, uint8_t(piece));
    return file->writeAt(piece * kPieceBytes, bytes);
  });
  ASSERT_FALSE(bool(err));
  ASSERT_FALSE(bool(file->commit()));
  std::string text = folder.read("out");
  ASSERT_EQ(text.size(), kPieces * kPieceBytes);
  for (uint64_t i = 0; i < text.size(); ++i)
    ASSERT_EQ(uint8_t(text[i]), i / kPieceBytes);
}

TEST(AtomicFile, ErrorsNameThePathAndTheReason) {
  TemporaryFolder folder;
  EXPECT_THAT(failure(AtomicFile::create(folder.file("no/such/file"))),
              HasSubstr("cannot create the file: No such file or directory"));
  EXPECT_THAT(failure(AtomicFile::create(folder.path())),
              HasSubstr("a directory has this name"));
  // A device that is always full stands for a full disk.
  auto full = AtomicFile::create("/dev/full");
  ASSERT_TRUE(bool(full));
  EXPECT_EQ(toText(full->append(llvm::StringRef("x"))),
            "/dev/full: error: cannot write: No space left on device");
  auto huge = AtomicFile::create(folder.file("huge"));
  ASSERT_TRUE(bool(huge));
  EXPECT_NE(toText(huge->preallocate(uint64_t(1) << 62)), "");
  huge->discard();
  EXPECT_TRUE(folder.list().empty());
}

TEST(AtomicFile, KeptFilesCanBeResumedByOneProcess) {
  TemporaryFolder folder;
  {
    auto file = AtomicFile::create(folder.file("out"), Uncommitted::keep);
    ASSERT_TRUE(bool(file));
    ASSERT_FALSE(bool(file->append(llvm::StringRef("first"))));
    EXPECT_THAT(
        failure(AtomicFile::create(folder.file("out"), Uncommitted::keep)),
        HasSubstr("another process is writing"));
  }
  EXPECT_TRUE(folder.has("out.partial"));
  auto file = AtomicFile::create(folder.file("out"), Uncommitted::keep);
  ASSERT_TRUE(bool(file));
  std::vector<uint8_t> back(5);
  ASSERT_FALSE(bool(file->readAt(0, back)));
  EXPECT_EQ(llvm::toStringRef(back), "first");
  EXPECT_THAT(toText(file->readAt(3, back)), HasSubstr("found the end"));
  ASSERT_FALSE(bool(file->commit()));
  EXPECT_EQ(folder.list(), std::vector<std::string>{"out"});
}

TEST(AtomicDirectory, AppearsOnCommitOnly) {
  TemporaryFolder folder;
  {
    auto directory = AtomicDirectory::create(folder.file("out") + "/");
    ASSERT_TRUE(bool(directory));
    ASSERT_FALSE(bool(writeFileAtomically(directory->file("a"), "text")));
    EXPECT_FALSE(folder.has("out"));
    ASSERT_FALSE(bool(directory->commit()));
  }
  EXPECT_EQ(folder.read("out/a"), "text");
  EXPECT_THAT(failure(AtomicDirectory::create(folder.file("out"))),
              HasSubstr("expected a new or empty directory, found 'a' in it"));
  {
    auto lost = AtomicDirectory::create(folder.file("lost"));
    ASSERT_TRUE(bool(lost));
    ASSERT_FALSE(bool(writeFileAtomically(lost->file("a"), "text")));
  }
  EXPECT_EQ(folder.list(), std::vector<std::string>{"out"});
  EXPECT_THAT(failure(AtomicDirectory::create(folder.file("out/a"))),
              HasSubstr("a file has this name"));
}

TEST(Interrupt, FirstSignalSetsTheFlagAndLoopsStop) {
  installInterruptHandler();
  std::raise(SIGINT);
  EXPECT_TRUE(interruptRequested());
  for (unsigned threads : {1u, 3u}) {
    llvm::Error err = parallelFor(
        100, threads, [](uint64_t) { return llvm::Error::success(); });
    EXPECT_TRUE(isInterrupted(err));
    EXPECT_EQ(toText(std::move(err)), "interrupted");
  }
  setInterruptRequested(false);
  EXPECT_FALSE(bool(checkInterrupt()));
}

TEST(Interrupt, SecondSignalRemovesTemporariesAndKills) {
  TemporaryFolder folder;
  pid_t child = ::fork();
  if (child == 0) {
    installInterruptHandler();
    auto file = AtomicFile::create(folder.file("out"));
    auto directory = AtomicDirectory::create(folder.file("dir"));
    llvm::Error err = writeFileAtomically(directory->file("inside"), "x");
    if (!file || err || folder.list().size() != 2)
      ::_exit(2);
    std::raise(SIGINT);
    std::raise(SIGINT);
    ::_exit(3);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGINT);
  EXPECT_TRUE(folder.list().empty());
}

/// Runs `work` in a process of its own, and tells how that ended.
static int statusOf(llvm::function_ref<void()> work) {
  pid_t child = ::fork();
  if (child == 0) {
    installInterruptHandler();
    work();
    ::_exit(3);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

TEST(Interrupt, WorkThatDoesNotListenEndsAnyway) {
  TemporaryFolder folder;
  int status = statusOf([&] {
    auto file = AtomicFile::create(folder.file("out"));
    if (!file)
      ::_exit(2);
    std::raise(SIGINT);
    for (;;)
      ::pause();
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_TRUE(folder.list().empty());
}

TEST(Interrupt, AClearedFlagEndsNothing) {
  int status = statusOf([&] {
    std::raise(SIGINT);
    setInterruptRequested(false);
    ::usleep(1'200'000);
    ::_exit(0);
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(WholeFile, FilesPipesAndWhatIsNeither) {
  TemporaryFolder folder;
  std::string text(1'000'000, 'x');
  auto file = readWholeFile(folder.write("f", text));
  ASSERT_TRUE(bool(file));
  EXPECT_EQ(*file, text);
  auto empty = readWholeFile("/dev/null");
  ASSERT_TRUE(bool(empty));
  EXPECT_EQ(*empty, "");
  EXPECT_EQ(failure(readWholeFile(folder.file("none"))),
            folder.file("none") +
                ": error: cannot be read: No such file or directory");
  EXPECT_THAT(failure(readWholeFile(folder.path())),
              HasSubstr("cannot be read: Is a directory"));
  std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0666), 0);
  std::thread writer([&] {
    // Nobody writes at first, then somebody slowly.
    ::usleep(100'000);
    int descriptor = ::open(pipe.c_str(), O_WRONLY);
    for (size_t at = 0; at < text.size();) {
      ssize_t done = ::write(descriptor, text.data() + at,
                             std::min<size_t>(text.size() - at, 99'999));
      at += size_t(std::max<ssize_t>(done, 0));
    }
    ::close(descriptor);
  });
  auto piped = readWholeFile(pipe);
  writer.join();
  ASSERT_TRUE(bool(piped));
  EXPECT_EQ(*piped, text);
}

TEST(WholeFile, WaitingEndsWithTheFirstSignal) {
  TemporaryFolder folder;
  std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0666), 0);
  for (bool hasWriter : {false, true}) {
    int status = statusOf([&] {
      int writer = hasWriter ? ::open(pipe.c_str(), O_RDWR) : -1;
      std::thread([] {
        ::usleep(100'000);
        ::kill(::getpid(), SIGINT);
      }).detach();
      auto text = readWholeFile(pipe);
      ::close(writer);
      ::_exit(!text && isInterrupted(text.takeError()) ? 7 : 8);
    });
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 7) << hasWriter;
  }
}

TEST(Parallel, RunsEachItemOnceAndReportsTheLowestFailure) {
  std::vector<std::atomic<int>> runs(1000);
  llvm::Error err = parallelFor(1000, 4, [&](uint64_t i) {
    ++runs[i];
    return llvm::Error::success();
  });
  ASSERT_FALSE(bool(err));
  for (auto &count : runs)
    EXPECT_EQ(count, 1);
  for (unsigned threads : {1u, 4u}) {
    llvm::Error failed =
        parallelFor(1000, threads, [&](uint64_t i) -> llvm::Error {
          if (i >= 500)
            return error() << "item " << i;
          return llvm::Error::success();
        });
    EXPECT_EQ(toText(std::move(failed)), "error: item 500");
  }
  EXPECT_GE(defaultThreads(), 1u);
}
