//===- MatrixForms.cpp - ldmatrix, stmatrix, movmatrix and mma ------------===//
//
// Where each lane's registers lie in the matrices is written here as the PTX
// ISA draws it, register by register. All sums are exact, so that results are
// compared bit by bit.
//
//===----------------------------------------------------------------------===//

#include "tests/tools/cudasim/machine/FormKit.h"

#include <cmath>

namespace cudasim::test {
namespace {

std::string registers(unsigned first, unsigned count) {
  std::string text = "{";
  for (unsigned k = 0; k < count; ++k)
    text += (k ? ", %r" : "%r") + str(first + k);
  return text + "}";
}
std::string loads(unsigned first, unsigned count, unsigned at) {
  std::string text;
  for (unsigned k = 0; k < count; ++k)
    text += "ld.global.b32 %r" + str(first + k) + ", [%from+" +
            str(at + 4 * k) + "];\n";
  return text;
}
std::string stores(unsigned first, unsigned count) {
  std::string text;
  for (unsigned k = 0; k < count; ++k)
    text +=
        "st.global.b32 [%to+" + str(4 * k) + "], %r" + str(first + k) + ";\n";
  return text;
}

/// Where row `row` of matrix `m` lies among the 32 rows: not in order.
unsigned placeOf(unsigned m, unsigned row) { return (8 * m + row) * 5 % 32; }

/// The element that lane `lane` holds in half `half` of its register.
void elementOf(unsigned lane, unsigned half, bool transposed, unsigned &row,
               unsigned &column) {
  row = lane / 4;
  column = lane % 4 * 2 + half;
  if (transposed)
    std::swap(row, column);
}

struct Places {
  unsigned row, column;
};
/// Element `i` of A (16 x k), counted over the lane's registers.
Places placeInA(unsigned lane, unsigned i, unsigned elementBits, unsigned k) {
  unsigned group = lane / 4, inGroup = lane % 4;
  unsigned each = 32 / elementBits;        // elements of a register
  unsigned which = i / each, j = i % each; // register, element
  (void)k;
  return {group + (which % 2 ? 8 : 0),
          inGroup * each + j + (which >= 2 ? 4 * each : 0)};
}
Places placeInB(unsigned lane, unsigned i, unsigned elementBits) {
  unsigned each = 32 / elementBits;
  return {lane % 4 * each + i % each + (i >= each ? 4 * each : 0), lane / 4};
}
Places placeInC(unsigned lane, unsigned i) {
  return {lane / 4 + (i >= 2 ? 8 : 0), lane % 4 * 2 + i % 2};
}

/// An element of the type: its value and its bits.
struct Number {
  double value;
  uint32_t bits;
};
Number draw(const std::string &type, std::mt19937 &random) {
  if (type == "s8" || type == "u8") {
    uint32_t bits = random() % 256;
    return {type == "s8" ? double(int8_t(bits)) : double(bits), bits};
  }
  if (type == "tf32" || type == "f32") {
    float value = float(int(random() % 33) - 16) / 8;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    // What lies below tf32's mantissa is ignored.
    return {value, type == "tf32" ? bits | uint32_t(random() % 8192) : bits};
  }
  // f16, bf16: eighths up to 2; fp8: halves up to 2.
  bool small = type == "e4m3" || type == "e5m2";
  double value =
      small ? (int(random() % 9) - 4) / 2.0 : (int(random() % 33) - 16) / 8.0;
  return {value, smallBits(value, type)};
}

} // namespace

void checkMatrixAccess(const Spelling &form) {
  bool isLoad = form.words[0] == "ldmatrix", transposed = form.has("trans");
  bool generic = !form.has("shared") && !form.has("shared::cta");
  unsigned count = form.has("x1") ? 1 : form.has("x2") ? 2 : 4;
  Bytes in = randomBytes(32 * kRecord, 61);
  // 32 rows of 16 bytes, of which each thread writes one; %r20: the row that
  // this thread points to.
  std::string body =
      "mov.u32 %r21, s;\nshl.b32 %r22, %t, 4;\nadd.u32 %r22, %r22, %r21;\n"
      "ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%from];\n"
      "st.shared.v4.b32 [%r22], {%r0, %r1, %r2, %r3};\nbar.sync 0;\n"
      "mul.lo.u32 %r20, %t, 5;\nand.b32 %r20, %r20, 31;\n"
      "shl.b32 %r20, %r20, 4;\nadd.u32 %r20, %r20, %r21;\n"
      "cvt.u64.u32 %d0, %r20;\ncvta.shared.u64 %d0, %d0;\n";
  std::string place = generic ? "[%d0]" : "[%r20]";
  if (isLoad)
    body += form.text + " " + registers(8, count) + ", " + place + ";\n" +
            stores(8, count);
  else
    body += loads(8, count, 16) + form.text + " " + place + ", " +
            registers(8, count) +
            ";\nbar.sync 0;\nld.shared.v4.b32 {%r0, %r1, %r2, %r3}, [%r22];\n"
            "st.global.v4.b32 [%to], {%r0, %r1, %r2, %r3};\n";
  Run run =
      runForm(form, formKernel(body, ".shared .align 16 .b8 s[512];\n"), in);
  if (run.out.empty())
    return;
  // What row r of shared memory holds, before and after.
  std::vector<std::vector<uint16_t>> rows(32, std::vector<uint16_t>(8));
  for (unsigned r = 0; r < 32; ++r)
    for (unsigned c = 0; c < 8; ++c)
      rows[r][c] = getAt<uint16_t>(in, r * kRecord + 2 * c);
  for (unsigned m = 0; m < count; ++m)
    for (unsigned lane = 0; lane < 32; ++lane)
      for (unsigned half = 0; half < 2; ++half) {
        unsigned row, column;
        elementOf(lane, half, transposed, row, column);
        uint16_t &element = rows[placeOf(m, row)][column];
        if (isLoad)
          ASSERT_EQ(run.at<uint16_t>(lane, 4 * m + 2 * half), element)
              << form.text << ", matrix " << m << ", lane " << lane;
        else
          element = getAt<uint16_t>(in, lane * kRecord + 16 + 4 * m + 2 * half);
      }
  for (unsigned r = 0; r < 32 && !isLoad; ++r)
    for (unsigned c = 0; c < 8; ++c)
      ASSERT_EQ(run.at<uint16_t>(r, 2 * c), rows[r][c])
          << form.text << ", row " << r << ", column " << c;
}

void checkMatrixMove(const Spelling &form) {
  Bytes in = randomBytes(32 * kRecord, 62);
  Run run = runForm(
      form,
      formKernel(loads(0, 1, 0) + form.text + " %r8, %r0;\n" + stores(8, 1)),
      in);
  for (unsigned lane = 0; lane < 32 && !run.out.empty(); ++lane)
    for (unsigned half = 0; half < 2; ++half) {
      // Element (row, column) of the result is (column, row) of the source.
      unsigned row = lane / 4, column = lane % 4 * 2 + half;
      unsigned owner = column * 4 + row / 2;
      ASSERT_EQ(run.at<uint16_t>(lane, 2 * half),
                getAt<uint16_t>(in, owner * kRecord + row % 2 * 2))
          << form.text << ", lane " << lane;
    }
}

void checkMatrixMultiply(const Spelling &form) {
  const std::string &typeD = form.types[0], &typeA = form.types[1],
                    &typeB = form.types[2], &typeC = form.types[3];
  unsigned bits = typeA == "tf32" ? 32 : memoryBits(typeA);
  unsigned depth = unsigned(std::stoul(form.words[3].substr(strlen("m16n8k"))));
  unsigned countA = 16 * depth * bits / 32 / 32, countB = countA / 2;
  unsigned countC = typeC == "f16" ? 2 : 4, countD = typeD == "f16" ? 2 : 4;
  bool integer = typeD == "s32";
  for (unsigned round = 0; round < 3; ++round) {
    std::mt19937 random(71 + round);
    // Matrices, then every lane's registers from them.
    std::vector<std::vector<Number>> a(16, std::vector<Number>(depth)),
        b(depth, std::vector<Number>(8)), c(16, std::vector<Number>(8));
    for (auto &row : a)
      for (Number &n : row)
        n = draw(typeA, random);
    for (auto &row : b)
      for (Number &n : row)
        n = draw(typeB, random);
    for (auto &row : c)
      for (Number &n : row)
        if (integer) {
          // In the last round the sums leave the range of s32.
          int32_t value = round == 2 ? (random() % 2 ? 0x7FFFFFF0 : -0x7FFFFFF0)
                                     : int32_t(random() % 2000001) - 1000000;
          n = {double(value), uint32_t(value)};
        } else {
          n = draw(typeC, random);
        }
    Bytes in(32 * kRecord);
    auto place = [&](unsigned lane, unsigned at, unsigned element,
                     unsigned width, uint32_t value) {
      for (unsigned byte = 0; byte < width / 8; ++byte)
        in[lane * kRecord + at + element * width / 8 + byte] =
            uint8_t(value >> 8 * byte);
    };
    unsigned atB = 16, atC = 24;
    for (unsigned lane = 0; lane < 32; ++lane) {
      for (unsigned i = 0; i < countA * 32 / bits; ++i) {
        Places p = placeInA(lane, i, bits, depth);
        place(lane, 0, i, bits, a[p.row][p.column].bits);
      }
      for (unsigned i = 0; i < countB * 32 / bits; ++i) {
        Places p = placeInB(lane, i, bits);
        place(lane, atB, i, bits, b[p.row][p.column].bits);
      }
      for (unsigned i = 0; i < 4; ++i) {
        Places p = placeInC(lane, i);
        place(lane, atC, i, typeC == "f16" ? 16 : 32, c[p.row][p.column].bits);
      }
    }
    std::string one = countB == 1 ? "%r8" : registers(8, countB);
    Run run =
        runForm(form,
                formKernel(loads(0, countA, 0) + loads(8, countB, atB) +
                           loads(16, countC, atC) + form.text + " " +
                           registers(24, countD) + ", " + registers(0, countA) +
                           ", " + (countB == 1 ? "{" + one + "}" : one) + ", " +
                           registers(16, countC) + ";\n" + stores(24, countD)),
                in);
    if (run.out.empty())
      return;
    for (unsigned lane = 0; lane < 32; ++lane)
      for (unsigned i = 0; i < 4; ++i) {
        Places p = placeInC(lane, i);
        double sum = c[p.row][p.column].value;
        for (unsigned k = 0; k < depth; ++k)
          sum += a[p.row][k].value * b[k][p.column].value;
        uint32_t want, found;
        if (integer) {
          if (form.has("satfinite"))
            sum = std::min(std::max(sum, -2147483648.0), 2147483647.0);
          want = uint32_t(int64_t(sum));
          found = run.at<uint32_t>(lane, 4 * i);
        } else if (typeD == "f16") {
          want = smallBits(sum, "f16");
          found = run.at<uint16_t>(lane, 2 * i);
        } else {
          float value = float(sum);
          memcpy(&want, &value, 4);
          found = run.at<uint32_t>(lane, 4 * i);
        }
        ASSERT_EQ(found, want)
            << form.text << ", row " << p.row << ", column " << p.column;
      }
  }
}

} // namespace cudasim::test
