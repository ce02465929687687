#include "ir/support/Thread.h"

#include <system_error>

using namespace moec;

std::optional<std::thread> moec::startThread(std::function<void()> body) {
  // The one way in which std::thread tells that it failed.
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error &) {
    return std::nullopt;
  }
}
