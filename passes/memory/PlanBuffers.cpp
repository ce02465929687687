#include "passes/memory/PlanBuffers.h"

#include "llvm/ADT/STLExtras.h"

using namespace moec;

static constexpr int64_t kAlignment = 64;

/// Every coefficient rounded up, so that any sum of sizes stays aligned.
static Polynomial aligned(const Polynomial &bytes) {
  Polynomial result;
  for (const Polynomial::Term &term : bytes.terms()) {
    Polynomial product((term.coefficient + kAlignment - 1) / kAlignment *
                       kAlignment);
    for (const DimSymbol *symbol : term.symbols)
      product = product * Polynomial::of(symbol);
    result += product;
  }
  return result;
}

namespace {
struct Slot {
  Polynomial bytes;
  unsigned freeFrom = 0;
};
} // namespace

static bool sameMonomials(const Polynomial &a, const Polynomial &b) {
  return llvm::equal(a.terms(), b.terms(),
                     [](auto &x, auto &y) { return x.symbols == y.symbols; });
}

/// Sum over terms of how much larger `wanted` is than what is there.
static int64_t growth(const Polynomial &there, const Polynomial &wanted) {
  int64_t sum = 0;
  for (auto [have, want] : llvm::zip_equal(there.terms(), wanted.terms()))
    sum += std::max<int64_t>(0, want.coefficient - have.coefficient);
  return sum;
}

static Polynomial maximum(const Polynomial &a, const Polynomial &b) {
  Polynomial result = a;
  for (auto [have, want] : llvm::zip_equal(a.terms(), b.terms()))
    if (want.coefficient > have.coefficient) {
      Polynomial extra(want.coefficient - have.coefficient);
      for (const DimSymbol *symbol : have.symbols)
        extra = extra * Polynomial::of(symbol);
      result += extra;
    }
  return result;
}

BufferPlan moec::planBuffers(llvm::ArrayRef<LiveBuffer> buffers) {
  BufferPlan plan;
  std::vector<Slot> slots;
  std::vector<unsigned> slotOf(buffers.size());
  std::vector<unsigned> order(buffers.size());
  for (unsigned i = 0; i < buffers.size(); ++i)
    order[i] = i;
  llvm::stable_sort(order, [&](unsigned a, unsigned b) {
    return buffers[a].first < buffers[b].first;
  });
  for (unsigned i : order) {
    Polynomial bytes = aligned(buffers[i].bytes);
    plan.unsharedBytes += bytes;
    Slot *best = nullptr;
    for (Slot &slot : slots) {
      if (slot.freeFrom > buffers[i].first || !sameMonomials(slot.bytes, bytes))
        continue;
      // The tightest slot that fits; failing that, the one that grows least.
      auto cost = [&](const Slot &s) {
        return std::pair(growth(s.bytes, bytes), growth(bytes, s.bytes));
      };
      if (!best || cost(slot) < cost(*best))
        best = &slot;
    }
    if (!best) {
      slots.push_back({bytes, 0});
      best = &slots.back();
    }
    best->bytes = maximum(best->bytes, bytes);
    best->freeFrom = buffers[i].last + 1;
    slotOf[i] = best - slots.data();
  }
  std::vector<Polynomial> slotOffsets;
  for (const Slot &slot : slots) {
    slotOffsets.push_back(plan.arenaBytes);
    plan.arenaBytes += slot.bytes;
  }
  for (unsigned slot : slotOf)
    plan.offsets.push_back(slotOffsets[slot]);
  return plan;
}
