// Creating descriptors, and their attributes by table.
#include "tools/cudasim/fakes/cublaslt/Descriptors.h"

#include "tools/cudasim/driver/PrivateApi.h"

#include <cstddef>
#include <cstring>
#include <new>

namespace cudasim::cublaslt {

cublasStatus_t refuse(cublasStatus_t status, const std::string &why) {
  std::string text =
      std::string("cublasLt: ") + cublasLtGetStatusName(status) + ": " + why;
  moecCudasimLog(0, text.c_str());
  return status;
}

const Layout *layoutOf(cublasLtMatrixLayout_t handle) {
  auto *layout = reinterpret_cast<const Layout *>(handle);
  return layout && layout->mark == kLayoutMark ? layout : nullptr;
}

const Desc *descOf(cublasLtMatmulDesc_t handle) {
  auto *desc = reinterpret_cast<const Desc *>(handle);
  return desc && desc->mark == kDescMark ? desc : nullptr;
}

const Preference *preferenceOf(cublasLtMatmulPreference_t handle) {
  auto *preference = reinterpret_cast<const Preference *>(handle);
  return preference && preference->mark == kPreferenceMark ? preference
                                                           : nullptr;
}

unsigned bytesOf(int type) {
  switch (type) {
  case CUDA_R_8I:
  case CUDA_R_8F_E4M3:
  case CUDA_R_8F_E5M2:
    return 1;
  case CUDA_R_16F:
  case CUDA_R_16BF:
    return 2;
  case CUDA_R_32F:
  case CUDA_R_32I:
    return 4;
  case CUDA_R_64F:
    return 8;
  default:
    return 0;
  }
}

const char *nameOf(int type) {
  switch (type) {
  case CUDA_R_8I:
    return "i8";
  case CUDA_R_8F_E4M3:
    return "e4m3";
  case CUDA_R_8F_E5M2:
    return "e5m2";
  case CUDA_R_16F:
    return "f16";
  case CUDA_R_16BF:
    return "bf16";
  case CUDA_R_32F:
    return "f32";
  case CUDA_R_32I:
    return "i32";
  case CUDA_R_64F:
    return "f64";
  default:
    return "another type";
  }
}

namespace {

struct Field {
  int attribute;
  size_t offset;
  size_t bytes;
};

#define CUBLASLT_FIELD(ATTRIBUTE, STRUCT, MEMBER)                              \
  {ATTRIBUTE, offsetof(STRUCT, MEMBER), sizeof(STRUCT::MEMBER)}

const Field kLayoutFields[] = {
    CUBLASLT_FIELD(CUBLASLT_MATRIX_LAYOUT_TYPE, Layout, type),
    CUBLASLT_FIELD(CUBLASLT_MATRIX_LAYOUT_ORDER, Layout, order),
    CUBLASLT_FIELD(CUBLASLT_MATRIX_LAYOUT_ROWS, Layout, rows),
    CUBLASLT_FIELD(CUBLASLT_MATRIX_LAYOUT_COLS, Layout, cols),
    CUBLASLT_FIELD(CUBLASLT_MATRIX_LAYOUT_LD, Layout, ld),
    CUBLASLT_FIELD(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, Layout, batch),
    CUBLASLT_FIELD(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, Layout, stride),
    CUBLASLT_FIELD(CUBLASLT_MATRIX_LAYOUT_PLANE_OFFSET, Layout, plane),
    // CUBLASLT_MATRIX_LAYOUT_BATCH_MODE, which older toolkits do not name.
    {8, offsetof(Layout, batchMode), sizeof(Layout::batchMode)},
};

const Field kDescFields[] = {
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, Desc, compute),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_SCALE_TYPE, Desc, scale),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_POINTER_MODE, Desc, pointerMode),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_TRANSA, Desc, transA),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_TRANSB, Desc, transB),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_TRANSC, Desc, transC),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_FILL_MODE, Desc, fill),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE, Desc, epilogue),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_BIAS_POINTER, Desc, bias),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, Desc, biasStride),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, Desc, aux),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, Desc, auxLd),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, Desc,
                   auxStride),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_ALPHA_VECTOR_BATCH_STRIDE, Desc,
                   alphaStride),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, Desc, smTarget),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, Desc, aScale),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, Desc, bScale),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_C_SCALE_POINTER, Desc, cScale),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_D_SCALE_POINTER, Desc, dScale),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_AMAX_D_POINTER, Desc, dAmax),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_DATA_TYPE, Desc, auxType),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_SCALE_POINTER, Desc,
                   auxScale),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_AMAX_POINTER, Desc,
                   auxAmax),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_FAST_ACCUM, Desc, fastAccumulation),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, Desc, biasType),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, Desc, aScaleMode),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, Desc, bScaleMode),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_C_SCALE_MODE, Desc, cScaleMode),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_D_SCALE_MODE, Desc, dScaleMode),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_SCALE_MODE, Desc,
                   auxScaleMode),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_D_OUT_SCALE_POINTER, Desc, dOutScale),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_DESC_D_OUT_SCALE_MODE, Desc, dOutScaleMode),
    // CUBLASLT_MATMUL_DESC_EMULATION_DESCRIPTOR.
    {38, offsetof(Desc, emulation), sizeof(Desc::emulation)},
};

