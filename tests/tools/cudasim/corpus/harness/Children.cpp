#include "tests/tools/cudasim/corpus/harness/Children.h"

#include <cstdio>
#include <cstdlib>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

namespace corpus {

/// Reads both pipes until the child has closed them.
static void drain(int output, int errors, ChildResult &result) {
  pollfd files[2] = {{output, POLLIN, 0}, {errors, POLLIN, 0}};
  std::string *texts[2] = {&result.output, &result.errors};
  int open = 2;
  while (open > 0 && poll(files, 2, -1) > 0) {
    for (int i = 0; i < 2; ++i) {
      if (files[i].fd < 0 || !files[i].revents)
        continue;
      char bytes[4096];
      ssize_t count = read(files[i].fd, bytes, sizeof bytes);
      if (count > 0) {
        texts[i]->append(bytes, size_t(count));
        continue;
      }
      close(files[i].fd);
      files[i].fd = -1;
      --open;
    }
  }
}

ChildResult runChild(const std::string &options, bool capture,
                     const std::function<int()> &body, unsigned seconds) {
  ChildResult result;
  int output[2], errors[2];
  if (capture && (pipe(output) != 0 || pipe(errors) != 0)) {
    result.errors = "no pipe could be made";
    return result;
  }
  // Whatever is buffered would otherwise be written by both.
  fflush(nullptr);
  pid_t child = fork();
  if (child == 0) {
    if (capture) {
      dup2(output[1], STDOUT_FILENO);
      dup2(errors[1], STDERR_FILENO);
      for (int end : {output[0], output[1], errors[0], errors[1]})
        close(end);
    }
    setenv("MOEC_CUDASIM", options.c_str(), 1);
    alarm(seconds);
    // exit, not _exit: the simulator reports leaks when the process ends.
    exit(body());
  }
  if (capture) {
    close(output[1]);
    close(errors[1]);
    drain(output[0], errors[0], result);
  }
  int status = 0;
  if (child > 0 && waitpid(child, &status, 0) == child) {
    if (WIFEXITED(status))
      result.status = WEXITSTATUS(status);
    if (WIFSIGNALED(status))
      result.signal = WTERMSIG(status);
  }
  return result;
}

} // namespace corpus
