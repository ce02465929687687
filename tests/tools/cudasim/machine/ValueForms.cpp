//===- ValueForms.cpp - values that take more than one instruction --------===//
//
// Moves of all widths, the carry bit, three operands where OpReference knows
// two, pairs of floats compared into two predicates, and 8-bit floats.
//
//===----------------------------------------------------------------------===//

#include "tests/tools/cudasim/machine/FormKit.h"

#include <cmath>
#include <map>

namespace cudasim::test {
namespace {

using Wide = unsigned __int128;

Bytes mixed(uint32_t seed) {
  // Random words, among them all zeros and all ones.
  Bytes bytes = randomBytes(64 * kRecord, seed);
  std::mt19937 random(seed);
  for (size_t at = 0; at < bytes.size(); at += 8)
    if (random() % 3 == 0)
      putAt<uint64_t>(bytes, at,
                      random() % 2 ? ~uint64_t(0) : uint64_t(random() % 3));
  return bytes;
}

std::string load(unsigned bits, unsigned index, unsigned at) {
  return "ld.global.b" + str(bits) + " " + reg(bits, index) + ", [%from+" +
         str(at) + "];\n";
}
std::string store(unsigned bits, unsigned index, unsigned at) {
  return "st.global.b" + str(bits) + " [%to+" + str(at) + "], " +
         reg(bits, index) + ";\n";
}

bool compare(const std::string &how, double a, double b) {
  bool unordered = std::isnan(a) || std::isnan(b);
  if (how == "num")
    return !unordered;
  if (how == "nan")
    return unordered;
  if (unordered)
    return how.size() == 3; // equ, neu, ltu, leu, gtu, geu
  std::string base = how.substr(0, 2);
  return base == "eq"   ? a == b
         : base == "ne" ? a != b
         : base == "lt" ? a < b
         : base == "le" ? a <= b
         : base == "gt" ? a > b
                        : a >= b;
}

} // namespace

void checkMove(const Spelling &form) {
  std::string type = form.type();
  Bytes in = mixed(81);
  if (type == "pred") {
    Run run = runForm(form,
                      formKernel(load(32, 0, 0) + "setp.lt.s32 %p0, %r0, 0;\n" +
                                 form.text +
                                 " %p1, %p0;\n"
                                 "selp.u32 %r1, 3, 4, %p1;\n" +
                                 store(32, 1, 0)),
                      in);
    for (unsigned lane = 0; lane < 32 && !run.out.empty(); ++lane)
      ASSERT_EQ(run.at<uint32_t>(lane, 0),
                getAt<int32_t>(in, lane * kRecord) < 0 ? 3u : 4u)
          << form.text;
    return;
  }
  unsigned bits = memoryBits(type);
  if (bits == 128) {
    Run run =
        runForm(form,
                formKernel(load(64, 0, 0) + load(64, 1, 8) + form.text +
                           " %q0, {%d0, %d1};\n" + form.text + " %q1, %q0;\n" +
                           form.text + " {%d2, %d3}, %q1;\n" + store(64, 2, 0) +
                           store(64, 3, 8)),
                in);
    for (unsigned lane = 0; lane < 32 && !run.out.empty(); ++lane)
      for (unsigned at : {0u, 8u})
        ASSERT_EQ(run.at<uint64_t>(lane, at),
                  getAt<uint64_t>(in, lane * kRecord + at))
            << form.text;
    return;
  }
  std::string body = load(bits, 0, 0) + form.text + " " + reg(bits, 1) + ", " +
                     reg(bits, 0) + ";\n" + store(bits, 1, 0);
  // b32 and b64 also put halves together and take them apart.
  bool packs = type == "b32" || type == "b64";
  unsigned half = bits / 2;
  if (packs)
    body += form.text + " {" + reg(half, 4) + ", " + reg(half, 5) + "}, " +
            reg(bits, 0) + ";\n" + form.text + " " + reg(bits, 6) + ", {" +
            reg(half, 5) + ", " + reg(half, 4) + "};\n" + store(bits, 6, 8);
  Run run = runForm(form, formKernel(body), in);
  uint64_t mask = bits == 64 ? ~uint64_t(0) : (uint64_t(1) << bits) - 1;
  for (unsigned lane = 0; lane < 32 && !run.out.empty(); ++lane) {
    uint64_t value = getAt<uint64_t>(in, lane * kRecord) & mask;
    ASSERT_EQ(run.at<uint64_t>(lane, 0) & mask, value) << form.text;
    if (packs)
      ASSERT_EQ(run.at<uint64_t>(lane, 8) & mask,
                (value >> half | value << half) & mask)
          << form.text;
  }
}

void checkCarry(const Spelling &form) {
  const std::string &op = form.words[0];
  std::string type = form.type();
  unsigned bits = memoryBits(type);
  bool reads = op == "addc" || op == "subc" || op == "madc";
  bool writes = form.has("cc"), isMad = op[0] == 'm', isSub = op[0] == 's';
  Bytes in = mixed(82);
  std::string body;
  for (unsigned k = 0; k < 3; ++k)
    body += load(bits, k, 8 * k);
  body += load(bits, 3, 24) + load(bits, 4, 32);
  // The bit that comes in is the carry of operands 3 and 4, and is looked at
  // after the op too, where the op leaves it.
  std::string width = ".u" + str(bits);
  body += "add.cc" + width + " " + reg(bits, 5) + ", " + reg(bits, 3) + ", " +
          reg(bits, 4) + ";\n" + form.text + " " + reg(bits, 6) + ", " +
          reg(bits, 0) + ", " + reg(bits, 1) +
          (isMad ? ", " + reg(bits, 2) : "") + ";\naddc.u32 %r30, 0, 0;\n" +
          store(bits, 6, 0) + "st.global.u32 [%to+8], %r30;\n";
  Run run = runForm(form, formKernel(body), in, 64);
  bool isSigned = type[0] == 's';
  Wide mask = (Wide(1) << bits) - 1;
  for (unsigned t = 0; t < 64 && !run.out.empty(); ++t) {
    Wide v[5];
    for (unsigned k = 0; k < 5; ++k)
      v[k] = getAt<uint64_t>(in, t * kRecord + 8 * k) & mask;
    Wide carry = (v[3] + v[4]) >> bits & 1, used = reads ? carry : 0, want;
    if (isMad) {
      auto extend = [&](Wide value) {
        bool negative = isSigned && value >> (bits - 1) & 1;
        return negative ? value | ~mask : value;
      };
      Wide product = extend(v[0]) * extend(v[1]);
      want =
          ((form.has("hi") ? product >> bits : product) & mask) + v[2] + used;
    } else {
      want = isSub ? v[0] - v[1] - used : v[0] + v[1] + used;
    }
    Wide after = writes ? want >> bits & 1 : carry;
    ASSERT_TRUE((want & mask) == (run.at<uint64_t>(t, 0) & uint64_t(mask)))
        << form.text << ", thread " << t << std::hex << ": 0x" << uint64_t(v[0])
        << ", 0x" << uint64_t(v[1]) << ": expected 0x" << uint64_t(want & mask)
        << ", found 0x" << run.at<uint64_t>(t, 0);
    ASSERT_EQ(run.at<uint32_t>(t, 8), uint32_t(after))
        << form.text << ": the carry bit";
  }
}

void checkThree(const Spelling &form) {
  // All triples of a few numbers: zeros, a subnormal, infinity, not-a-number.
  const float values[] = {0.0f,   -0.0f,   1.5f,      -2.0f,
                          1e-40f, -1e-40f, -INFINITY, NAN};
  bool min = form.words[0] == "min";
  for (float first : values) {
    Bytes in(64 * kRecord);
    for (unsigned t = 0; t < 64; ++t) {
      putAt<float>(in, t * kRecord, first);
      putAt<float>(in, t * kRecord + 4, values[t / 8]);
      putAt<float>(in, t * kRecord + 8, values[t % 8]);
    }
    Run run = runForm(form,
                      formKernel(load(32, 0, 0) + load(32, 1, 4) +
                                 load(32, 2, 8) + form.text +
                                 " %r4, %r0, %r1, %r2;\n" + store(32, 4, 0)),
                      in, 64);
    for (unsigned t = 0; t < 64 && !run.out.empty(); ++t) {
      float best = NAN;
      bool sawNan = false;
      for (unsigned k = 0; k < 3; ++k) {
        float v = getAt<float>(in, t * kRecord + 4 * k);
        if (form.has("ftz") && std::fpclassify(v) == FP_SUBNORMAL)
          v = std::copysign(0.0f, v);
        if (form.has("abs"))
          v = std::fabs(v);
        sawNan |= std::isnan(v);
        if (std::isnan(v))
          continue;
        bool less = v < best || (v == best && std::signbit(v));
        bool more = v > best || (v == best && !std::signbit(v));
        if (std::isnan(best) || (min ? less : more))
          best = v;
      }
      uint32_t want;
      memcpy(&want, &best, 4);
      if (std::isnan(best) || (sawNan && form.has("NaN")))
        want = 0x7FFFFFFF;
      ASSERT_EQ(run.at<uint32_t>(t, 0), want)
          << form.text << " of " << first << ", " << values[t / 8] << ", "
          << values[t % 8];
    }
  }
}

void checkPairs(const Spelling &form) {
  bool isSet = form.words[0] == "set";
  std::string half = form.type().substr(0, form.type().size() - 2);
  const std::string &how = form.words[1];
  std::string combine = form.oneOf({"and", "or", "xor"});
  const double values[] = {
      0,        -0.0, 1.5, -2, std::ldexp(1, half == "f16" ? -20 : -130),
      INFINITY, NAN,  1.25};
  auto bitsOf = [&](double v) {
    return std::isnan(v) ? 0x7FFFu : smallBits(v, half);
  };
  auto flush = [&](double v) {
    bool small = std::fabs(v) < std::ldexp(1, half == "f16" ? -14 : -126);
    return form.has("ftz") && small ? 0.0 : v;
  };
  Bytes in(64 * kRecord);
  for (unsigned t = 0; t < 64; ++t) {
    putAt<uint32_t>(in, t * kRecord,
                    bitsOf(values[t / 8]) | bitsOf(values[(t / 8 + 3) % 8])
                                                << 16);
    putAt<uint32_t>(in, t * kRecord + 4,
                    bitsOf(values[t % 8]) | bitsOf(values[(t + 5) % 8]) << 16);
    putAt<uint32_t>(in, t * kRecord + 8, t % 3 == 0);
  }
  std::string target = isSet ? " %r4" : " %p1|%p2";
  Run run = runForm(form,
                    formKernel(load(32, 0, 0) + load(32, 1, 4) +
                               load(32, 2, 8) + "setp.ne.u32 %p0, %r2, 0;\n" +
                               form.text + target + ", %r0, %r1" +
                               (combine.empty() ? "" : ", %p0") + ";\n" +
                               (isSet ? ""
                                      : "selp.u32 %r4, 1, 0, %p1;\n"
                                        "selp.u32 %r5, 2, 0, %p2;\n"
                                        "or.b32 %r4, %r4, %r5;\n") +
                               store(32, 4, 0)),
                    in, 64);
  for (unsigned t = 0; t < 64 && !run.out.empty(); ++t) {
    bool c = t % 3 == 0, is[2];
    const double a[] = {values[t / 8], values[(t / 8 + 3) % 8]};
    const double b[] = {values[t % 8], values[(t + 5) % 8]};
    for (unsigned k = 0; k < 2; ++k) {
      is[k] = compare(how, flush(a[k]), flush(b[k]));
      is[k] = combine == "and"   ? is[k] && c
              : combine == "or"  ? is[k] || c
              : combine == "xor" ? is[k] != c
                                 : is[k];
    }
    std::string result = form.types.front();
    uint32_t yes = !isSet               ? 1
                   : result == "f16x2"  ? 0x3C00
                   : result == "bf16x2" ? 0x3F80
                                        : 0xFFFF;
    uint32_t want = (is[0] ? yes : 0) | (is[1] ? yes << (isSet ? 16 : 1) : 0);
    ASSERT_EQ(run.at<uint32_t>(t, 0), want)
        << form.text << ", low " << a[0] << " and " << b[0] << ", high " << a[1]
        << " and " << b[1];
  }
}

void checkFp8(const Spelling &form) {
  const std::string &to = form.types[0], &from = form.types[1];
  bool relu = form.has("relu");
  if (to == "f16x2") { // every pair of neighbours of the 256 codes
    std::string small = from.substr(0, 4);
    for (unsigned base = 0; base < 256; base += 64) {
      Bytes in(64 * kRecord);
      for (unsigned t = 0; t < 64; ++t)
        putAt<uint16_t>(in, t * kRecord,
                        uint16_t((base + t) | (255 - base - t) << 8));
      Run run = runForm(form,
                        formKernel(load(16, 0, 0) + form.text + " %r1, %h0;\n" +
                                   store(32, 1, 0)),
                        in, 64);
      for (unsigned t = 0; t < 64 && !run.out.empty(); ++t)
        for (unsigned k = 0; k < 2; ++k) {
          double value = smallFloat(in[t * kRecord + k], small);
          uint32_t want = std::isnan(value)      ? 0x7FFF
                          : relu && !(value > 0) ? 0
                                                 : smallBits(value, "f16");
          // The sign of a clamped zero is left open.
          uint32_t open = relu && want == 0 ? 0x8000 : 0;
          ASSERT_EQ(run.at<uint16_t>(t, 2 * k) & ~open, want)
              << form.text << " of code " << int(in[t * kRecord + k]);
        }
    }
    return;
  }
  // To 8 bits: the nearest finite code, found by looking at all of them.
  std::string small = to.substr(0, 4);
  double largest = small == "e4m3" ? 448 : 57344;
  std::mt19937 random(83);
  for (unsigned round = 0; round < 4; ++round) {
    Bytes in(64 * kRecord);
    double values[64][2];
    for (unsigned t = 0; t < 64; ++t)
      for (unsigned k = 0; k < 2; ++k) {
        double v = std::ldexp(double(int(random() % 4001) - 2000),
                              int(random() % 28) - 22);
        if (round == 1) // halfway between two codes
          v = (smallFloat(t, small) + smallFloat(t + 1, small)) / 2;
        if (round == 2)
          v = t % 4 == 0 ? INFINITY : t % 4 == 1 ? -INFINITY : v * 1024;
        if (round == 3)
          v = t % 2 ? NAN : -0.0;
        // The source holds it exactly or rounds it first.
        uint32_t bits;
        if (from == "f32") {
          float f = float(v);
          memcpy(&bits, &f, 4);
          values[t][k] = f;
          putAt<uint32_t>(in, t * kRecord + 4 * k, bits);
        } else {
          bits = std::isnan(v) ? 0x7FFF : smallBits(v, "f16");
          values[t][k] = smallFloat(bits, "f16");
          putAt<uint16_t>(in, t * kRecord + 2 * k, uint16_t(bits));
        }
      }
    // Of two f32 the first goes to the upper half.
    bool two = from == "f32";
    Run run = runForm(form,
                      formKernel(load(32, 0, 0) + load(32, 1, 4) + form.text +
                                 (two ? " %h2, %r1, %r0;\n" : " %h2, %r0;\n") +
                                 store(16, 2, 0)),
                      in, 64);
    for (unsigned t = 0; t < 64 && !run.out.empty(); ++t)
      for (unsigned k = 0; k < 2; ++k) {
        double v = values[t][k];
        if (relu && !std::isnan(v) && !(v > 0))
          v = 0;
        uint32_t want = 0x7F;
        if (!std::isnan(v)) {
          double size = std::min(std::fabs(v), largest);
          want = 0;
          for (uint32_t code = 1; code < 128; ++code) {
            double candidate = smallFloat(code, small);
            if (std::isnan(candidate) || std::isinf(candidate))
              continue;
            double now = std::fabs(candidate - size),
                   best = std::fabs(smallFloat(want, small) - size);
            if (now < best || (now == best && code % 2 == 0))
              want = code;
          }
          want |= std::signbit(v) ? 0x80 : 0;
        }
        uint32_t open = relu && want == 0 ? 0x80 : 0;
        ASSERT_EQ(run.at<uint8_t>(t, k) & ~open, want)
            << form.text << " of " << v;
      }
  }
}

} // namespace cudasim::test