const Field kPreferenceFields[] = {
    CUBLASLT_FIELD(CUBLASLT_MATMUL_PREF_SEARCH_MODE, Preference, search),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, Preference,
                   workspace),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, Preference,
                   reductions),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, Preference,
                   alignA),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, Preference,
                   alignB),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, Preference,
                   alignC),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, Preference,
                   alignD),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_PREF_MAX_WAVES_COUNT, Preference, waves),
    CUBLASLT_FIELD(CUBLASLT_MATMUL_PREF_IMPL_MASK, Preference, implementations),
};

const Field kAlgoFields[] = {
    CUBLASLT_FIELD(CUBLASLT_ALGO_CONFIG_ID, Algo, id),
    CUBLASLT_FIELD(CUBLASLT_ALGO_CONFIG_TILE_ID, Algo, tile),
    CUBLASLT_FIELD(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, Algo, splitK),
    CUBLASLT_FIELD(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, Algo, reduction),
    CUBLASLT_FIELD(CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, Algo, swizzle),
    CUBLASLT_FIELD(CUBLASLT_ALGO_CONFIG_STAGES_ID, Algo, stages),
};

template <size_t N>
const Field *fieldOf(const Field (&fields)[N], int attribute) {
  for (const Field &field : fields)
    if (field.attribute == attribute)
      return &field;
  return nullptr;
}

