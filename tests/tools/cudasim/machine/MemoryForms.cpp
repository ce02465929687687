//===- MemoryForms.cpp - loads, stores, windows and asynchronous copies ---===//

#include "tests/tools/cudasim/machine/FormKit.h"

namespace cudasim::test {
namespace {

const char *kSpaces = ".shared .align 16 .b8 s[2048];\n";
/// %r30 and %d30: the thread's record in shared memory, by offset and as a
/// generic address.
const char *kPlaces = "mov.u32 %r30, s;\nshl.b32 %r31, %t, 6;\n"
                      "add.u32 %r30, %r30, %r31;\ncvt.u64.u32 %d30, %r30;\n"
                      "cvta.shared.u64 %d30, %d30;\n"
                      "and.b32 %r31, %t, 1;\nsetp.ne.u32 %p31, %r31, 0;\n";

/// Copies a record in words.
std::string copyRecord(const std::string &load, const std::string &from,
                       const std::string &store, const std::string &to) {
  std::string text;
  for (unsigned i = 0; i < kRecord; i += 4)
    text += load + " %r29, [" + from + "+" + str(i) + "];\n" + store + " [" +
            to + "+" + str(i) + "], %r29;\n";
  return text;
}

std::string zeroRecord(const std::string &store, const std::string &to) {
  std::string text;
  for (unsigned i = 0; i < kRecord; i += 4)
    text += store + " [" + to + "+" + str(i) + "], 0;\n";
  return text;
}

std::string listOf(unsigned bits, unsigned count) {
  std::string list;
  for (unsigned k = 0; k < count; ++k)
    list += (k ? ", " : "") + reg(bits, k);
  return count == 1 ? list : "{" + list + "}";
}

std::string wordsOf(const Bytes &bytes) {
  std::string list;
  for (uint8_t byte : bytes)
    list += (list.empty() ? "" : ", ") + str(byte);
  return list;
}

/// Widths that a register for the type may have.
std::vector<unsigned> widthsOf(const std::string &type) {
  unsigned bits = memoryBits(type);
  if (type[0] == 'f')
    return {bits};
  std::vector<unsigned> widths;
  for (unsigned width : {16u, 32u, 64u})
    if (width >= bits)
      widths.push_back(width);
  return widths;
}

std::string spaceOf(const Spelling &form) {
  return form.oneOf({"global", "shared", "shared::cta", "local", "const",
                     "param", "param::entry", "param::func"});
}

/// True where the machine must refuse the form, and it does.
bool isTooWide(const Spelling &form) {
  return form.vector() * memoryBits(form.type()) > 128;
}

void expectRefused(const Spelling &form, const std::string &ptx) {
  Machine machine(ptx);
  EXPECT_FALSE(machine.good()) << form.text << " is accepted";
}

} // namespace

void checkLoad(const Spelling &form) {
  std::string space = spaceOf(form), type = form.type();
  unsigned bits = memoryBits(type), count = form.vector();
  const unsigned offset = 16; // of what is loaded, in the record
  Bytes in = randomBytes(32 * kRecord, 3);
  bool uniform = space == "param" || space == "param::entry";
  for (unsigned width : widthsOf(type)) {
    std::string list = listOf(width, count), body, results;
    for (unsigned k = 0; k < count; ++k) {
      std::string value = reg(width, k);
      if (width < 64) {
        results += "cvt.u64.u" + str(width) + " %d20, " + value + ";\n";
        value = "%d20";
      }
      results += "st.global.b64 [%to+" + str(8 * k) + "], " + value + ";\n";
    }
    std::string before = kSpaces, place;
    if (space == "global" || space.empty())
      place = "%from";
    if (space == "shared" || space == "shared::cta" || space.empty())
      body += kPlaces +
              copyRecord("ld.global.b32", "%from", "st.shared.b32", "%r30");
    if (space == "shared" || space == "shared::cta") {
      place = "%r30";
    } else if (space == "local") {
      body += copyRecord("ld.global.b32", "%from", "st.local.b32", "l");
      place = "l";
    } else if (space == "const") {
      before += ".const .align 16 .b8 c[2048] = {" + wordsOf(in) + "};\n";
      body += "mov.u64 %d31, c;\nadd.s64 %d31, %d31, %step;\n";
      place = "%d31";
    } else if (uniform) {
      place = "rec";
    } else if (space.empty() && form.words[0] == "ld") {
      // Every other lane's record is in shared memory.
      body += "selp.b64 %from, %d30, %from, %p31;\n";
    }
    std::string load =
        form.text + " " + list + ", [" + place + "+" + str(offset) + "];\n";
    std::string ptx;
    if (space == "param::func") {
      before += ".func f(.param .align 16 .b8 a[64], .param .b64 o)\n{\n"
                ".reg .b16 %h<8>;\n.reg .b32 %r<8>;\n.reg .b64 %d<32>, %to;\n"
                "ld.param.u64 %to, [o];\n" +
                form.text + " " + list + ", [a+" + str(offset) + "];\n" +
                results + "ret;\n}\n";
      ptx = formKernel(
          "{\n.param .align 16 .b8 p0[64];\n.param .b64 p1;\n" +
              copyRecord("ld.global.b32", "%from", "st.param.b32", "p0") +
              "st.param.b64 [p1], %to;\ncall.uni f, (p0, p1);\n}\n",
          before);
    } else {
      ptx = formKernel(body + load + results, before);
    }
    if (isTooWide(form)) {
      expectRefused(form, ptx);
      continue;
    }
    Run run = runForm(form, ptx, in);
    if (run.out.empty())
      return;
    for (unsigned lane = 0; lane < 32; ++lane)
      for (unsigned k = 0; k < count; ++k) {
        uint64_t want = 0;
        for (unsigned byte = 0; byte < bits / 8; ++byte)
          want |= uint64_t(in[(uniform ? 0 : lane * kRecord) + offset +
                              k * bits / 8 + byte])
                  << 8 * byte;
        if (type[0] == 's' && bits < 64 && want >> (bits - 1) & 1)
          want |= ~uint64_t(0) << bits;
        if (width < 64)
          want &= (uint64_t(1) << width) - 1;
        ASSERT_EQ(run.at<uint64_t>(lane, 8 * k), want)
            << form.text << ", register of " << width << ", lane " << lane
            << ", element " << k;
      }
  }
}

void checkStore(const Spelling &form) {
  std::string space = spaceOf(form), type = form.type();
  unsigned bits = memoryBits(type), count = form.vector();
  const unsigned offset = 32;
  Bytes in = randomBytes(32 * kRecord, 4);
  for (unsigned width : widthsOf(type)) {
    std::string body = kPlaces, before = kSpaces, after, place = "%to";
    for (unsigned k = 0; k < count; ++k)
      body += "ld.global.b" + str(width) + " " + reg(width, k) + ", [%from+" +
              str(8 * k) + "];\n";
    if (space == "shared" || space == "shared::cta" || space.empty()) {
      body += zeroRecord("st.shared.b32", "%r30");
      after = copyRecord("ld.shared.b32", "%r30", "st.global.b32", "%to");
      place = "%r30";
    }
    if (space.empty()) {
      // Every other lane's record is in shared memory.
      body += "selp.b64 %d31, %d30, %to, %p31;\n";
      place = "%d31";
      after = "@!%p31 bra DONE;\n" + after + "DONE:\n";
    } else if (space == "local") {
      body += zeroRecord("st.local.b32", "l");
      after = copyRecord("ld.local.b32", "l", "st.global.b32", "%to");
      place = "l";
    } else if (space == "param" || space == "param::func") {
      before += ".func f(.param .align 16 .b8 a[64], .param .b64 o)\n{\n"
                ".reg .b32 %r<32>;\n.reg .b64 %to;\nld.param.u64 %to, [o];\n" +
                copyRecord("ld.param.b32", "a", "st.global.b32", "%to") +
                "ret;\n}\n";
      body += "{\n.param .align 16 .b8 p0[64];\n.param .b64 p1;\n" +
              zeroRecord("st.param.b32", "p0");
      after = "st.param.b64 [p1], %to;\ncall.uni f, (p0, p1);\n}\n";
      place = "p0";
    }
    std::string ptx =
        formKernel(body + form.text + " [" + place + "+" + str(offset) + "], " +
                       listOf(width, count) + ";\n" + after,
                   before);
    if (isTooWide(form)) {
      expectRefused(form, ptx);
      continue;
    }
    Run run = runForm(form, ptx, in);
    if (run.out.empty())
      return;
    for (unsigned lane = 0; lane < 32; ++lane) {
      Bytes want(kRecord);
      for (unsigned k = 0; k < count; ++k)
        for (unsigned byte = 0; byte < bits / 8; ++byte)
          want[offset + k * bits / 8 + byte] =
              in[lane * kRecord + 8 * k + byte];
      Bytes found(run.out.begin() + lane * kRecord,
                  run.out.begin() + (lane + 1) * kRecord);
      ASSERT_EQ(found, want)
          << form.text << ", register of " << width << ", lane " << lane;
    }
  }
}

void checkWindow(const Spelling &form) {
  // Each thread has a word in every space. A generic address of it must read
  // the word; a way back must give the space's own address.
  std::string space = spaceOf(form);
  bool isParam = space == "param" || space == "param::entry";
  std::string before = std::string(kSpaces) +
                       ".const .align 4 .b32 c[2] = {7, 1234567};\n"
                       ".global .align 4 .b32 g[2] = {8, 7654321};\n";
  std::string body = kPlaces;
  std::string own; // %d0: an address of the space
  uint32_t want = 0;
  Bytes in = randomBytes(32 * kRecord, 5);
  if (space == "shared" || space == "shared::cta") {
    own = "st.shared.u32 [%r30+4], 4711;\ncvt.u64.u32 %d0, %r30;\n";
    want = 4711;
  } else if (space == "local") {
    own = "st.local.u32 [l+4], 815;\nmov.u64 %d0, l;\n";
    want = 815;
  } else if (space == "const") {
    own = "mov.u64 %d0, c;\n";
    want = 1234567;
  } else if (isParam) {
    own = "mov.b64 %d0, rec;\n";
    want = getAt<uint32_t>(in, 4);
  } else {
    own = "mov.u64 %d0, g;\n";
    want = 7654321;
  }
  body += own;
  std::string generic = "cvta." + space + ".u64 %d1, %d0;\n";
  if (form.words[0] == "isspacep") {
    // A generic address of the space, and one of another.
    bool isShared = space == "shared" || space == "shared::cta";
    std::string other = isShared
                            ? "mov.u64 %d2, g;\ncvta.global.u64 %d2, %d2;\n"
                            : "mov.u64 %d2, %d30;\n";
    body += generic + other + form.text + " %p0, %d1;\n" + form.text +
            " %p1, %d2;\nselp.u32 %r0, 1, 0, %p0;\nselp.u32 %r1, 2, 0, %p1;\n"
            "or.b32 %r0, %r0, %r1;\nst.global.u32 [%to], %r0;\n";
    want = 1;
  } else if (form.has("to")) {
    body += generic + form.text +
            " %d2, %d1;\nsub.s64 %d3, %d2, %d0;\n"
            "add.s64 %d3, %d3, 99;\n"
            "st.global.u32 [%to], %d3;\n";
    want = 99;
  } else {
    body += form.text + " %d1, %d0;\nld.u32 %r0, [%d1+4];\n"
                        "st.global.u32 [%to], %r0;\n";
  }
  Run run = runForm(form, formKernel(body, before), in);
  for (unsigned lane = 0; lane < 32 && !run.out.empty(); ++lane)
    ASSERT_EQ(run.at<uint32_t>(lane, 0), want)
        << form.text << ", lane " << lane;
}

void checkPrefetch(const Spelling &form) {
  // A hint: memory and registers stay as they are, whatever the address.
  std::string place = form.has("local") ? "l" : "%from";
  Bytes in = randomBytes(32 * kRecord, 6);
  Run run = runForm(form,
                    formKernel(form.text + " [" + place +
                               "];\nld.global.b32 %r0, [%from];\n"
                               "st.global.b32 [%to], %r0;\n"),
                    in);
  for (unsigned lane = 0; lane < 32 && !run.out.empty(); ++lane)
    ASSERT_EQ(run.at<uint32_t>(lane, 0), getAt<uint32_t>(in, lane * kRecord))
        << form.text;
}

void checkAsyncCopy(const Spelling &form) {
  enum Kind { Plain, Sized, Skipped };
  for (unsigned size : {4u, 8u, 16u})
    for (Kind kind : {Plain, Sized, Skipped}) {
      std::string last = kind == Plain   ? ""
                         : kind == Sized ? ", %r1"
                                         : ", %p31";
      Bytes in = randomBytes(32 * kRecord, 7);
      // The source's size is in the record's last word.
      for (unsigned lane = 0; lane < 32; ++lane)
        putAt<uint32_t>(in, lane * kRecord + 60, lane % (size + 1));
      std::string ptx = formKernel(
          std::string(kPlaces) +
              copyRecord("ld.global.b32", "%from", "st.shared.b32", "%r30") +
              "ld.global.u32 %r1, [%from+60];\n" + form.text +
              " [%r30+16], [%from+32], " + str(size) + last +
              ";\ncp.async.wait_all;\n" +
              copyRecord("ld.shared.b32", "%r30", "st.global.b32", "%to"),
          kSpaces);
      if (form.has("cg") && size != 16) {
        expectRefused(form, ptx);
        continue;
      }
      Run run = runForm(form, ptx, in);
      if (run.out.empty())
        return;
      for (unsigned lane = 0; lane < 32; ++lane) {
        Bytes want(in.begin() + lane * kRecord,
                   in.begin() + (lane + 1) * kRecord);
        unsigned read = kind == Plain   ? size
                        : kind == Sized ? lane % (size + 1)
                        : lane & 1      ? 0
                                        : size;
        for (unsigned byte = 0; byte < size; ++byte)
          want[16 + byte] = byte < read ? in[lane * kRecord + 32 + byte] : 0;
        Bytes found(run.out.begin() + lane * kRecord,
                    run.out.begin() + (lane + 1) * kRecord);
        ASSERT_EQ(found, want)
            << form.text << " of " << size << last << ", lane " << lane;
      }
    }
}

void checkAsyncWait(const Spelling &form) {
  // Two groups, then a copy of none. Copies land as late as they may: what was
  // not waited for still has the old bytes.
  std::string copy = "cp.async.ca.shared.global ";
  std::string wait = form.text;
  unsigned landed = 3;
  if (form.has("wait_group")) {
    wait += " 1";
    landed = 1;
  } else if (form.has("commit_group")) {
    wait += ";\ncp.async.wait_group 0";
    landed = 3;
  }
  std::string ptx = formKernel(
      std::string(kPlaces) + zeroRecord("st.shared.b32", "%r30") + copy +
          "[%r30], [%from], 4;\ncp.async.commit_group;\n" + copy +
          "[%r30+4], [%from+4], 4;\n"
          "cp.async.commit_group;\n" +
          copy + "[%r30+8], [%from+8], 4;\n" + wait + ";\n" +
          copyRecord("ld.shared.b32", "%r30", "st.global.b32", "%to") +
          "cp.async.wait_all;\n",
      kSpaces);
  Bytes in = randomBytes(32 * kRecord, 8);
  Run run = runForm(form, ptx, in);
  for (unsigned lane = 0; lane < 32 && !run.out.empty(); ++lane)
    for (unsigned i = 0; i < 3; ++i)
      ASSERT_EQ(run.at<uint32_t>(lane, 4 * i),
                i < landed ? getAt<uint32_t>(in, lane * kRecord + 4 * i) : 0)
          << form.text << ", copy " << i;
}

} // namespace cudasim::test
