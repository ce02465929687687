//===- Descriptors.h - what the opaque handles of cuBLASLt hold -----------===//
//
// The toolkit's header gives the storage of each descriptor, which a program
// may also provide itself; these lie in it.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <string>

namespace cudasim::cublaslt {

/// Marks storage that was initialised, by kind.
inline constexpr uint32_t kLayoutMark = 0x4c61796f;
inline constexpr uint32_t kDescMark = 0x44657363;
inline constexpr uint32_t kPreferenceMark = 0x50726566;
inline constexpr uint64_t kAlgoMark = 0x63756461416c676f;

struct Layout {
  uint32_t mark;
  uint32_t type;
  int32_t order;
  int32_t batch;
  uint64_t rows;
  uint64_t cols;
  int64_t ld;
  int64_t stride;
  int64_t plane;
  uint32_t batchMode;
};
static_assert(sizeof(Layout) <= sizeof(cublasLtMatrixLayoutOpaque_t));

struct Desc {
  uint32_t mark;
  int32_t compute;
  int32_t scale;
  int32_t pointerMode;
  int32_t transA;
  int32_t transB;
  int32_t transC;
  int32_t fill;
  uint32_t epilogue;
  int32_t smTarget;
  int32_t auxType;
  int32_t biasType;
  int32_t aScaleMode;
  int32_t bScaleMode;
  int32_t cScaleMode;
  int32_t dScaleMode;
  int32_t auxScaleMode;
  int32_t dOutScaleMode;
  int8_t fastAccumulation;
  uint64_t bias;
  int64_t biasStride;
  uint64_t aux;
  int64_t auxLd;
  int64_t auxStride;
  int64_t alphaStride;
  uint64_t aScale;
  uint64_t bScale;
  uint64_t cScale;
  uint64_t dScale;
  uint64_t dAmax;
  uint64_t auxScale;
  uint64_t auxAmax;
  uint64_t dOutScale;
  uint64_t emulation;
};
static_assert(sizeof(Desc) <= sizeof(cublasLtMatmulDescOpaque_t));

struct Preference {
  uint32_t mark;
  uint32_t search;
  uint64_t workspace;
  uint64_t implementations;
  uint32_t reductions;
  uint32_t alignA;
  uint32_t alignB;
  uint32_t alignC;
  uint32_t alignD;
  float waves;
};
static_assert(sizeof(Preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t));

/// One of the two algorithms there are: without and with a workspace.
struct Algo {
  uint64_t mark;
  int32_t id;
  uint32_t alignA;
  uint32_t alignB;
  uint32_t alignC;
  uint32_t alignD;
  int32_t tile;
  int32_t splitK;
  uint32_t reduction;
  uint32_t swizzle;
  uint32_t stages;
};
static_assert(sizeof(Algo) <= sizeof(cublasLtMatmulAlgo_t));

inline constexpr int kPlainAlgo = 1;
inline constexpr int kWorkspaceAlgo = 2;
inline constexpr uint64_t kWorkspaceBytes = 1 << 20;
/// Vector loads of the real library need this much, if alignment allows it.
inline constexpr uint32_t kVectorBytes = 16;

/// Null where the handle is null or was not initialised.
const Layout *layoutOf(cublasLtMatrixLayout_t handle);
const Desc *descOf(cublasLtMatmulDesc_t handle);
const Preference *preferenceOf(cublasLtMatmulPreference_t handle);

/// Says why on the driver's log, and hands on the status.
cublasStatus_t refuse(cublasStatus_t status, const std::string &why);

/// Bytes of an element; 0 for types that no supported matmul has.
unsigned bytesOf(int type);
const char *nameOf(int type);

} // namespace cudasim::cublaslt
