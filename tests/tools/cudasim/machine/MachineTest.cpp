//===- MachineTest.cpp - divergence, barriers, calls and faults -----------===//

#include "tests/tools/cudasim/machine/Harness.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cudasim::test {
namespace {

using ::testing::HasSubstr;

/// A kernel `k(out)` around `body`: %t is the thread, %o the address of its
/// word of `out`, %a that of the first.
std::string kernel(const std::string &body, const std::string &before = "") {
  return std::string(kHeader) + before +
         ".visible .entry k(.param .u64 out)\n{\n"
         ".reg .b32 %t, %r<16>;\n.reg .b64 %a, %o, %d<8>;\n.reg .pred %p<8>;\n"
         ".reg .f32 %f<8>;\n"
         "ld.param.u64 %a, [out];\nmov.u32 %t, %tid.x;\n"
         "mul.wide.u32 %o, %t, 4;\nadd.s64 %o, %a, %o;\n" +
         body + "\nret;\n}\n";
}

struct Outcome {
  std::vector<uint32_t> out;
  std::optional<Fault> fault;
};

Outcome run(const std::string &ptx, LaunchConfig config, size_t words = 256,
            std::vector<uint32_t> start = {}) {
  Outcome result;
  Machine machine(ptx, config.checks.uninitialized);
  if (!machine.good()) {
    ADD_FAILURE() << machine.problem;
    return result;
  }
  start.resize(words);
  DevicePtr out = machine.put(start);
  result.fault = machine.run("k", config, out);
  result.out = machine.get<uint32_t>(out, words);
  return result;
}

TEST(Machine, lanes_leave_a_loop_one_by_one) {
  std::string ptx = kernel("mov.u32 %r1, 0;\nmov.u32 %r2, 0;\n"
                           "LOOP:\nadd.u32 %r2, %r2, %r1;\n"
                           "add.u32 %r1, %r1, 1;\n"
                           "setp.le.u32 %p1, %r1, %t;\n@%p1 bra LOOP;\n"
                           "activemask.b32 %r3;\nxor.b32 %r2, %r2, %r3;\n"
                           "st.global.u32 [%o], %r2;");
  Outcome result = run(ptx, shape(1, 48));
  ASSERT_FALSE(result.fault) << result.fault->str();
  for (uint32_t t = 0; t < 48; ++t)
    // All lanes are together again behind the loop.
    EXPECT_EQ(result.out[t], (t * (t + 1) / 2) ^ (t < 32 ? ~0u : 0xFFFF));
}

TEST(Machine, lanes_of_a_warp_may_wait_for_each_other_in_a_spin_lock) {
  // out[32] is the lock, out[33] what it guards.
  std::string ptx =
      kernel("SPIN:\natom.global.cas.b32 %r1, [%a+128], 0, 1;\n"
             "setp.ne.u32 %p1, %r1, 0;\n@%p1 bra SPIN;\n"
             "ld.volatile.global.u32 %r2, [%a+132];\nadd.u32 %r2, %r2, 1;\n"
             "st.volatile.global.u32 [%a+132], %r2;\nmembar.gl;\n"
             "atom.global.exch.b32 %r3, [%a+128], 0;");
  for (uint64_t seed : {0, 1, 2}) {
    LaunchConfig config = shape(2, 64);
    config.scheduleSeed = seed;
    config.instructionBudget = 10'000'000;
    Outcome result = run(ptx, config);
    ASSERT_FALSE(result.fault) << result.fault->str();
    EXPECT_EQ(result.out[33], 128u);
  }
}

TEST(Machine, a_block_may_wait_for_a_later_one) {
  std::string ptx = kernel("mov.u32 %r1, %ctaid.x;\nsetp.ne.u32 %p1, %r1, 0;\n"
                           "@%p1 bra SET;\n"
                           "WAIT:\nld.volatile.global.u32 %r2, [%a+128];\n"
                           "setp.eq.u32 %p2, %r2, 0;\n@%p2 bra WAIT;\n"
                           "membar.gl;\nld.global.u32 %r3, [%a+132];\n"
                           "st.global.u32 [%a], %r3;\nbra.uni DONE;\n"
                           "SET:\nst.global.u32 [%a+132], 77;\nmembar.gl;\n"
                           "st.volatile.global.u32 [%a+128], 1;\nDONE:");
  for (uint64_t seed : {0, 5}) {
    LaunchConfig config = shape(2, 1);
    config.scheduleSeed = seed;
    config.checks.globalRaces = true;
    Outcome result = run(ptx, config);
    ASSERT_FALSE(result.fault) << result.fault->str();
    EXPECT_EQ(result.out[0], 77u);
  }
}

TEST(Machine, a_missing_fence_between_blocks_is_a_race) {
  std::string ptx = kernel("mov.u32 %r1, %ctaid.x;\nsetp.ne.u32 %p1, %r1, 0;\n"
                           "@%p1 bra SET;\n"
                           "WAIT:\nld.volatile.global.u32 %r2, [%a+128];\n"
                           "setp.eq.u32 %p2, %r2, 0;\n@%p2 bra WAIT;\n"
                           "membar.gl;\nld.global.u32 %r3, [%a+132];\n"
                           "st.global.u32 [%a], %r3;\nbra.uni DONE;\n"
                           "SET:\nst.global.u32 [%a+132], 77;\n"
                           "st.volatile.global.u32 [%a+128], 1;\nDONE:");
  LaunchConfig config = shape(2, 1);
  config.checks.globalRaces = true;
  Outcome result = run(ptx, config);
  ASSERT_TRUE(result.fault);
  EXPECT_THAT(result.fault->message, HasSubstr("global-memory race"));
  EXPECT_THAT(result.fault->ptxText, HasSubstr("ld.global.u32 %r3"));
}

const char *kShared = ".shared .align 4 .b8 s[1024];\n";

TEST(Machine, a_barrier_orders_shared_memory) {
  std::string body = "mov.u32 %r1, s;\nshl.b32 %r2, %t, 2;\n"
                     "add.u32 %r3, %r1, %r2;\nst.shared.u32 [%r3], %t;\n";
  std::string rest = "sub.u32 %r4, 255, %t;\nshl.b32 %r4, %r4, 2;\n"
                     "add.u32 %r4, %r1, %r4;\nld.shared.u32 %r5, [%r4];\n"
                     "st.global.u32 [%o], %r5;";
  LaunchConfig config = shape(1, 256);
  config.checks = Checks::all();
  for (uint64_t seed : {0, 3, 4}) {
    config.scheduleSeed = seed;
    Outcome result =
        run(kernel(body + "bar.sync 0;\n" + rest, kShared), config);
    ASSERT_FALSE(result.fault) << result.fault->str();
    for (uint32_t t = 0; t < 256; ++t)
      ASSERT_EQ(result.out[t], 255 - t);
  }
  config.scheduleSeed = 0;
  config.checks.uninitialized = false;
  Outcome result = run(kernel(body + rest, kShared), config);
  ASSERT_TRUE(result.fault);
  EXPECT_THAT(result.fault->message, HasSubstr("shared-memory race"));
  EXPECT_THAT(result.fault->details, HasSubstr("PTX line"));
  config.checks = {};
  config.checks.uninitialized = true;
  result = run(kernel(body + rest, kShared), config);
  ASSERT_TRUE(result.fault);
  EXPECT_THAT(result.fault->message, HasSubstr("uninitialised shared read"));
}

TEST(Machine, named_barriers_let_producers_run_ahead) {
  // Warp 0 writes and arrives, warp 1 waits and reads.
  std::string ptx =
      kernel("setp.ge.u32 %p1, %t, 32;\nmov.u32 %r1, s;\nand.b32 %r2, %t, 31;\n"
             "shl.b32 %r3, %r2, 2;\nadd.u32 %r1, %r1, %r3;\n@%p1 bra READ;\n"
             "add.u32 %r4, %r2, 100;\nst.shared.u32 [%r1], %r4;\n"
             "bar.arrive 3, 64;\nbra.uni DONE;\n"
             "READ:\nbar.sync 3, 64;\nld.shared.u32 %r5, [%r1];\n"
             "st.global.u32 [%o], %r5;\nDONE:",
             kShared);
  LaunchConfig config = shape(1, 64);
  config.checks = Checks::all();
  Outcome result = run(ptx, config);
  ASSERT_FALSE(result.fault) << result.fault->str();
  EXPECT_EQ(result.out[32], 100u);
  EXPECT_EQ(result.out[63], 131u);
}

TEST(Machine, barriers_reduce_predicates) {
  std::string ptx = kernel("and.b32 %r1, %t, 3;\nsetp.eq.u32 %p1, %r1, 0;\n"
                           "bar.red.popc.u32 %r2, 0, %p1;\n"
                           "bar.red.and.pred %p2, 1, %p1;\n"
                           "bar.red.or.pred %p3, 1, !%p1;\n"
                           "selp.u32 %r3, 1000, 0, %p2;\n"
                           "selp.u32 %r4, 2000, 0, %p3;\n"
                           "add.u32 %r2, %r2, %r3;\nadd.u32 %r2, %r2, %r4;\n"
                           "st.global.u32 [%o], %r2;");
  Outcome result = run(ptx, shape(1, 128));
  ASSERT_FALSE(result.fault) << result.fault->str();
  for (uint32_t t = 0; t < 128; ++t)
    ASSERT_EQ(result.out[t], 2032u);
}

const char *kFactorial =
    ".func (.param .b32 r) f(.param .b32 n)\n{\n.reg .b32 %n<6>;\n"
    ".reg .pred %q;\nld.param.u32 %n1, [n];\nsetp.lt.u32 %q, %n1, 2;\n"
    "mov.u32 %n4, 1;\n@%q bra END;\nsub.u32 %n2, %n1, 1;\n"
    "{\n.param .b32 p0;\nst.param.b32 [p0], %n2;\n.param .b32 v0;\n"
    "call.uni (v0), f, (p0);\nld.param.b32 %n3, [v0];\n}\n"
    "mul.lo.u32 %n4, %n1, %n3;\nEND:\nst.param.b32 [r], %n4;\nret;\n}\n";

TEST(Machine, lanes_recurse_to_depths_of_their_own) {
  std::string ptx =
      kernel("rem.u32 %r1, %t, 9;\n{\n.param .b32 p0;\n"
             "st.param.b32 [p0], %r1;\n.param .b32 v0;\n"
             "call.uni (v0), f, (p0);\nld.param.b32 %r2, [v0];\n}\n"
             "st.global.u32 [%o], %r2;",
             kFactorial);
  LaunchConfig config = shape(1, 64);
  config.checks.uninitialized = true;
  Outcome result = run(ptx, config);
  ASSERT_FALSE(result.fault) << result.fault->str();
  uint32_t factorials[] = {1, 1, 2, 6, 24, 120, 720, 5040, 40320};
  for (uint32_t t = 0; t < 64; ++t)
    ASSERT_EQ(result.out[t], factorials[t % 9]) << t;
}

TEST(Machine, endless_recursion_overflows_the_stack) {
  std::string ptx = kernel("{\n.param .b32 p0;\nst.param.b32 [p0], 1000;\n"
                           ".param .b32 v0;\ncall.uni (v0), f, (p0);\n}\n",
                           kFactorial);
  Outcome result = run(ptx, shape(1, 1));
  ASSERT_TRUE(result.fault);
  EXPECT_EQ(result.fault->code, ErrorCode::LaunchFailed);
  EXPECT_THAT(result.fault->message, HasSubstr("stack"));
}

TEST(Machine, carries_chain_over_instructions) {
  // 96-bit sums and differences, in lanes that carry and lanes that do not.
  std::string ptx = kernel(
      "sub.u32 %r1, 0, %t;\nadd.cc.u32 %r2, %r1, %t;\n"
      "addc.cc.u32 %r3, -1, 0;\naddc.u32 %r4, 5, 0;\n"
      "sub.cc.u32 %r5, 0, %t;\nsubc.u32 %r6, 9, 0;\n"
      "mad.lo.cc.u32 %r7, %t, -1, %t;\nmadc.hi.u32 %r8, %t, -1, 0;\n"
      "shl.b32 %r9, %r4, 8;\nor.b32 %r9, %r9, %r6;\nshl.b32 %r9, %r9, 8;\n"
      "or.b32 %r9, %r9, %r8;\nst.global.u32 [%o], %r9;");
  Outcome result = run(ptx, shape(1, 32));
  ASSERT_FALSE(result.fault) << result.fault->str();
  for (uint32_t t = 0; t < 32; ++t) {
    // t * (2^32 - 1) + t = t * 2^32.
    uint32_t sum = t ? 6 : 5, difference = t ? 8 : 9;
    ASSERT_EQ(result.out[t], (sum << 8 | difference) << 8 | t) << t;
  }
}

TEST(Machine, a_guard_keeps_lanes_from_writing) {
  std::string ptx = kernel("and.b32 %r1, %t, 1;\nsetp.eq.u32 %p1, %r1, 0;\n"
                           "mov.u32 %r2, 7;\n@%p1 mov.u32 %r2, 8;\n"
                           "@!%p1 cvt.u32.u64 %r2, %a;\n"
                           "@%p1 st.global.u32 [%o], %r2;");
  Outcome result = run(ptx, shape(1, 32));
  ASSERT_FALSE(result.fault) << result.fault->str();
  for (uint32_t t = 0; t < 32; ++t)
    ASSERT_EQ(result.out[t], t % 2 ? 0u : 8u);
}

TEST(Machine, contraction_can_be_turned_off) {
  // (1 + 2^-12)^2 - 1: the product's last bits survive only in an fma.
  std::string ptx =
      kernel("mov.f32 %f1, 0f3F800800;\nmov.f32 %f2, 0fBF801000;\n"
             "mul.f32 %f3, %f1, %f1;\nadd.f32 %f4, %f3, %f2;\n"
             "st.global.f32 [%o], %f4;");
  LaunchConfig config = shape(1, 1);
  Outcome fused = run(ptx, config);
  config.fma = FmaMode::Never;
  Outcome apart = run(ptx, config);
  ASSERT_FALSE(fused.fault || apart.fault);
  EXPECT_EQ(fused.out[0], 0x33800000u); // 2^-24
  EXPECT_EQ(apart.out[0], 0u);
}

TEST(Machine, a_launch_beyond_the_limits_is_refused) {
  std::string ptx = kernel("");
  auto code = [&](LaunchConfig config) {
    Outcome result = run(ptx, config);
    return result.fault ? int(result.fault->code) : 0;
  };
  EXPECT_EQ(code(shape(0, 32)), int(ErrorCode::InvalidValue));
  EXPECT_EQ(code(shape(1, 1056)), int(ErrorCode::InvalidValue));
  LaunchConfig config = shape(1, 32);
  config.dynamicSharedBytes = 50000;
  EXPECT_EQ(code(config), int(ErrorCode::InvalidValue));
  config.maxDynamicSharedBytes = 50000;
  EXPECT_EQ(code(config), 0);
  config = shape(1 << 20, 1024);
  config.cooperative = true;
  EXPECT_EQ(code(config), int(ErrorCode::CooperativeLaunchTooLarge));
  config = shape(1, 32);
  config.grid.y = 70000;
  EXPECT_EQ(code(config), int(ErrorCode::InvalidValue));
}

TEST(Machine, faults_name_the_place) {
  struct Case {
    const char *body;
    ErrorCode code;
    const char *message, *text;
    uint32_t thread;
  } cases[] = {
      {"st.global.u32 [%o+960], %t;", ErrorCode::IllegalAddress,
       "0 bytes behind the end", "st.global.u32", 16},
      {"st.global.u32 [%o+1], %t;", ErrorCode::MisalignedAddress,
       "not a multiple of 4", "st.global.u32", 0},
      {"ld.global.u32 %r1, [0];", ErrorCode::IllegalAddress, "null pointer",
       "ld.global.u32", 0},
      {"setp.eq.u32 %p1, %t, 9;\n@%p1 trap;", ErrorCode::LaunchFailed, "trap",
       "trap", 9},
      {"setp.lt.u32 %p1, %t, 16;\n@!%p1 bra E;\n"
       "shfl.sync.idx.b32 %r1, %t, 0, 31, 0xFFFF0000;\nE:",
       ErrorCode::LaunchFailed, "member mask", "shfl.sync", 0},
      {"mov.u32 %r1, s;\nld.shared.u32 %r2, [%r1+2000];",
       ErrorCode::IllegalAddress, "shared address", "ld.shared", 0},
  };
  for (const Case &each : cases) {
    Outcome result = run(kernel(each.body, kShared), shape(1, 32), 256);
    ASSERT_TRUE(result.fault) << each.body;
    EXPECT_EQ(int(result.fault->code), int(each.code)) << each.body;
    EXPECT_THAT(result.fault->str(), HasSubstr(each.message));
    EXPECT_THAT(result.fault->ptxText, HasSubstr(each.text));
    EXPECT_EQ(result.fault->thread.x, each.thread) << each.body;
    EXPECT_EQ(result.fault->kernel, "k");
  }
}

TEST(Machine, checkers_find_what_hardware_hides) {
  struct Case {
    const char *body, *message;
  } cases[] = {
      {"st.global.u32 [%o], %r1;", "uninitialised register"},
      {"mov.u32 %r1, s;\nld.shared.u32 %r2, [%r1];",
       "uninitialised shared read"},
      {"mov.u32 %r1, s;\nst.shared.u32 [%r1+1024], %t;", "beyond the end of"},
      {"setp.lt.u32 %p1, %t, 16;\n@!%p1 bra E;\nbar.sync 0;\nE:\n"
       "st.global.u32 [%o], %t;",
       "divergent barrier"},
      {"setp.lt.u32 %p1, %t, 16;\n@!%p1 bra E;\n"
       "shfl.sync.idx.b32 %r1, %t, 20, 31, 0xFFFF;\nE:",
       "takes no part"},
      {"mov.u32 %r1, s;\ncp.async.ca.shared.global [%r1], [%a], 4;\n"
       "cp.async.commit_group;",
       "nobody waited for"},
  };
  std::string two = std::string(kShared) + ".shared .align 4 .b8 after[64];\n";
  for (const Case &each : cases) {
    LaunchConfig config = shape(1, 32);
    config.checks = Checks::all();
    config.checks.sharedRaces = false;
    std::string body = std::string(each.body) + "\nmov.u32 %r9, after;";
    Outcome result = run(kernel(body, two), config);
    ASSERT_TRUE(result.fault) << each.body;
    EXPECT_THAT(result.fault->message, HasSubstr(each.message)) << each.body;
  }
}

TEST(Machine, asynchronous_copies_arrive_with_the_wait) {
  auto ptx = [](const char *wait) {
    return kernel(std::string("mov.u32 %r1, s;\nshl.b32 %r2, %t, 2;\n"
                              "add.u32 %r1, %r1, %r2;\n"
                              "st.shared.u32 [%r1], 5;\n"
                              "cp.async.ca.shared.global [%r1], [%o], 4;\n"
                              "cp.async.commit_group;\n") +
                      wait +
                      "ld.shared.u32 %r3, [%r1];\nst.global.u32 [%o], %r3;\n"
                      "cp.async.wait_all;",
                  kShared);
  };
  std::vector<uint32_t> start(32, 9);
  EXPECT_EQ(
      run(ptx("cp.async.wait_group 0;\n"), shape(1, 32), 256, start).out[3],
      9u);
  EXPECT_EQ(
      run(ptx("cp.async.wait_group 1;\n"), shape(1, 32), 256, start).out[3],
      5u);
}

TEST(Machine, what_never_ends_is_reported_with_where_it_stands) {
  LaunchConfig config = shape(1, 64);
  config.instructionBudget = 100'000;
  Outcome result = run(kernel("L:\nbra L;"), config);
  ASSERT_TRUE(result.fault);
  EXPECT_EQ(result.fault->code, ErrorCode::LaunchTimeout);
  EXPECT_THAT(result.fault->details, HasSubstr("warp 1"));

  // One warp waits at a barrier for two.
  result = run(kernel("setp.ge.u32 %p1, %t, 32;\n@%p1 bra E;\n"
                      "bar.sync 1, 64;\nE:"),
               config);
  ASSERT_TRUE(result.fault);
  EXPECT_THAT(result.fault->message, HasSubstr("deadlock"));
  EXPECT_THAT(result.fault->details, HasSubstr("waits at a barrier"));
}

TEST(Machine, the_same_seed_gives_the_same_launch) {
  std::string ptx = kernel("mov.u32 %r1, %ctaid.x;\n"
                           "atom.global.add.u32 %r2, [%a+512], 1;\n"
                           "mad.lo.u32 %r3, %r1, 64, %t;\n"
                           "mul.wide.u32 %d1, %r3, 4;\nadd.s64 %d1, %a, %d1;\n"
                           "st.global.u32 [%d1+1024], %r2;");
  LaunchConfig config = shape(8, 64);
  Outcome plain = run(ptx, config, 1024);
  config.scheduleSeed = 11;
  Outcome first = run(ptx, config, 1024), second = run(ptx, config, 1024);
  config.scheduleSeed = 12;
  Outcome other = run(ptx, config, 1024);
  EXPECT_EQ(first.out, second.out);
  EXPECT_NE(first.out, plain.out);
  EXPECT_NE(first.out, other.out);
}

TEST(Machine, counters_count) {
  Machine machine(kernel("mov.u32 %r1, s;\nmad.lo.u32 %r1, %t, 128, %r1;\n"
                         "and.b32 %r1, %r1, 1023;\nld.global.u32 %r2, [%o];\n"
                         "st.shared.u32 [%r1], %r2;",
                         kShared));
  ASSERT_TRUE(machine.good()) << machine.problem;
  Counters counters;
  machine.counters = &counters;
  DevicePtr out = machine.put(std::vector<uint32_t>(256));
  auto fault = machine.run("k", shape(1, 32), out);
  ASSERT_FALSE(fault) << fault->str();
  EXPECT_EQ(counters.globalLoads.requests, 1u);
  EXPECT_EQ(counters.globalLoads.units, 4u);
  EXPECT_EQ(counters.globalLoads.idealUnits, 4u);
  // Eight words, all in bank 0.
  EXPECT_EQ(counters.sharedStores.units, 8u);
  EXPECT_EQ(counters.sharedStores.idealUnits, 1u);
  EXPECT_EQ(counters.uniqueGlobalBytesRead, 128u);
  EXPECT_DOUBLE_EQ(counters.activeLanesPerInstruction(), 32);
  std::string text;
  llvm::raw_string_ostream os(text);
  counters.printJson(os);
  EXPECT_THAT(text, HasSubstr("\"st.shared.u32\": 1"));
  counters.printTable(os);
  EXPECT_THAT(text, HasSubstr("not a measurement"));
}

TEST(Machine, rows_of_a_matrix_lie_in_shared_memory) {
  // A generic address may say where they are, but not in another space.
  Outcome result = run(kernel("ldmatrix.sync.aligned.m8n8.x1.b16 {%r1}, [%a];\n"
                              "st.global.u32 [%o], %r1;"),
                       shape(1, 32));
  ASSERT_TRUE(result.fault);
  EXPECT_EQ(result.fault->code, ErrorCode::InvalidAddressSpace);
  EXPECT_THAT(result.fault->message, HasSubstr("in shared memory"));
  EXPECT_THAT(result.fault->ptxText, HasSubstr("ldmatrix"));
}

} // namespace
} // namespace cudasim::test