template <size_t N>
cublasStatus_t set(const Field (&fields)[N], void *object, int attribute,
                   const void *value, size_t bytes) {
  const Field *field = fieldOf(fields, attribute);
  if (!object || !field)
    return refuse(CUBLAS_STATUS_INVALID_VALUE,
                  "there is no attribute " + std::to_string(attribute));
  if (!value || bytes != field->bytes)
    return refuse(CUBLAS_STATUS_INVALID_VALUE,
                  "attribute " + std::to_string(attribute) + " has " +
                      std::to_string(field->bytes) + " bytes, not " +
                      std::to_string(bytes));
  std::memcpy(static_cast<char *>(object) + field->offset, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

// With no room, the answer is how much is needed.
template <size_t N>
cublasStatus_t get(const Field (&fields)[N], const void *object, int attribute,
                   void *out, size_t room, size_t *written) {
  const Field *field = fieldOf(fields, attribute);
  if (!object || !field)
    return refuse(CUBLAS_STATUS_INVALID_VALUE,
                  "there is no attribute " + std::to_string(attribute));
  if (room == 0) {
    if (!written)
      return CUBLAS_STATUS_INVALID_VALUE;
    *written = field->bytes;
    return CUBLAS_STATUS_SUCCESS;
  }
  if (!out || room != field->bytes)
    return refuse(CUBLAS_STATUS_INVALID_VALUE,
                  "attribute " + std::to_string(attribute) + " has " +
                      std::to_string(field->bytes) + " bytes, not " +
                      std::to_string(room));
  std::memcpy(out, static_cast<const char *>(object) + field->offset,
              field->bytes);
  if (written)
    *written = field->bytes;
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T, typename Handle>
cublasStatus_t place(Handle handle, size_t room, const T &initial) {
  if (!handle || room < sizeof(T))
    return CUBLAS_STATUS_ALLOC_FAILED;
  std::memset(static_cast<void *>(handle), 0, sizeof *handle);
  std::memcpy(static_cast<void *>(handle), &initial, sizeof initial);
  return CUBLAS_STATUS_SUCCESS;
}

template <typename T, typename Opaque>
cublasStatus_t create(Opaque **out, const T &initial) {
  if (!out)
    return CUBLAS_STATUS_INVALID_VALUE;
  *out = new (std::nothrow) Opaque;
  return *out ? place(*out, sizeof **out, initial) : CUBLAS_STATUS_ALLOC_FAILED;
}

// Storage that is used after this is found out by its mark.
template <typename Opaque> cublasStatus_t destroy(Opaque *handle) {
  if (handle)
    handle->data[0] = 0;
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

Layout initialLayout(cudaDataType type, uint64_t rows, uint64_t cols,
                     int64_t ld) {
  Layout layout = {};
  layout.mark = kLayoutMark;
  layout.type = uint32_t(type);
  layout.batch = 1;
  layout.rows = rows;
  layout.cols = cols;
  layout.ld = ld;
  return layout;
}

Desc initialDesc(cublasComputeType_t compute, cudaDataType scale) {
  Desc desc = {};
  desc.mark = kDescMark;
  desc.compute = compute;
  desc.scale = scale;
  desc.transA = desc.transB = desc.transC = CUBLAS_OP_N;
  desc.fill = CUBLAS_FILL_MODE_FULL;
  desc.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  desc.auxType = desc.biasType = -1;
  return desc;
}

Preference initialPreference() {
  Preference preference = {};
  preference.mark = kPreferenceMark;
  preference.reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
  preference.alignA = preference.alignB = 256;
  preference.alignC = preference.alignD = 256;
  preference.implementations = ~uint64_t(0);
  return preference;
}

} // namespace

} // namespace cudasim::cublaslt

using namespace cudasim::cublaslt;

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t handle,
                                                 size_t room, cudaDataType type,
                                                 uint64_t rows, uint64_t cols,
                                                 int64_t ld) {
  return place(handle, room, initialLayout(type, rows, cols, ld));
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out,
                                          cudaDataType type, uint64_t rows,
                                          uint64_t cols, int64_t ld) {
  return create(out, initialLayout(type, rows, cols, ld));
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t handle) {
  return destroy(handle);
}

cublasStatus_t
cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t handle,
                                 cublasLtMatrixLayoutAttribute_t attribute,
                                 const void *value, size_t bytes) {
  return set(kLayoutFields, const_cast<Layout *>(layoutOf(handle)), attribute,
             value, bytes);
}

cublasStatus_t
cublasLtMatrixLayoutGetAttribute(cublasLtMatrixLayout_t handle,
                                 cublasLtMatrixLayoutAttribute_t attribute,
                                 void *out, size_t room, size_t *written) {
  return get(kLayoutFields, layoutOf(handle), attribute, out, room, written);
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t handle,
                                               size_t room,
                                               cublasComputeType_t compute,
                                               cudaDataType_t scale) {
  return place(handle, room, initialDesc(compute, scale));
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out,
                                        cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  return create(out, initialDesc(compute, scale));
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t handle) {
  return destroy(handle);
}

cublasStatus_t
cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle,
                               cublasLtMatmulDescAttributes_t attribute,
                               const void *value, size_t bytes) {
  return set(kDescFields, const_cast<Desc *>(descOf(handle)), attribute, value,
             bytes);
}

cublasStatus_t
cublasLtMatmulDescGetAttribute(cublasLtMatmulDesc_t handle,
                               cublasLtMatmulDescAttributes_t attribute,
                               void *out, size_t room, size_t *written) {
  return get(kDescFields, descOf(handle), attribute, out, room, written);
}

cublasStatus_t
cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t handle,
                                      size_t room) {
  return place(handle, room, initialPreference());
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
  return create(out, initialPreference());
}

