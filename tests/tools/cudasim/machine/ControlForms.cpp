//===- ControlForms.cpp - barriers, fences, branches and calls ------------===//

#include "tests/tools/cudasim/machine/FormKit.h"

namespace cudasim::test {
namespace {

const char *kShared = ".shared .align 16 .b8 s[1024];\n";

/// Every thread's word of %to is compared with `want(thread)`.
template <class F>
void expectWords(const Spelling &form, const std::string &body,
                 unsigned threads, F want,
                 const std::string &before = kShared) {
  Run run = runForm(form, formKernel(body, before), Bytes(threads * kRecord),
                    threads);
  for (unsigned t = 0; t < threads && !run.out.empty(); ++t)
    ASSERT_EQ(run.at<uint32_t>(t, 0), want(t)) << form.text << ", thread " << t;
}

} // namespace

void checkBarrier(const Spelling &form) {
  // %r0: the address of the thread's word of `s`; %p0: every third thread.
  std::string body = "mov.u32 %r10, s;\nshl.b32 %r0, %t, 2;\n"
                     "add.u32 %r0, %r0, %r10;\nrem.u32 %r1, %t, 3;\n"
                     "setp.eq.u32 %p0, %r1, 0;\nmov.u32 %r11, 2;\n";
  if (form.has("warp")) {
    // A neighbour's word, within one warp.
    body += "st.shared.u32 [%r0], %t;\n" + form.text +
            " 0xffffffff;\nxor.b32 %r2, %t, 31;\nshl.b32 %r2, %r2, 2;\n"
            "add.u32 %r2, %r2, %r10;\nld.shared.u32 %r3, [%r2];\n"
            "st.global.u32 [%to], %r3;\n";
    expectWords(form, body, 32, [](unsigned t) { return t ^ 31; });
    return;
  }
  if (form.has("arrive")) {
    // The first warp writes and goes on; the second waits for it.
    body += "setp.ge.u32 %p1, %t, 32;\n@%p1 bra WAIT;\n"
            "st.shared.u32 [%r0], %t;\n" +
            form.text +
            " 3, 64;\nst.global.u32 [%to], 5;\nbra DONE;\nWAIT:\n"
            "bar.sync 3, 64;\nld.shared.u32 %r3, [%r0+-128];\n"
            "st.global.u32 [%to], %r3;\nDONE:\n";
    expectWords(form, body, 64, [](unsigned t) { return t < 32 ? 5 : t - 32; });
    return;
  }
  if (form.has("red")) {
    // All threads, then those of two warps only, by a register's number.
    bool counts = form.has("popc"), all = form.has("and");
    std::string target = counts ? "%r4" : "%p4";
    std::string keep = counts ? "" : "selp.u32 %r4, 1, 0, %p4;\n";
    for (bool negated : {false, true}) {
      std::string vote = negated ? "!%p0" : "%p0";
      expectWords(form,
                  body + form.text + " " + target + ", 1, " + vote + ";\n" +
                      keep +
                      "mov.u32 %r5, %r4;\nsetp.ge.u32 %p1, %t, 64;\n"
                      "@%p1 bra OVER;\nshr.u32 %r6, %t, 31;\n"
                      "setp.lt.u32 %p2, %t, 2000;\n" +
                      form.text + " " + target + ", %r11, 64, %p2;\n" + keep +
                      "mad.lo.u32 %r5, %r4, 1000, %r5;\nOVER:\n"
                      "st.global.u32 [%to], %r5;\n",
                  96, [&](unsigned t) {
                    unsigned yes = negated ? 64 : 32;
                    unsigned whole = counts ? yes : all ? 0 : 1;
                    unsigned part = counts ? 64 : 1;
                    return whole + (t < 64 ? 1000 * part : 0);
                  });
    }
    return;
  }
  // Each reads what a thread of the other warp wrote; then two warps of three
  // meet at a barrier of their own.
  body += "st.shared.u32 [%r0], %t;\n" + form.text +
          " 0;\nsub.u32 %r2, 95, %t;\nshl.b32 %r2, %r2, 2;\n"
          "add.u32 %r2, %r2, %r10;\nld.shared.u32 %r3, [%r2];\n"
          "setp.ge.u32 %p1, %t, 64;\n@%p1 bra OVER;\nadd.u32 %r4, %t, 7;\n"
          "st.shared.u32 [%r0+512], %r4;\n" +
          form.text +
          " %r11, 64;\nxor.b32 %r2, %t, 32;\nshl.b32 %r2, %r2, 2;\n"
          "add.u32 %r2, %r2, %r10;\nld.shared.u32 %r4, [%r2+512];\n"
          "mad.lo.u32 %r3, %r4, 1000, %r3;\nOVER:\nst.global.u32 [%to], %r3;\n";
  expectWords(form, body, 96, [](unsigned t) {
    return 95 - t + (t < 64 ? 1000 * ((t ^ 32) + 7) : 0);
  });
}

void checkFence(const Spelling &form) {
  // What the first warp wrote before the fence is there when its flag is.
  expectWords(form,
              "mov.u32 %r10, s;\nst.shared.u32 [%r10+4], 0;\nbar.sync 0;\n"
              "setp.ge.u32 %p1, %t, 32;\n@%p1 bra WAIT;\n"
              "st.global.u32 [%to], 77;\n" +
                  form.text +
                  ";\nst.volatile.shared.u32 [%r10+4], 1;\nbra DONE;\nWAIT:\n"
                  "ld.volatile.shared.u32 %r0, [%r10+4];\n"
                  "setp.eq.u32 %p2, %r0, 0;\n@%p2 bra WAIT;\n" +
                  form.text +
                  ";\nld.global.u32 %r1, [%to+-2048];\nadd.u32 %r1, %r1, 1;\n"
                  "st.global.u32 [%to], %r1;\nDONE:\n",
              64, [](unsigned t) { return t < 32 ? 77u : 78u; });
}

void checkControl(const Spelling &form) {
  const std::string &op = form.words[0];
  std::string odd = "and.b32 %r0, %t, 1;\nsetp.ne.u32 %p0, %r0, 0;\n";
  std::string store = "st.global.u32 [%to], %r1;\n";
  if (op == "bra") {
    // A loop that threads leave one by one, where they may; forwards too.
    bool uniform = form.has("uni");
    std::string limit = uniform ? "7" : "%t";
    expectWords(form,
                "mov.u32 %r0, 0;\nmov.u32 %r1, 100;\nLOOP:\n"
                "add.u32 %r1, %r1, %r0;\nadd.u32 %r0, %r0, 1;\n"
                "setp.le.u32 %p0, %r0, " +
                    limit + ";\n@%p0 " + form.text + " LOOP;\n" + form.text +
                    " OVER;\nmov.u32 %r1, 0;\nOVER:\n" + store,
                64, [&](unsigned t) {
                  unsigned n = uniform ? 7 : t;
                  return 100 + n * (n + 1) / 2;
                });
  } else if (op == "call" || op == "ret") {
    std::string call = op == "call" ? form.text : "call.uni";
    std::string back = op == "ret" ? form.text : "ret";
    // A result, an argument, and a return in the middle for some.
    std::string callee =
        ".func (.param .b32 v) f(.param .b32 a)\n{\n.reg .b32 %r<4>;\n"
        ".reg .pred %p;\nld.param.u32 %r1, [a];\nand.b32 %r2, %r1, 1;\n"
        "setp.ne.u32 %p, %r2, 0;\nst.param.b32 [v], 40;\n@%p " +
        back + ";\nadd.u32 %r3, %r1, 100;\nst.param.b32 [v], %r3;\n" + back +
        ";\n}\n";
    expectWords(
        form,
        "{\n.param .b32 p0;\n.param .b32 p1;\nst.param.b32 [p0], %t;\n" + call +
            " (p1), f, (p0);\nld.param.b32 %r1, [p1];\n}\n" + store,
        64, [](unsigned t) { return t % 2 ? 40 : t + 100; }, callee);
  } else if (op == "exit") {
    expectWords(form,
                odd + "mov.u32 %r1, 3;\n" + store +
                    "@%p0 exit;\n"
                    "mov.u32 %r1, 4;\n" +
                    store,
                64, [](unsigned t) { return t % 2 ? 3u : 4u; });
  } else if (op == "trap" || op == "brkpt") {
    // The thread that comes to it stops the kernel; without it none does.
    for (unsigned at : {5u, 99u}) {
      Run run = runForm(form,
                        formKernel("setp.eq.u32 %p0, %t, " + str(at) +
                                   ";\nst.global.u32 [%to], 9;\n@%p0 " +
                                   form.text + ";\n"),
                        {}, 32, true);
      ASSERT_EQ(run.fault.has_value(), at == 5) << form.text;
      ASSERT_FALSE(run.out.empty());
      EXPECT_EQ(run.at<uint32_t>(0, 0), 9u);
      if (run.fault)
        EXPECT_EQ(run.fault->thread.x, 5u) << run.fault->str();
    }
  } else { // nanosleep and griddepcontrol change no value
    std::string operand = op == "nanosleep" ? " 20" : "";
    expectWords(form,
                "add.u32 %r1, %t, 6;\n" + form.text + operand + ";\n" + store,
                64, [](unsigned t) { return t + 6; });
  }
}

} // namespace cudasim::test
