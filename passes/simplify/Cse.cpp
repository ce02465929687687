//===- Cse.cpp - common subexpressions ------------------------------------===//
//
// Before:  %a = linear %x, @w       After:  %a = linear %x, @w
//          %b = linear %x, @w               %c = add %a, %a
//          %c = add %a, %b
//
// Why:     importers that mirror a model's modules repeat small things, such
//          as casts of one input.
// Legal:   only for ops that make no version of a state and have no body;
//          kind, operands, attributes and result types must be equal. Two
//          routes never are: each defines a ragged dimension of its own.
// Order:   after simplify; before the passes that match ops with one reader.
//
//===----------------------------------------------------------------------===//

#include "ir/core/Module.h"
#include "ir/ops/OpInfo.h"
#include "passes/Passes.h"
#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/STLExtras.h"

#include <unordered_map>

using namespace moec;

/// Equal for ops that are the same; `attrs` is the text of the attributes.
static size_t hashOf(const Operation &op, llvm::StringRef attrs) {
  llvm::hash_code hash = llvm::hash_combine(unsigned(op.kind()), attrs);
  for (Value operand : op.operands())
    hash = llvm::hash_combine(hash, operand.get());
  return hash;
}

static bool isSame(const Operation &a, const Operation &b) {
  return a.kind() == b.kind() && a.operands() == b.operands() &&
         llvm::equal(a.results(), b.results(),
                     [](Value x, Value y) { return x.type() == y.type(); });
}

static bool mayMerge(const Operation &op) {
  return isPure(op) && !op.body() && op.numResults() &&
         llvm::none_of(op.results(), [](Value v) { return v.state(); });
}

namespace {
struct Cse final : Pass {
  llvm::Error run(Module &module, PassContext &context) override {
    for (const auto &program : module.programs())
      runOnBlock(program->body(), context);
    return llvm::Error::success();
  }

private:
  struct Seen {
    Operation *op;
    std::string attrs;
  };

  static void runOnBlock(Block &block, PassContext &context) {
    // Looked up only, never walked: its order does not reach the output.
    std::unordered_multimap<size_t, Seen> known;
    for (Operation &op : llvm::make_early_inc_range(block.ops())) {
      if (op.body())
        runOnBlock(*op.body(), context);
      if (!mayMerge(op))
        continue;
      std::string attrs = op.attrs().str();
      size_t hash = hashOf(op, attrs);
      auto [first, last] = known.equal_range(hash);
      auto same = std::find_if(first, last, [&](const auto &entry) {
        return entry.second.attrs == attrs && isSame(*entry.second.op, op);
      });
      if (same == last) {
        known.insert({hash, {&op, std::move(attrs)}});
        continue;
      }
      for (auto [mine, theirs] :
           llvm::zip(op.results(), same->second.op->results()))
        mine.replaceAllUsesWith(theirs);
      op.erase();
      context.count("merged");
    }
  }
};
} // namespace

std::unique_ptr<Pass> moec::createCse() { return std::make_unique<Cse>(); }
