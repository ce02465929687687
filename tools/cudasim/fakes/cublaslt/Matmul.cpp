// Handles, heuristics and matmul itself.
#include "tools/cudasim/fakes/cublaslt/Problem.h"

#include "tools/cudasim/driver/PrivateApi.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>

struct cublasLtContext {
  int device = 0;
};

namespace cudasim::cublaslt {

namespace {

std::mutex handlesLock;
std::set<cublasLtHandle_t> &handles() {
  static auto *all = new std::set<cublasLtHandle_t>;
  return *all;
}

bool isHandle(cublasLtHandle_t handle) {
  std::lock_guard<std::mutex> lock(handlesLock);
  return handles().count(handle) != 0;
}

Algo makeAlgo(int id, const Preference &preference) {
  Algo algo = {};
  algo.mark = kAlgoMark;
  algo.id = id;
  algo.alignA = preference.alignA;
  algo.alignB = preference.alignB;
  algo.alignC = preference.alignC;
  algo.alignD = preference.alignD;
  algo.splitK = id == kWorkspaceAlgo ? 2 : 1;
  return algo;
}

uint64_t workspaceOf(const Algo &algo) {
  return algo.id == kWorkspaceAlgo ? kWorkspaceBytes : 0;
}

// What applies where nobody says which algorithm: the narrowest promise.
Algo plainAlgo() {
  Preference any = {};
  any.alignA = any.alignB = any.alignC = any.alignD = 1;
  return makeAlgo(kPlainAlgo, any);
}

bool readAlgo(const cublasLtMatmulAlgo_t *from, Algo &algo) {
  std::memcpy(&algo, from, sizeof algo);
  return algo.mark == kAlgoMark &&
         (algo.id == kPlainAlgo || algo.id == kWorkspaceAlgo);
}

void fillResult(const Algo &algo, const Problem &problem,
                cublasLtMatmulHeuristicResult_t &result) {
  result = {};
  std::memcpy(&result.algo, &algo, sizeof algo);
  result.workspaceSize = workspaceOf(algo);
  result.state = CUBLAS_STATUS_SUCCESS;
  // Tiles of 128 x 128 over a hundred multiprocessors.
  result.wavesCount = float(((problem.m + 127) / 128) *
                            ((problem.n + 127) / 128) * problem.batch) /
                      100.0f;
}

double readHost(int type, const void *at) {
  switch (type) {
  case CUDA_R_16F: {
    uint16_t bits = 0;
    std::memcpy(&bits, at, sizeof bits);
    int exponent = bits >> 10 & 31;
    double mantissa = bits & 1023;
    double value = exponent == 0
                       ? mantissa * 0x1p-24
                       : (1024 + mantissa) * std::pow(2.0, exponent - 25);
    return bits & 0x8000 ? -value : value;
  }
  case CUDA_R_32I: {
    int32_t value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  case CUDA_R_64F: {
    double value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  default: {
    float value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  }
}

// Host values are taken now, device values when the stream comes to it.
cublasStatus_t readScalars(Problem &p, const void *alpha, const void *beta) {
  int mode = p.desc.pointerMode;
  bool noBeta = mode == CUBLASLT_POINTER_MODE_ALPHA_DEVICE_VECTOR_BETA_ZERO;
  bool hostBeta = mode == CUBLASLT_POINTER_MODE_HOST ||
                  mode == CUBLASLT_POINTER_MODE_ALPHA_DEVICE_VECTOR_BETA_HOST;
  if (!alpha || (!beta && !noBeta))
    return refuse(CUBLAS_STATUS_INVALID_VALUE, "alpha or beta is null");
  if (mode == CUBLASLT_POINTER_MODE_HOST)
    p.alpha = readHost(p.desc.scale, alpha);
  else
    p.alphaAt = reinterpret_cast<uint64_t>(alpha);
  if (hostBeta)
    p.beta = readHost(p.desc.scale, beta);
  else if (!noBeta)
    p.betaAt = reinterpret_cast<uint64_t>(beta);
  return CUBLAS_STATUS_SUCCESS;
}

// The memory may have gone since the call.
CUresult run(void *arg, double *micros) {
  auto &problem = **static_cast<std::shared_ptr<Problem> *>(arg);
  for (const Range &range : rangesOf(problem)) {
    char why[512] = "";
    CUresult bad =
        moecCudasimCheckRange(problem.device, range.address, range.bytes,
                              range.write, why, sizeof why);
    if (bad) {
      std::string text =
          std::string("fault in cublasLtMatmul: ") + range.what + ": " + why;
      moecCudasimLog(0, text.c_str());
      return bad;
    }
  }
  compute(problem);
  // Half of a recent part's bf16 rate; an estimate like all times here.
  *micros += 5 + 2.0 * double(problem.m) * double(problem.n) *
                     double(problem.k) * double(problem.batch) / 500e6;
  return CUDA_SUCCESS;
}

cublasStatus_t enqueue(Problem problem, CUstream stream) {
  std::string label = "cublasLtMatmul " + std::to_string(problem.m) + "x" +
                      std::to_string(problem.n) + "x" +
                      std::to_string(problem.k);
  MoecCudasimOp op = {};
  op.label = label.c_str();
  op.arg = new std::shared_ptr<Problem>(
      std::make_shared<Problem>(std::move(problem)));
  op.destroy = [](void *arg) {
    delete static_cast<std::shared_ptr<Problem> *>(arg);
  };
  op.run = run;
  CUresult status = moecCudasimEnqueue(stream, &op);
  if (status == CUDA_SUCCESS)
    return CUBLAS_STATUS_SUCCESS;
  const char *name = nullptr;
  cuGetErrorName(status, &name);
  return refuse(CUBLAS_STATUS_EXECUTION_FAILED,
                std::string("the stream answers ") + (name ? name : "?"));
}

} // namespace

} // namespace cudasim::cublaslt

using namespace cudasim::cublaslt;

cublasStatus_t cublasLtCreate(cublasLtHandle_t *out) {
  if (!out)
    return CUBLAS_STATUS_INVALID_VALUE;
  int device = moecCudasimCurrentDevice();
  if (device < 0)
    return refuse(CUBLAS_STATUS_NOT_INITIALIZED, "no context is current");
  auto *handle = new cublasLtContext;
  handle->device = device;
  std::lock_guard<std::mutex> lock(handlesLock);
  handles().insert(handle);
  *out = handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  std::lock_guard<std::mutex> lock(handlesLock);
  if (handles().erase(handle) == 0)
    return CUBLAS_STATUS_NOT_INITIALIZED;
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
    cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
    cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preferenceHandle, int room,
    cublasLtMatmulHeuristicResult_t results[], int *count) {
  if (!isHandle(handle))
    return CUBLAS_STATUS_NOT_INITIALIZED;
  const Preference *preference = preferenceOf(preferenceHandle);
  if (room <= 0 || !results || !count || !preference)
    return refuse(CUBLAS_STATUS_INVALID_VALUE,
                  "the heuristic needs a preference and room for a result");
  *count = 0;
  Problem problem;
  if (cublasStatus_t bad = describe(desc, a, b, c, d, problem))
    return bad;
  if (preference->workspace >= kWorkspaceBytes)
    fillResult(makeAlgo(kWorkspaceAlgo, *preference), problem,
               results[(*count)++]);
  if (*count < room)
    fillResult(makeAlgo(kPlainAlgo, *preference), problem, results[(*count)++]);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetIds(cublasLtHandle_t handle,
                                        cublasComputeType_t, cudaDataType_t,
                                        cudaDataType_t, cudaDataType_t,
                                        cudaDataType_t, cudaDataType_t,
                                        int room, int ids[], int *count) {
  if (!isHandle(handle))
    return CUBLAS_STATUS_NOT_INITIALIZED;
  if (room <= 0 || !ids || !count)
    return CUBLAS_STATUS_INVALID_VALUE;
  *count = 0;
  for (int id : {kPlainAlgo, kWorkspaceAlgo})
    if (*count < room)
      ids[(*count)++] = id;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoInit(cublasLtHandle_t handle,
                                      cublasComputeType_t, cudaDataType_t,
                                      cudaDataType_t, cudaDataType_t,
                                      cudaDataType_t, cudaDataType_t, int id,
                                      cublasLtMatmulAlgo_t *out) {
  if (!isHandle(handle))
    return CUBLAS_STATUS_NOT_INITIALIZED;
  if (!out || (id != kPlainAlgo && id != kWorkspaceAlgo))
    return refuse(CUBLAS_STATUS_INVALID_VALUE,
                  "there is no algorithm " + std::to_string(id));
  Algo algo = plainAlgo();
  algo.id = id;
  *out = {};
  std::memcpy(out, &algo, sizeof algo);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                        cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                        cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                        const cublasLtMatmulAlgo_t *from,
                        cublasLtMatmulHeuristicResult_t *result) {
  if (!isHandle(handle))
    return CUBLAS_STATUS_NOT_INITIALIZED;
  Algo algo;
  if (!from || !result || !readAlgo(from, algo))
    return refuse(CUBLAS_STATUS_INVALID_VALUE,
                  "the algorithm was not initialised");
  Problem problem;
  if (cublasStatus_t bad = describe(desc, a, b, c, d, problem))
    return bad;
  // The result's own algorithm is never written, as it may be `from`.
  cublasLtMatmulHeuristicResult_t filled;
  fillResult(algo, problem, filled);
  filled.algo = result->algo;
  *result = filled;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasLtMatmulAlgoCapGetAttribute(const cublasLtMatmulAlgo_t *,
                                  cublasLtMatmulAlgoCapAttributes_t, void *,
                                  size_t, size_t *) {
  return refuse(CUBLAS_STATUS_NOT_SUPPORTED,
                "capabilities of algorithms are not simulated");
}

cublasStatus_t
cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
               const void *alpha, const void *aAt, cublasLtMatrixLayout_t a,
               const void *bAt, cublasLtMatrixLayout_t b, const void *beta,
               const void *cAt, cublasLtMatrixLayout_t c, void *dAt,
               cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *from,
               void *workspace, size_t workspaceBytes, cudaStream_t stream) {
  if (!isHandle(handle))
    return refuse(CUBLAS_STATUS_NOT_INITIALIZED,
                  "the handle is not a live one");
  Problem problem;
  if (cublasStatus_t bad = describe(desc, a, b, c, d, problem))
    return bad;
  problem.a.address = reinterpret_cast<uint64_t>(aAt);
  problem.b.address = reinterpret_cast<uint64_t>(bAt);
  problem.c.address = reinterpret_cast<uint64_t>(cAt);
  problem.d.address = reinterpret_cast<uint64_t>(dAt);
  problem.device = moecCudasimStreamDevice(stream);
  if (problem.device != handle->device)
    return refuse(CUBLAS_STATUS_INVALID_VALUE,
                  "the handle is of device " + std::to_string(handle->device) +
                      ", but the stream is of device " +
                      std::to_string(problem.device));
  if (cublasStatus_t bad = readScalars(problem, alpha, beta))
    return bad;
  Algo algo = plainAlgo();
  if (from && !readAlgo(from, algo))
    return refuse(CUBLAS_STATUS_INVALID_VALUE,
                  "the algorithm was not initialised");
  if (workspaceBytes < workspaceOf(algo))
    return refuse(CUBLAS_STATUS_INVALID_VALUE,
                  "the algorithm needs a workspace of " +
                      std::to_string(workspaceOf(algo)) +
                      " bytes, but it has " + std::to_string(workspaceBytes));
  if (workspaceOf(algo) != 0) {
    problem.workspace = reinterpret_cast<uint64_t>(workspace);
    problem.workspaceBytes = workspaceOf(algo);
    if (!workspace)
      return refuse(CUBLAS_STATUS_INVALID_VALUE, "the workspace is null");
  }
  if (cublasStatus_t bad = checkPointers(problem, algo))
    return bad;
  return enqueue(std::move(problem), stream);
}
