// Calls that are named here, so that programs which hold them can be loaded,
// and that do nothing.
#include "tools/cudasim/fakes/cublaslt/Descriptors.h"

using cudasim::cublaslt::refuse;

static cublasStatus_t missing(const char *name) {
  return refuse(CUBLAS_STATUS_NOT_SUPPORTED,
                std::string(name) + " is not simulated");
}

cublasStatus_t
cublasLtMatrixTransform(cublasLtHandle_t, cublasLtMatrixTransformDesc_t,
                        const void *, const void *, cublasLtMatrixLayout_t,
                        const void *, const void *, cublasLtMatrixLayout_t,
                        void *, cublasLtMatrixLayout_t, cudaStream_t) {
  return missing("cublasLtMatrixTransform");
}

cublasStatus_t
cublasLtMatrixTransformDescInit_internal(cublasLtMatrixTransformDesc_t, size_t,
                                         cudaDataType) {
  return missing("cublasLtMatrixTransformDescInit");
}

cublasStatus_t
cublasLtMatrixTransformDescCreate(cublasLtMatrixTransformDesc_t *,
                                  cudaDataType) {
  return missing("cublasLtMatrixTransformDescCreate");
}

cublasStatus_t
cublasLtMatrixTransformDescDestroy(cublasLtMatrixTransformDesc_t) {
  return missing("cublasLtMatrixTransformDescDestroy");
}

cublasStatus_t
cublasLtMatrixTransformDescSetAttribute(cublasLtMatrixTransformDesc_t,
                                        cublasLtMatrixTransformDescAttributes_t,
                                        const void *, size_t) {
  return missing("cublasLtMatrixTransformDescSetAttribute");
}

cublasStatus_t
cublasLtMatrixTransformDescGetAttribute(cublasLtMatrixTransformDesc_t,
                                        cublasLtMatrixTransformDescAttributes_t,
                                        void *, size_t, size_t *) {
  return missing("cublasLtMatrixTransformDescGetAttribute");
}
