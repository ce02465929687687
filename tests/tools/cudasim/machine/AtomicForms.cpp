//===- AtomicForms.cpp - atom and red -------------------------------------===//
//
// Twice for each form: every thread at a place of its own, where old and new
// value are known exactly, and all threads at one place, where only what does
// not depend on their order is compared.
//
//===----------------------------------------------------------------------===//

#include "tests/tools/cudasim/machine/FormKit.h"

#include <cmath>

namespace cudasim::test {
namespace {

using Wide = unsigned __int128;

struct Atomic {
  std::string op, type;
  unsigned bits = 0, count = 1;
  bool isShared = false, hasResult = false, ftz = false;
};

Atomic describe(const Spelling &form) {
  Atomic a;
  a.op = form.oneOf(
      {"add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas"});
  a.type = form.type();
  a.bits = memoryBits(a.type);
  a.count = form.vector();
  a.isShared = form.has("shared") || form.has("shared::cta");
  a.hasResult = form.words[0] == "atom";
  // Only the f32 addition to global memory flushes subnormals.
  a.ftz = a.type == "f32" && form.has("global") && a.count == 1;
  return a;
}

float flushed(float v, bool ftz) {
  return ftz && std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v;
}

uint32_t halfResult(const Atomic &a, const std::string &type, uint32_t old,
                    uint32_t value) {
  double x = smallFloat(old, type), y = smallFloat(value, type);
  if (a.op == "add")
    return smallBits(x + y, type);
  if (std::isnan(x) || std::isnan(y))
    return std::isnan(x) && std::isnan(y) ? 0x7FFF
           : std::isnan(x)                ? value
                                          : old;
  if (x == y) // zeros of two signs are ordered
    return (std::signbit(x) == (a.op == "min")) ? old : value;
  return (x < y) == (a.op == "min") ? old : value;
}

/// One element's new value.
Wide afterwards(const Atomic &a, Wide old, Wide value, Wide swap) {
  if (a.type == "f32") {
    uint32_t bits[2] = {uint32_t(old), uint32_t(value)};
    float v[2];
    memcpy(v, bits, 8);
    v[0] = flushed(flushed(v[0], a.ftz) + flushed(v[1], a.ftz), a.ftz);
    memcpy(bits, v, 4);
    return bits[0];
  }
  if (a.type == "f64") {
    uint64_t bits[2] = {uint64_t(old), uint64_t(value)};
    double v[2];
    memcpy(v, bits, 16);
    v[0] += v[1];
    memcpy(bits, v, 8);
    return bits[0];
  }
  if (a.type == "f16" || a.type == "bf16")
    return halfResult(a, a.type, uint32_t(old), uint32_t(value));
  if (a.type == "f16x2" || a.type == "bf16x2") {
    std::string half = a.type.substr(0, a.type.size() - 2);
    return halfResult(a, half, uint32_t(old) & 0xFFFF,
                      uint32_t(value) & 0xFFFF) |
           halfResult(a, half, uint32_t(old) >> 16, uint32_t(value) >> 16)
               << 16;
  }
  Wide mask = a.bits == 128 ? ~Wide(0) : (Wide(1) << a.bits) - 1;
  // A signed order is the unsigned one with the sign turned.
  Wide turn = a.type[0] == 's' ? Wide(1) << (a.bits - 1) : 0;
  if (a.op == "add")
    return (old + value) & mask;
  if (a.op == "min")
    return (old ^ turn) < (value ^ turn) ? old : value;
  if (a.op == "max")
    return (old ^ turn) > (value ^ turn) ? old : value;
  if (a.op == "and")
    return old & value;
  if (a.op == "or")
    return old | value;
  if (a.op == "xor")
    return old ^ value;
  if (a.op == "inc")
    return old >= value ? 0 : old + 1;
  if (a.op == "dec")
    return old == 0 || old > value ? value : old - 1;
  if (a.op == "exch")
    return value;
  return old == value ? swap : old;
}

/// An operand: moderate floats, so that sums in double are exact.
Wide draw(const Atomic &a, std::mt19937_64 &random, bool small) {
  auto number = [&] { return (double(random() % 4001) - 2000) / 64; };
  auto whole = [&] { return double(random() % 7) - 3; };
  if (a.type == "f32" || a.type == "f64") {
    double v = small ? whole() : number() * 1.3;
    if (a.type == "f64") {
      uint64_t bits;
      memcpy(&bits, &v, 8);
      return bits;
    }
    float f = float(v);
    // Vectors' and generic subnormals are left open by the documents.
    if (!small && (a.ftz || a.isShared) && random() % 4 == 0)
      f = std::ldexp(f, -140);
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return bits;
  }
  if (a.type[0] == 'f' || a.type[0] == 'b') {
    if (a.type == "f16" || a.type == "bf16")
      return smallBits(small ? whole() : number(), a.type);
    if (a.type == "f16x2" || a.type == "bf16x2") {
      std::string half = a.type.substr(0, a.type.size() - 2);
      return Wide(smallBits(small ? whole() : number(), half)) |
             Wide(smallBits(small ? whole() : number(), half)) << 16;
    }
  }
  if (a.op == "inc" || a.op == "dec")
    return small ? 21 : random() % 5;
  Wide mask = a.bits == 128 ? ~Wide(0) : (Wide(1) << a.bits) - 1;
  return (Wide(random()) << 64 | random()) & mask;
}

Wide readWide(const Bytes &bytes, size_t at, unsigned bits) {
  Wide value = 0;
  memcpy(&value, bytes.data() + at, bits / 8);
  return value;
}
void writeWide(Bytes &bytes, size_t at, unsigned bits, Wide value) {
  memcpy(bytes.data() + at, &value, bits / 8);
}

std::string registerFor(const Atomic &a, unsigned index) {
  return a.bits == 128 ? "%q" + str(index % 8) : reg(a.bits, index);
}
std::string list(const Atomic &a, unsigned first) {
  std::string text;
  for (unsigned k = 0; k < a.count; ++k)
    text += (k ? ", " : "") + registerFor(a, first + k);
  return a.count == 1 ? text : "{" + text + "}";
}
std::string load(const Atomic &a, unsigned first, unsigned at) {
  if (a.bits == 128)
    return "ld.global.v2.b64 {%d28, %d29}, [%from+" + str(at) +
           "];\nmov.b128 " + registerFor(a, first) + ", {%d28, %d29};\n";
  std::string text;
  for (unsigned k = 0; k < a.count; ++k)
    text += "ld.global.b" + str(a.bits) + " " + registerFor(a, first + k) +
            ", [%from+" + str(at + k * a.bits / 8) + "];\n";
  return text;
}
std::string store(const Atomic &a, unsigned first, unsigned at) {
  if (a.bits == 128)
    return "mov.b128 {%d28, %d29}, " + registerFor(a, first) +
           ";\nst.global.v2.b64 [%to+" + str(at) + "], {%d28, %d29};\n";
  std::string text;
  for (unsigned k = 0; k < a.count; ++k)
    text += "st.global.b" + str(a.bits) + " [%to+" + str(at + k * a.bits / 8) +
            "], " + registerFor(a, first + k) + ";\n";
  return text;
}

/// Bytes of a record: 0 the memory's value before, 16 the operand, 32 what a
/// cas writes; in the output 0 the memory's value after, 16 the result.
void checkPlaces(const Spelling &form, const Atomic &a, bool together) {
  std::mt19937_64 random(together ? 11 : 12);
  Bytes in(32 * kRecord);
  for (unsigned lane = 0; lane < 32; ++lane)
    for (unsigned k = 0; k < a.count; ++k) {
      unsigned at = lane * kRecord + k * a.bits / 8;
      Wide old = draw(a, random, together), value = draw(a, random, together);
      if (a.op == "cas" && (together || lane % 3 == 0))
        value = together && lane ? readWide(in, k * a.bits / 8, a.bits) : old;
      writeWide(in, at, a.bits, old);
      writeWide(in, at + 16, a.bits, value);
      writeWide(in, at + 32, a.bits, draw(a, random, together));
    }
  // The places begin as the memory's values; with `together` as that of lane 0.
  std::string init, body, after;
  std::string copied = "ld.global.v2.b64 {%d30, %d31}, [%from];\n";
  std::string place;
  std::string first = together ? "setp.ne.u32 %p1, %t, 0;\n" : "";
  std::string guard = together ? "@!%p1 " : "";
  if (a.isShared) {
    place = together ? "s" : "%r31";
    init = "mov.u32 %r31, s;\nshl.b32 %r30, %t, 6;\nadd.u32 %r31, %r31, "
           "%r30;\n" +
           first + copied + guard + "st.shared.v2.b64 [" +
           (together ? std::string("s") : "%r31") +
           "], {%d30, %d31};\nbar.sync 0;\n";
    after = "bar.sync 0;\nld.shared.v2.b64 {%d30, %d31}, [" + place +
            "];\nst.global.v2.b64 [%to], {%d30, %d31};\n";
  } else {
    place = together ? "%out" : "%to";
    init = first + copied + guard + "st.global.v2.b64 [" + place +
           "], {%d30, %d31};\nbar.sync 0;\n";
  }
  body = load(a, 8, 16);
  if (a.op == "cas")
    body += load(a, a.bits == 128 ? 10 : 16, 32);
  body += form.text + " " + (a.hasResult ? list(a, 0) + ", " : "") + "[" +
          place + "], " + (a.bits == 128 ? "%q0" : list(a, 8)) +
          (a.op == "cas" ? ", " + list(a, a.bits == 128 ? 10 : 16) : "") +
          ";\n";
  if (a.hasResult)
    body += store(a, 0, 16);
  Run run = runForm(
      form, formKernel(init + body + after, ".shared .align 16 .b8 s[2048];\n"),
      in);
  if (run.out.empty())
    return;
  for (unsigned k = 0; k < a.count; ++k) {
    unsigned part = k * a.bits / 8;
    if (!together) {
      for (unsigned lane = 0; lane < 32; ++lane) {
        unsigned at = lane * kRecord + part;
        Wide old = readWide(in, at, a.bits);
        Wide want = afterwards(a, old, readWide(in, at + 16, a.bits),
                               readWide(in, at + 32, a.bits));
        ASSERT_TRUE(readWide(run.out, at, a.bits) == want)
            << form.text << ", lane " << lane << ", element " << k << std::hex
            << ": expected 0x" << uint64_t(want) << ", found 0x"
            << uint64_t(readWide(run.out, at, a.bits));
        if (a.hasResult) {
          ASSERT_TRUE(readWide(run.out, at + 16, a.bits) == old)
              << form.text << ", lane " << lane << ", result " << k;
        }
      }
      continue;
    }
    Wide start = readWide(in, part, a.bits),
         found = readWide(run.out, part, a.bits);
    if (a.op == "exch" || a.op == "cas") {
      // One thread's value is in memory, and of a cas only one saw the first.
      unsigned matches = 0, firsts = 0;
      for (unsigned lane = 0; lane < 32; ++lane) {
        matches +=
            found == readWide(in,
                              lane * kRecord + part + (a.op == "cas" ? 32 : 16),
                              a.bits);
        firsts +=
            readWide(run.out, lane * kRecord + part + 16, a.bits) == start;
      }
      ASSERT_GE(matches, 1u) << form.text;
      if (a.hasResult)
        ASSERT_EQ(firsts, 1u) << form.text;
      continue;
    }
    Wide want = start;
    for (unsigned lane = 0; lane < 32; ++lane)
      want = afterwards(a, want,
                        readWide(in, lane * kRecord + part + 16, a.bits), 0);
    ASSERT_TRUE(found == want)
        << form.text << ", all lanes, element " << k << std::hex
        << ": expected 0x" << uint64_t(want) << ", found 0x" << uint64_t(found);
  }
}

} // namespace

void checkAtomic(const Spelling &form) {
  Atomic a = describe(form);
  if (a.count * a.bits > 128) {
    Machine machine(formKernel(form.text + " " +
                               (a.hasResult ? list(a, 0) + ", " : "") +
                               "[%to], " + list(a, 8) + ";\n"));
    EXPECT_FALSE(machine.good()) << form.text << " is accepted";
    return;
  }
  checkPlaces(form, a, false);
  checkPlaces(form, a, true);
}

} // namespace cudasim::test
