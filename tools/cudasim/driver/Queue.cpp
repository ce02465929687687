#include "tools/cudasim/driver/Queue.h"

#include "tools/cudasim/driver/Driver.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <chrono>

using namespace llvm;

namespace cudasim::driver {

/// More than this is never left pending: the oldest are run first.
static constexpr size_t kMostPending = 512;
static constexpr size_t kNone = size_t(-1);
static constexpr uint64_t kNapMs = 2;

void Queue::configure(uint64_t newSeed, uint64_t newHangMs) {
  seed = newSeed;
  hangMs = newHangMs;
  random.seed(newSeed);
}

bool Queue::mayRun(const Op &op) {
  if (op.running || op.done)
    return false;
  for (const OpRef &before : op.after)
    if (!before->done)
      return false;
  return !op.ready || const_cast<Op &>(op).ready();
}

OpRef Queue::submit(OpRef op) {
  op->serial = nextSerial++;
  ++ticks;
  // What is done needs no edge, but its time counts.
  for (const OpRef &before : op->after)
    op->startMicros = std::max(op->startMicros, before->endMicros);
  erase_if(op->after, [](const OpRef &before) { return before->done; });
  if (!op->run && op->after.empty() && !op->ready) {
    op->done = true;
    op->endMicros = op->startMicros;
    return op;
  }
  pending.push_back(op);
  progress.notify_all();
  if (seed != 0 && random() % 8 == 0)
    runOne(nullptr);
  while (pending.size() > kMostPending)
    if (!runOne(nullptr))
      break;
  return op;
}

// The index in `pending` of what runs next, or kNone. With seed 0 the oldest
// that the target needs; otherwise any that may run.
size_t Queue::pick(const Op *target) {
  if (seed == 0) {
    if (!target) {
      size_t spinning = kNone;
      for (size_t i = 0; i != pending.size(); ++i)
        if (mayRun(*pending[i])) {
          if (!pending[i]->spins)
            return i;
          spinning = std::min(spinning, i);
        }
      return spinning;
    }
    SmallPtrSet<const Op *, 32> needed;
    SmallVector<const Op *, 32> open = {target};
    while (!open.empty()) {
      const Op *op = open.pop_back_val();
      if (op->done || !needed.insert(op).second)
        continue;
      for (const OpRef &before : op->after)
        open.push_back(before.get());
    }
    for (size_t i = 0; i != pending.size(); ++i)
      if (needed.contains(pending[i].get()) && !pending[i]->spins &&
          mayRun(*pending[i]))
        return i;
    // What the target waits for need not be its ancestor: the peers of a
    // collective are in other streams, and a kernel may spin until another
    // has written. Then whatever may run, runs.
    return pick(nullptr);
  }
  SmallVector<size_t, 32> ready;
  for (size_t i = 0; i != pending.size(); ++i)
    if (mayRun(*pending[i]))
      ready.push_back(i);
  return ready.empty() ? kNone : ready[random() % ready.size()];
}

void Queue::finish(Op &op, Outcome outcome) {
  op.status = outcome.status;
  op.endMicros = op.startMicros + outcome.micros;
  op.done = true;
  op.after.clear();
  op.run = nullptr;
  op.ready = nullptr;
  op.explain = nullptr;
  ++ticks;
}

void Queue::execute(OpRef op) {
  for (const OpRef &before : op->after)
    op->startMicros = std::max(op->startMicros, before->endMicros);
  op->running = true;
  Outcome outcome;
  if (op->run) {
    ++running;
    if (op->callsHost) {
      // The program may take locks of its own in there, which another thread
      // holds while it calls us.
      mutex.unlock();
      outcome = op->run();
      mutex.lock();
    } else {
      outcome = op->run();
    }
    --running;
  }
  op->running = false;
  auto at = llvm::find(pending, op);
  if (at != pending.end())
    pending.erase(at);
  if (outcome.again) {
    // Its turn comes again behind all others. It counts as progress: a kernel
    // that spins for ever ends by its budget, not by the clock.
    ++ticks;
    op->spins = true;
    pending.push_back(std::move(op));
    return;
  }
  finish(*op, outcome);
  if (outcome.status != CUDA_SUCCESS && op->ctx)
    driver().poison(op->ctx, outcome.status);
  progress.notify_all();
}

bool Queue::runOne(const Op *target) {
  size_t at = pick(target);
  if (at == kNone)
    return false;
  execute(pending[at]);
  return true;
}

void Queue::nudge(const OpRef &op) { runOne(op.get()); }

void Queue::notify() {
  ++ticks;
  progress.notify_all();
}

// Sleeps a little while nothing may run; false once nothing has happened for
// the time of a deadlock. Short naps, because the host may also write a word
// that a stream waits for without telling us; and naps are what counts, not the
// clock, because on a busy machine the thread that we wait for gets its turn as
// seldom as we do.
bool Queue::rest(Patience &patience) {
  // A host function that runs in another thread is progress, however long.
  if (ticks != patience.ticks || running != 0)
    patience = {ticks, /*naps=*/0};
  else if (++patience.naps * kNapMs > hangMs)
    return false;
  std::unique_lock<Mutex> lock(mutex, std::adopt_lock);
  progress.wait_for(lock, std::chrono::milliseconds(kNapMs));
  lock.release();
  return true;
}

bool Queue::waitUntil(function_ref<bool()> holds) {
  Patience patience;
  while (!holds())
    if (!runOne(nullptr) && !rest(patience))
      return false;
  return true;
}

CUresult Queue::wait(const OpRef &op) {
  Patience patience;
  while (!op->done) {
    if (runOne(op.get()) || rest(patience))
      continue;
    reportHang(op.get());
    driver().poison(op->ctx, CUDA_ERROR_LAUNCH_TIMEOUT);
    return CUDA_ERROR_LAUNCH_TIMEOUT;
  }
  return op->status;
}

CUresult Queue::waitAll(CUcontext ctx) {
  CUresult status = CUDA_SUCCESS;
  while (true) {
    auto at = find_if(pending, [&](const OpRef &op) { return op->ctx == ctx; });
    if (at == pending.end())
      return status;
    CUresult one = wait(OpRef(*at));
    if (status == CUDA_SUCCESS)
      status = one;
  }
}

void Queue::drop(CUcontext ctx, CUresult status) {
  for (const OpRef &op : pending)
    if (op->ctx == ctx && !op->running) {
      op->endMicros = op->startMicros;
      finish(*op, {status, 0});
    }
  erase_if(pending, [](const OpRef &op) { return op->done; });
  progress.notify_all();
}

void Queue::reportHang(const Op *target) {
  std::string text;
  raw_string_ostream os(text);
  os << "deadlock: nothing has moved for " << hangMs << " ms while waiting for "
     << target->label << "\n";
  unsigned listed = 0;
  for (const OpRef &op : pending) {
    if (listed++ == 16) {
      os << "  ... and " << pending.size() - 16 << " more\n";
      break;
    }
    os << "  #" << op->serial << " " << op->label;
    bool blocked = false;
    for (const OpRef &before : op->after)
      if (!before->done) {
        os << (blocked ? ", #" : " waits for #") << before->serial;
        blocked = true;
      }
    if (!blocked && op->explain)
      os << ": " << op->explain();
    os << "\n";
  }
  driver().report(os.str());
}

} // namespace cudasim::driver
