#include "ir/support/WholeFile.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/Interrupt.h"
#include "ir/support/Memory.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/Errno.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace moec;

/// What a pipe or a device may give; some never end.
static constexpr size_t kMaxStreamBytes = size_t(1) << 30;
static constexpr size_t kPieceBytes = size_t(1) << 18;
/// A signal does not wake every wait.
static constexpr int kWaitMilliseconds = 50;

llvm::Expected<std::string> moec::readWholeFile(llvm::StringRef path) {
  Location loc = Location::inFile(path.str());
  auto systemError = [&](int number) {
    return error(loc) << "cannot be read: " << llvm::sys::StrError(number);
  };
  int descriptor = STDIN_FILENO;
  // O_NONBLOCK: of a FIFO that nobody writes to, the wait is below.
  if (path != "-")
    descriptor = ::open(path.str().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0)
    return systemError(errno);
  auto close = llvm::make_scope_exit([&] {
    if (path != "-")
      ::close(descriptor);
  });
  struct stat status;
  if (::fstat(descriptor, &status))
    return systemError(errno);
  bool isFile = S_ISREG(status.st_mode);
  if (isFile)
    MOEC_TRY(
        checkFitsMemory(uint64_t(status.st_size), /*elementBytes=*/1, loc));
  std::string text;
  for (;;) {
    MOEC_TRY(checkInterrupt());
    pollfd wanted = {descriptor, POLLIN, 0};
    if (!isFile && ::poll(&wanted, 1, kWaitMilliseconds) <= 0)
      continue;
    size_t size = text.size();
    text.resize(size + kPieceBytes);
    ssize_t got = ::read(descriptor, text.data() + size, kPieceBytes);
    int number = errno;
    text.resize(size + size_t(std::max<ssize_t>(got, 0)));
    if (got < 0 && number != EINTR && number != EAGAIN)
      return systemError(number);
    if (got == 0)
      return text;
    if (!isFile && text.size() > kMaxStreamBytes)
      return error(loc) << "gives more than " << kMaxStreamBytes
                        << " bytes; expects a file where there is so much";
  }
}
