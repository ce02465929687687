#include "runtime/cpu/ReadBandwidth.h"

#include "ir/support/Diagnostic.h"
#include "runtime/cpu/CpuMemory.h"
#include "runtime/cpu/ThreadPool.h"

#include <algorithm>
#include <chrono>
#include <cstring>

using namespace moec;
using namespace moec::runtime;

// One stream leaves a fifth of the bandwidth unused.
static constexpr uint64_t kStreams = 8;
static constexpr uint64_t kChunkBytes = uint64_t(1) << 20;

/// The sum of a chunk's words, read as kStreams streams.
static uint64_t readChunk(const uint8_t *chunk) {
  constexpr uint64_t kWords = kChunkBytes / kStreams / sizeof(uint64_t);
  uint64_t sums[kStreams] = {};
  // A cache line of each stream in turn.
  for (uint64_t word = 0; word < kWords; word += 8)
    for (uint64_t stream = 0; stream < kStreams; ++stream) {
      uint64_t line[8];
      std::memcpy(line, chunk + (stream * kWords + word) * sizeof(uint64_t),
                  sizeof(line));
      for (uint64_t part : line)
        sums[stream] += part;
    }
  uint64_t total = 0;
  for (uint64_t sum : sums)
    total += sum;
  return total;
}

llvm::Expected<double> runtime::measureReadBandwidth(ThreadPool &pool,
                                                     uint64_t bytes,
                                                     unsigned rounds) {
  int64_t chunks = int64_t(std::max(bytes / kChunkBytes, uint64_t(1)));
  uint64_t readBytes = uint64_t(chunks) * kChunkBytes;
  MOEC_ASSIGN(std::unique_ptr<Buffer> buffer, allocateCpuBuffer(readBytes));
  auto *memory = static_cast<uint8_t *>(hostAddress(buffer->address()));
  // Pages that nobody wrote may all be one page of zeros.
  pool.parallelFor(chunks, [&](unsigned, int64_t begin, int64_t end) {
    std::memset(memory + uint64_t(begin) * kChunkBytes, 1,
                uint64_t(end - begin) * kChunkBytes);
  });
  std::atomic<uint64_t> sink = 0;
  double best = 0;
  for (unsigned round = 0; round < std::max(rounds, 1u); ++round) {
    auto start = std::chrono::steady_clock::now();
    pool.parallelFor(chunks, [&](unsigned, int64_t begin, int64_t end) {
      uint64_t sum = 0;
      for (int64_t chunk = begin; chunk < end; ++chunk)
        sum += readChunk(memory + uint64_t(chunk) * kChunkBytes);
      sink += sum;
    });
    double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count();
    best = std::max(best, double(readBytes) / std::max(seconds, 1e-9));
  }
  if (sink % 8 != 0)
    return error() << "memory does not hold what was written to it";
  return best;
}
