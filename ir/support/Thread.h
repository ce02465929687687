//===- Thread.h - threads that the system may refuse ----------------------===//
#pragma once

#include <functional>
#include <optional>
#include <thread>

namespace moec {

/// A thread that runs `body`; none where the system gives no more threads.
std::optional<std::thread> startThread(std::function<void()> body);

} // namespace moec
