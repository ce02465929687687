//===- WarpForms.cpp - what the lanes of a warp do together ---------------===//

#include "tests/tools/cudasim/machine/FormKit.h"

#include <cmath>

namespace cudasim::test {
namespace {

/// Member masks; lanes outside jump over the op.
constexpr uint32_t kMasks[] = {0xFFFFFFFF, 0x0F0F00F1, 0x80000001, 0x00000010};

/// Lanes of `mask` run `body`; the records' words are %r0 to %r3, the results
/// are %r8 and %p8.
std::string forMembers(uint32_t mask, const std::string &body) {
  return "shr.u32 %r20, " + str(mask) +
         ", %t;\nand.b32 %r20, %r20, 1;\nsetp.eq.u32 %p20, %r20, 0;\n"
         "ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%from];\n"
         "ld.global.v2.u64 {%d0, %d1}, [%from];\n"
         "setp.ne.u32 %p0, %r0, 0;\nmov.u32 %r8, 0;\n"
         "setp.ne.u32 %p8, %r8, 0;\n@%p20 bra OVER;\n" +
         body +
         "\nOVER:\nselp.u32 %r9, 1, 0, %p8;\n"
         "st.global.v2.u32 [%to], {%r8, %r9};\n";
}

bool isMember(uint32_t mask, unsigned lane) { return mask >> lane & 1; }

} // namespace

void checkShuffle(const Spelling &form) {
  std::string mode = form.oneOf({"up", "down", "bfly", "idx"});
  std::mt19937 random(21);
  for (uint32_t mask : kMasks)
    for (unsigned round = 0; round < 12; ++round) {
      // Widths as CUDA's shuffles make them, then clamps of all kinds.
      uint32_t width = 1u << round % 6;
      uint32_t segments = (32 - width) << 8;
      Bytes in = randomBytes(32 * kRecord, 22 + round);
      for (unsigned lane = 0; lane < 32; ++lane) {
        bool cuda = round < 6;
        putAt<uint32_t>(in, lane * kRecord + 4,
                        cuda ? round * 3 % 32 : random() % 64);
        putAt<uint32_t>(in, lane * kRecord + 8,
                        cuda ? segments | (mode == "up" ? 0 : 31)
                             : random() & 0x1F1F);
      }
      Run run = runForm(
          form,
          formKernel(forMembers(mask, form.text + " %r8|%p8, %r0, %r1, %r2, " +
                                          str(mask) + ";")),
          in);
      if (run.out.empty())
        return;
      for (unsigned lane = 0; lane < 32; ++lane) {
        if (!isMember(mask, lane))
          continue;
        int by = int(getAt<uint32_t>(in, lane * kRecord + 4) % 32);
        uint32_t c = getAt<uint32_t>(in, lane * kRecord + 8);
        int fixed = int(c >> 8 & 31), self = int(lane);
        int base = self & fixed, bound = base | (int(c & 31) & ~fixed);
        int from = mode == "up"     ? self - by
                   : mode == "down" ? self + by
                   : mode == "bfly" ? self ^ by
                                    : (base | (by & ~fixed));
        bool inside = mode == "up" ? from >= bound : from <= bound;
        if (!inside)
          from = self;
        EXPECT_EQ(run.at<uint32_t>(lane, 4), unsigned(inside))
            << form.text << ", lane " << lane << ", round " << round;
        // What lanes that take no part hand over is not defined.
        if (isMember(mask, unsigned(from) % 32)) {
          ASSERT_EQ(run.at<uint32_t>(lane, 0),
                    getAt<uint32_t>(in, unsigned(from) * kRecord))
              << form.text << ", lane " << lane << ", round " << round;
        }
      }
    }
}

void checkVote(const Spelling &form) {
  for (uint32_t mask : kMasks)
    for (unsigned pattern = 0; pattern < 4; ++pattern) {
      Bytes in = randomBytes(32 * kRecord, 31);
      uint32_t ballot = 0;
      for (unsigned lane = 0; lane < 32; ++lane) {
        bool yes = pattern == 0   ? false
                   : pattern == 1 ? true
                   : pattern == 2 ? lane % 3 == 1
                                  : lane == 0;
        putAt<uint32_t>(in, lane * kRecord, yes);
        ballot |= uint32_t(yes) << lane;
      }
      for (bool negated : {false, true}) {
        uint32_t votes = (negated ? ~ballot : ballot) & mask;
        std::string target = form.has("ballot") ? " %r8" : " %p8";
        Run run = runForm(
            form,
            formKernel(forMembers(mask, form.text + target + ", " +
                                            (negated ? "!%p0, " : "%p0, ") +
                                            str(mask) + ";")),
            in);
        if (run.out.empty())
          return;
        uint32_t want = form.has("ballot") ? votes
                        : form.has("all")  ? votes == mask
                        : form.has("any")  ? votes != 0
                                           : votes == mask || votes == 0;
        for (unsigned lane = 0; lane < 32; ++lane)
          if (isMember(mask, lane))
            ASSERT_EQ(run.at<uint32_t>(lane, form.has("ballot") ? 0 : 4), want)
                << form.text << " of " << votes << " among " << mask;
      }
    }
}

void checkMatch(const Spelling &form) {
  bool wide = form.type() == "b64", all = form.has("all");
  for (uint32_t mask : kMasks)
    for (unsigned kinds : {1u, 2u, 5u}) {
      Bytes in(32 * kRecord);
      std::mt19937 random(41);
      for (unsigned lane = 0; lane < 32; ++lane) {
        // The lower words of b64 are alike: only the upper ones tell.
        uint64_t value = random() % kinds;
        putAt<uint64_t>(in, lane * kRecord,
                        wide ? value << 40 | 9 : value << 16);
      }
      Run run =
          runForm(form,
                  formKernel(forMembers(
                      mask, form.text + (all ? " %r8|%p8, " : " %r8, ") +
                                (wide ? "%d0, " : "%r0, ") + str(mask) + ";")),
                  in);
      if (run.out.empty())
        return;
      for (unsigned lane = 0; lane < 32; ++lane) {
        if (!isMember(mask, lane))
          continue;
        uint32_t same = 0;
        for (unsigned other = 0; other < 32; ++other)
          if (isMember(mask, other) && getAt<uint64_t>(in, other * kRecord) ==
                                           getAt<uint64_t>(in, lane * kRecord))
            same |= 1u << other;
        bool alike = same == mask;
        ASSERT_EQ(run.at<uint32_t>(lane, 0), all && !alike ? 0 : same)
            << form.text << ", lane " << lane;
        if (all)
          ASSERT_EQ(run.at<uint32_t>(lane, 4), unsigned(alike)) << form.text;
      }
    }
}

void checkRedux(const Spelling &form) {
  std::string op = form.oneOf({"add", "min", "max", "and", "or", "xor"});
  std::string type = form.type();
  for (uint32_t mask : kMasks)
    for (unsigned round = 0; round < 3; ++round) {
      Bytes in = randomBytes(32 * kRecord, 51 + round);
      if (type == "f32") // finite numbers; in one round a not-a-number among
        for (unsigned lane = 0; lane < 32; ++lane) {
          float v = float(int(in[lane * kRecord]) - 128) / 4 - 0.125f;
          if (round == 1 && lane % 8 == 4)
            v = NAN;
          putAt<float>(in, lane * kRecord, v);
        }
      Run run = runForm(form,
                        formKernel(forMembers(mask, form.text + " %r8, %r0, " +
                                                        str(mask) + ";")),
                        in);
      if (run.out.empty())
        return;
      uint32_t want = 0;
      bool first = true;
      if (type == "f32") {
        float best = NAN;
        bool sawNan = false;
        for (unsigned lane = 0; lane < 32; ++lane) {
          if (!isMember(mask, lane))
            continue;
          float v = getAt<float>(in, lane * kRecord);
          v = form.has("abs") ? std::fabs(v) : v;
          sawNan |= std::isnan(v);
          best = op == "min" ? std::fmin(best, v) : std::fmax(best, v);
        }
        memcpy(&want, &best, 4);
        if (std::isnan(best) || (sawNan && form.has("NaN")))
          want = 0x7FFFFFFF;
      } else {
        for (unsigned lane = 0; lane < 32; ++lane) {
          if (!isMember(mask, lane))
            continue;
          uint32_t v = getAt<uint32_t>(in, lane * kRecord);
          int64_t a = type == "s32" ? int32_t(want) : int64_t(want);
          int64_t b = type == "s32" ? int32_t(v) : int64_t(v);
          want = first         ? v
                 : op == "add" ? want + v
                 : op == "and" ? want & v
                 : op == "or"  ? want | v
                 : op == "xor" ? want ^ v
                 : op == "min" ? uint32_t(std::min(a, b))
                               : uint32_t(std::max(a, b));
          first = false;
        }
      }
      for (unsigned lane = 0; lane < 32; ++lane)
        if (isMember(mask, lane))
          ASSERT_EQ(run.at<uint32_t>(lane, 0), want)
              << form.text << " among " << mask << ", round " << round;
    }
}

void checkLanes(const Spelling &form) {
  bool elects = form.words[0] == "elect";
  for (uint32_t mask : kMasks) {
    Run run =
        runForm(form,
                formKernel(forMembers(mask, elects ? form.text + " %r8|%p8, " +
                                                         str(mask) + ";"
                                                   : form.text + " %r8;")),
                Bytes(32 * kRecord));
    if (run.out.empty())
      return;
    unsigned leaders = 0;
    uint32_t leader = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
      if (!isMember(mask, lane)) {
        ASSERT_EQ(run.at<uint32_t>(lane, 0), 0u) << form.text;
        continue;
      }
      if (!elects) {
        // The simulator runs all lanes of one side of a branch together.
        ASSERT_EQ(run.at<uint32_t>(lane, 0), mask) << form.text;
        continue;
      }
      if (run.at<uint32_t>(lane, 4)) {
        ++leaders;
        leader = lane;
      }
    }
    if (!elects)
      continue;
    ASSERT_EQ(leaders, 1u) << form.text << " among " << mask;
    for (unsigned lane = 0; lane < 32; ++lane)
      if (isMember(mask, lane))
        ASSERT_EQ(run.at<uint32_t>(lane, 0), leader) << form.text;
  }
}

} // namespace cudasim::test