cublasStatus_t
cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t handle) {
  return destroy(handle);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t handle,
    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
    size_t bytes) {
  return set(kPreferenceFields, const_cast<Preference *>(preferenceOf(handle)),
             attribute, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceGetAttribute(
    cublasLtMatmulPreference_t handle,
    cublasLtMatmulPreferenceAttributes_t attribute, void *out, size_t room,
    size_t *written) {
  return get(kPreferenceFields, preferenceOf(handle), attribute, out, room,
             written);
}

cublasStatus_t cublasLtMatmulAlgoConfigSetAttribute(
    cublasLtMatmulAlgo_t *algo, cublasLtMatmulAlgoConfigAttributes_t attribute,
    const void *value, size_t bytes) {
  return set(kAlgoFields, algo, attribute, value, bytes);
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(
    const cublasLtMatmulAlgo_t *algo,
    cublasLtMatmulAlgoConfigAttributes_t attribute, void *out, size_t room,
    size_t *written) {
  return get(kAlgoFields, algo, attribute, out, room, written);
}

//===--- the library --------------------------------------------------------//

const char *cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
  case CUBLAS_STATUS_SUCCESS:
    return "CUBLAS_STATUS_SUCCESS";
  case CUBLAS_STATUS_NOT_INITIALIZED:
    return "CUBLAS_STATUS_NOT_INITIALIZED";
  case CUBLAS_STATUS_ALLOC_FAILED:
    return "CUBLAS_STATUS_ALLOC_FAILED";
  case CUBLAS_STATUS_INVALID_VALUE:
    return "CUBLAS_STATUS_INVALID_VALUE";
  case CUBLAS_STATUS_ARCH_MISMATCH:
    return "CUBLAS_STATUS_ARCH_MISMATCH";
  case CUBLAS_STATUS_MAPPING_ERROR:
    return "CUBLAS_STATUS_MAPPING_ERROR";
  case CUBLAS_STATUS_EXECUTION_FAILED:
    return "CUBLAS_STATUS_EXECUTION_FAILED";
  case CUBLAS_STATUS_INTERNAL_ERROR:
    return "CUBLAS_STATUS_INTERNAL_ERROR";
  case CUBLAS_STATUS_NOT_SUPPORTED:
    return "CUBLAS_STATUS_NOT_SUPPORTED";
  case CUBLAS_STATUS_LICENSE_ERROR:
    return "CUBLAS_STATUS_LICENSE_ERROR";
  }
  return "unknown cuBLAS status";
}

const char *cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
  case CUBLAS_STATUS_SUCCESS:
    return "success";
  case CUBLAS_STATUS_NOT_INITIALIZED:
    return "the library was not initialized";
  case CUBLAS_STATUS_ALLOC_FAILED:
    return "the resource allocation failed";
  case CUBLAS_STATUS_INVALID_VALUE:
    return "an invalid value was used as an argument";
  case CUBLAS_STATUS_ARCH_MISMATCH:
    return "the device lacks a feature that is needed";
  case CUBLAS_STATUS_MAPPING_ERROR:
    return "access to device memory failed";
  case CUBLAS_STATUS_EXECUTION_FAILED:
    return "the program failed on the device";
  case CUBLAS_STATUS_INTERNAL_ERROR:
    return "an internal operation failed";
  case CUBLAS_STATUS_NOT_SUPPORTED:
    return "the operation is not supported";
  case CUBLAS_STATUS_LICENSE_ERROR:
    return "a licence is missing";
  }
  return "unknown";
}

size_t cublasLtGetVersion(void) { return CUBLAS_VERSION; }

size_t cublasLtGetCudartVersion(void) { return CUDA_VERSION; }

cublasStatus_t cublasLtGetProperty(libraryPropertyType type, int *value) {
  if (!value)
    return CUBLAS_STATUS_INVALID_VALUE;
  switch (type) {
  case MAJOR_VERSION:
    *value = CUBLAS_VER_MAJOR;
    return CUBLAS_STATUS_SUCCESS;
  case MINOR_VERSION:
    *value = CUBLAS_VER_MINOR;
    return CUBLAS_STATUS_SUCCESS;
  case PATCH_LEVEL:
    *value = CUBLAS_VER_PATCH;
    return CUBLAS_STATUS_SUCCESS;
  }
  return CUBLAS_STATUS_INVALID_VALUE;
}

// Nothing is cached and nothing is logged here: the driver's log has it all.
cublasStatus_t cublasLtHeuristicsCacheGetCapacity(size_t *capacity) {
  if (!capacity)
    return CUBLAS_STATUS_INVALID_VALUE;
  *capacity = 0;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtHeuristicsCacheSetCapacity(size_t) {
  return CUBLAS_STATUS_SUCCESS;
}

unsigned cublasLtDisableCpuInstructionsSetMask(unsigned) { return 0; }

cublasStatus_t cublasLtLoggerSetCallback(cublasLtLoggerCallback_t) {
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtLoggerSetFile(FILE *) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtLoggerOpenFile(const char *) {
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtLoggerSetLevel(int) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtLoggerSetMask(int) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasLtLoggerForceDisable() { return CUBLAS_STATUS_SUCCESS; }
