//===- FormKit.h - what the generated tests of op forms share -------------===//
//
// A row of OpForms.def whose values OpReference does not know has a check: a
// function that makes a kernel from a spelling, runs it and compares it with
// what a scalar reference says.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "tests/tools/cudasim/machine/Harness.h"
#include "tools/cudasim/ptx/Forms.h"

#include <gtest/gtest.h>
#include <random>

namespace cudasim::test {

/// A form as it is written, and its parts.
struct Spelling {
  explicit Spelling(const std::string &text);
  bool has(const std::string &word) const;
  /// The first of the words that is there; empty where none is.
  std::string oneOf(std::initializer_list<const char *> candidates) const;
  std::string type() const { return types.empty() ? "b32" : types.back(); }
  unsigned vector() const;

  std::string text;
  std::vector<std::string> words, types;
};

/// Spellings of a pattern in which every alternative occurs, and of those that
/// decide what is computed (all but strengths, scopes and cache hints) every
/// combination.
std::vector<std::string> chosenSpellings(llvm::StringRef pattern);

using FormCheck = void (*)(const Spelling &);
void checkLoad(const Spelling &form);
void checkStore(const Spelling &form);
void checkWindow(const Spelling &form); ///< cvta, cvta.to, isspacep
void checkPrefetch(const Spelling &form);
void checkAsyncCopy(const Spelling &form);
void checkAsyncWait(const Spelling &form);
void checkAtomic(const Spelling &form);
void checkMatrixAccess(const Spelling &form);
void checkMatrixMove(const Spelling &form);
void checkMatrixMultiply(const Spelling &form);
void checkShuffle(const Spelling &form);
void checkVote(const Spelling &form);
void checkMatch(const Spelling &form);
void checkRedux(const Spelling &form);
void checkLanes(const Spelling &form); ///< activemask, elect
void checkBarrier(const Spelling &form);
void checkFence(const Spelling &form);
void checkControl(const Spelling &form);
void checkMove(const Spelling &form);
void checkCarry(const Spelling &form);
void checkThree(const Spelling &form); ///< min and max of three
void checkPairs(const Spelling &form); ///< setp and set of f16x2, bf16x2
void checkFp8(const Spelling &form);

/// OpFormsTest compares the row's values.
bool isTestedByValue(const ptx::FormRow &row);

using Bytes = std::vector<uint8_t>;
constexpr unsigned kRecord = 64; ///< bytes in and out of every thread

/// A kernel k(in, out, rec) around `body`: %t is the thread, %from and %to are
/// the addresses of its records, %in and %out those of the first. There are
/// registers %p, %h, %r, %d, %q by width, each <32>.
std::string formKernel(const std::string &body, const std::string &before = "");

struct Run {
  Bytes out;
  std::optional<Fault> fault;
  template <class T> T at(unsigned thread, unsigned byte) const {
    T value;
    memcpy(&value, out.data() + thread * kRecord + byte, sizeof(T));
    return value;
  }
};
/// Runs it on one block; `out` starts as zeros. Where the module does not load
/// or a fault comes that `mayFault` does not expect, the test fails and `out`
/// is empty.
Run runForm(const Spelling &form, const std::string &ptx, const Bytes &in,
            unsigned threads = 32, bool mayFault = false);

Bytes randomBytes(size_t count, uint32_t seed);
template <class T> void putAt(Bytes &bytes, size_t at, T value) {
  memcpy(bytes.data() + at, &value, sizeof(T));
}
template <class T> T getAt(const Bytes &bytes, size_t at) {
  T value;
  memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

/// Bits of a value of the type in memory.
unsigned memoryBits(const std::string &type);
std::string str(uint64_t number);
/// `%r3`, `%d3` or `%h3`.
std::string reg(unsigned bits, unsigned index);

/// A small float's value, and the bits of the nearest one (ties to even).
/// Formats: f16, bf16, e4m3, e5m2, tf32, f32.
double smallFloat(uint32_t bits, const std::string &type);
uint32_t smallBits(double value, const std::string &type);

} // namespace cudasim::test
