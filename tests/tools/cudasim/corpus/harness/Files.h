//===- Files.h - the kernels of the corpus --------------------------------===//
#pragma once

namespace corpus {

constexpr const char *kFiles[] = {
    "AdamW.cu",          "Atomics.cu", "Combine.cu", "Control.cu",
    "CrossEntropy.cu",   "Float.cu",   "Gemm.cu",    "Half.cu",
    "FlashAttention.cu", "Integer.cu", "Permute.cu", "Pipeline.cu",
    "RaggedGemm.cu",     "Reduce.cu",  "RmsNorm.cu", "Rope.cu",
    "Router.cu",         "Tensor.cu",  "Warp.cu"};

} // namespace corpus
