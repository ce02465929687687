//===- Kernels.h - PTX that the driver's tests run ------------------------===//
#pragma once

namespace cudasim::test {

/// Written by hand, so that the tests need no compiler.
inline const char kKernels[] = R"ptx(
.version 8.0
.target sm_80
.address_size 64

.global .align 4 .u32 counter = 7;
.const .align 4 .u32 table[4] = {1, 2, 3, 4};

// p[i] = v for i < n
.visible .entry fill(.param .u64 fill_p, .param .u32 fill_v, .param .u32 fill_n)
{
  .reg .pred %p<2>;
  .reg .b32 %r<7>;
  .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [fill_p];
  ld.param.u32 %r1, [fill_v];
  ld.param.u32 %r2, [fill_n];
  mov.u32 %r3, %ctaid.x;
  mov.u32 %r4, %ntid.x;
  mov.u32 %r5, %tid.x;
  mad.lo.s32 %r6, %r3, %r4, %r5;
  setp.ge.s32 %p1, %r6, %r2;
  @%p1 bra FILL_END;
  cvta.to.global.u64 %rd2, %rd1;
  mul.wide.s32 %rd3, %r6, 4;
  add.s64 %rd4, %rd2, %rd3;
  st.global.u32 [%rd4], %r1;
FILL_END:
  ret;
}

// p[i] = p[i] * m + v for i < n
.visible .entry step(.param .u64 step_p, .param .u32 step_m, .param .u32 step_v,
                     .param .u32 step_n)
{
  .reg .pred %p<2>;
  .reg .b32 %r<10>;
  .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [step_p];
  ld.param.u32 %r1, [step_m];
  ld.param.u32 %r2, [step_v];
  ld.param.u32 %r3, [step_n];
  mov.u32 %r4, %ctaid.x;
  mov.u32 %r5, %ntid.x;
  mov.u32 %r6, %tid.x;
  mad.lo.s32 %r7, %r4, %r5, %r6;
  setp.ge.s32 %p1, %r7, %r3;
  @%p1 bra STEP_END;
  cvta.to.global.u64 %rd2, %rd1;
  mul.wide.s32 %rd3, %r7, 4;
  add.s64 %rd4, %rd2, %rd3;
  ld.global.u32 %r8, [%rd4];
  mad.lo.s32 %r9, %r8, %r1, %r2;
  st.global.u32 [%rd4], %r9;
STEP_END:
  ret;
}

// out[0] = counter + table[2]
.visible .entry globals(.param .u64 globals_p)
{
  .reg .b32 %r<4>;
  .reg .b64 %rd<3>;
  ld.param.u64 %rd1, [globals_p];
  cvta.to.global.u64 %rd2, %rd1;
  ld.global.u32 %r1, [counter];
  ld.const.u32 %r2, [table+8];
  add.s32 %r3, %r1, %r2;
  st.global.u32 [%rd2], %r3;
  ret;
}

.visible .entry stopped()
{
  trap;
  ret;
}

.visible .entry forever(.param .u64 forever_p)
{
  .reg .pred %p<2>;
  .reg .b32 %r<2>;
  .reg .b64 %rd<3>;
  ld.param.u64 %rd1, [forever_p];
  cvta.to.global.u64 %rd2, %rd1;
FOREVER_LOOP:
  ld.volatile.global.u32 %r1, [%rd2];
  setp.eq.s32 %p1, %r1, 0;
  @%p1 bra FOREVER_LOOP;
  ret;
}

.visible .entry small() .maxntid 64, 1, 1
{
  ret;
}

.visible .entry exact() .reqntid 32, 2, 1
{
  ret;
}

.extern .shared .align 16 .b8 dynamicBytes[];

// out[i] = dynamic[i], each written by its own thread, over 1 KiB static
.visible .entry shared(.param .u64 shared_p)
{
  .reg .b32 %r<6>;
  .reg .b64 %rd<5>;
  .shared .align 4 .b8 staticBytes[1024];
  ld.param.u64 %rd1, [shared_p];
  cvta.to.global.u64 %rd2, %rd1;
  mov.u32 %r1, %tid.x;
  shl.b32 %r2, %r1, 2;
  mov.u32 %r3, dynamicBytes;
  add.s32 %r4, %r3, %r2;
  st.shared.u32 [%r4], %r1;
  ld.shared.u32 %r5, [%r4];
  mov.u32 %r3, staticBytes;
  add.s32 %r3, %r3, %r2;
  st.shared.u32 [%r3], %r5;
  mul.wide.s32 %rd3, %r1, 4;
  add.s64 %rd4, %rd2, %rd3;
  st.global.u32 [%rd4], %r5;
  ret;
}
)ptx";

} // namespace cudasim::test
