#include "tools/driver/TensorStream.h"

#include "ir/support/Interrupt.h"
#include "ir/support/Parallel.h"
#include "ir/support/QuantizedBlocks.h"
#include "llvm/ADT/STLExtras.h"

#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>

using namespace moec;

/// Rows of each head from half-split to interleaved order.
static void interleaveRows(std::vector<float> &numbers, int64_t rows,
                           int64_t heads) {
  size_t columns = numbers.size() / size_t(rows);
  int64_t perHead = rows / heads, half = perHead / 2;
  std::vector<float> out(numbers.size());
  for (int64_t row = 0; row < rows; ++row) {
    int64_t head = row / perHead, at = row % perHead;
    int64_t from = head * perHead + at / 2 + (at % 2) * half;
    std::copy_n(numbers.begin() + ptrdiff_t(size_t(from) * columns), columns,
                out.begin() + ptrdiff_t(size_t(row) * columns));
  }
  numbers = std::move(out);
}

/// f16 ends at 65504, where other types go on.
static llvm::Error checkRange(const ExportTensor &tensor,
                              llvm::ArrayRef<float> numbers) {
  if (tensor.type != ElementType::f16)
    return llvm::Error::success();
  for (float number : numbers)
    if (std::isfinite(number) && std::abs(number) >= 65520.0f)
      return error(Location::ofObject(tensor.name))
             << "holds " << number
             << ", which f16 has not; write bf16 or f32 instead";
  return llvm::Error::success();
}

/// What a tensor is computed from, one after the other; a null piece is the
/// tensor's own numbers.
static std::vector<const Expr *> piecesOf(const ExportTensor &tensor) {
  if (!tensor.expr || tensor.interleaveHeads)
    return {tensor.expr.get()};
  return pieces(*tensor.expr);
}

static llvm::Error streamTensor(const ExportTensor &tensor, size_t index,
                                TensorReader &reader, TensorSink &sink) {
  Sha256 digest;
  // In slices, so that encoded bytes never double the memory.
  constexpr size_t kSlice = 1 << 20;
  std::vector<uint8_t> bytes;
  uint64_t offset = 0;
  for (const Expr *part : piecesOf(tensor)) {
    MOEC_TRY(checkInterrupt());
    std::vector<float> numbers = tensor.numbers;
    if (part) {
      MOEC_ASSIGN(numbers, materialize(*part, reader));
    }
    if (tensor.interleaveHeads)
      interleaveRows(numbers, tensor.shape[0], tensor.interleaveHeads);
    MOEC_TRY(checkRange(tensor, numbers));
    for (size_t first = 0; first < numbers.size(); first += kSlice) {
      size_t count = std::min(kSlice, numbers.size() - first);
      bytes.resize(*byteSize(tensor.type, count));
      encodeFromF32(tensor.type, llvm::ArrayRef(numbers).slice(first, count),
                    bytes);
      MOEC_TRY(sink.write(index, offset, bytes));
      digest.update(bytes);
      offset += bytes.size();
    }
  }
  return sink.complete(index, digest.finish());
}

namespace {
/// Elements that may be in work at a time. A piece in work takes a handful of
/// bytes an element, so memory stays near what the largest one needs alone,
/// while threads read, compute and write different tensors.
class WorkBudget {
public:
  explicit WorkBudget(uint64_t most) : most(most) {}
  void take(uint64_t elements) {
    std::unique_lock<std::mutex> lock(mutex);
    freed.wait(lock, [&] { return !used || used + elements <= most; });
    used += elements;
  }
  void give(uint64_t elements) {
    std::lock_guard<std::mutex> lock(mutex);
    used -= elements;
    freed.notify_all();
  }

private:
  const uint64_t most;
  uint64_t used = 0;
  std::mutex mutex;
  std::condition_variable freed;
};
} // namespace

/// Lets threads work side by side on a model of small tensors.
static constexpr uint64_t kElementsBesideLargest = 8 << 20;

llvm::Error moec::streamTensors(llvm::ArrayRef<ExportTensor> tensors,
                                TensorReader &reader, unsigned threads,
                                TensorSink &sink, WorkProgress progress) {
  if (!threads)
    threads = defaultThreads();
  std::vector<uint64_t> elements, largestPieces;
  uint64_t total = 0, largest = 0;
  for (const ExportTensor &tensor : tensors) {
    uint64_t most = 0;
    for (const Expr *part : piecesOf(tensor))
      if (part)
        most = std::max<uint64_t>(most, *part->type.staticElements());
    elements.push_back(*elementCount(tensor.shape));
    largestPieces.push_back(most);
    total += elements.back();
    largest = std::max(largest, most);
  }
  std::atomic<uint64_t> done{0};
  WorkBudget budget(largest + kElementsBesideLargest);
  return parallelFor(
      tensors.size(), threads, [&](uint64_t index) -> llvm::Error {
        MOEC_TRY(checkInterrupt());
        if (!sink.isComplete(index)) {
          budget.take(largestPieces[index]);
          llvm::Error err = streamTensor(tensors[index], index, reader, sink);
          budget.give(largestPieces[index]);
          if (err)
            return withNote(std::move(err),
                            Location::ofObject(tensors[index].name),
                            "while writing this tensor");
        }
        done += elements[index];
        progress(done, total);
        return llvm::Error::success();
      });
}
