#include "tests/tools/cudasim/driver/Fixture.h"

#include <cublasLt.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>

using namespace cudasim::test;

namespace {

/// bf16 bits, rounded by truncation of values that are exact anyway.
unsigned short bf16(float value) {
  unsigned bits = 0;
  std::memcpy(&bits, &value, 4);
  return (unsigned short)(bits >> 16);
}
float wide(unsigned short value) {
  unsigned bits = unsigned(value) << 16;
  float result = 0;
  std::memcpy(&result, &bits, 4);
  return result;
}

class LtTest : public DriverTest {
protected:
  void SetUp() override {
    DriverTest::SetUp();
    ASSERT_EQ(cublasLtCreate(&handle), CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F),
              CUBLAS_STATUS_SUCCESS);
  }
  void TearDown() override {
    for (auto each : {la, lb, lc})
      cublasLtMatrixLayoutDestroy(each);
    cublasLtMatmulDescDestroy(desc);
    cublasLtDestroy(handle);
    DriverTest::TearDown();
  }

  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, T value) {
    ASSERT_EQ(
        cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value),
        CUBLAS_STATUS_SUCCESS);
  }
  template <typename T>
  void set(cublasLtMatrixLayout_t layout,
           cublasLtMatrixLayoutAttribute_t attribute, T value) {
    ASSERT_EQ(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value,
                                               sizeof value),
              CUBLAS_STATUS_SUCCESS);
  }

  /// bf16 operands of small whole numbers, so that every sum is exact: D is
  /// m x n in column order, A and B are stored as their ops want.
  void makeProblem(int m, int n, int k, bool ta, bool tb,
                   cudaDataType out = CUDA_R_32F) {
    this->m = m;
    this->n = n;
    this->k = k;
    this->ta = ta;
    this->tb = tb;
    std::mt19937 random(7);
    a.resize(size_t(m) * size_t(k));
    b.resize(size_t(k) * size_t(n));
    for (auto *matrix : {&a, &b})
      for (auto &value : *matrix)
        value = bf16(float(int(random() % 9) - 4));
    da = upload(a);
    db = upload(b);
    OK(cuMemAlloc(&dd, size_t(m) * size_t(n) * 4));
    OK(cuMemsetD32(dd, 0, size_t(m) * size_t(n)));
    ASSERT_EQ(cublasLtMatrixLayoutCreate(&la, CUDA_R_16BF, uint64_t(ta ? k : m),
                                         uint64_t(ta ? m : k), ta ? k : m),
              CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(cublasLtMatrixLayoutCreate(&lb, CUDA_R_16BF, uint64_t(tb ? n : k),
                                         uint64_t(tb ? k : n), tb ? n : k),
              CUBLAS_STATUS_SUCCESS);
    ASSERT_EQ(cublasLtMatrixLayoutCreate(&lc, out, uint64_t(m), uint64_t(n), m),
              CUBLAS_STATUS_SUCCESS);
    set(CUBLASLT_MATMUL_DESC_TRANSA, ta ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, tb ? CUBLAS_OP_T : CUBLAS_OP_N);
  }
  template <typename T> CUdeviceptr upload(const std::vector<T> &values) {
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAlloc(&address, values.size() * sizeof(T)), CUDA_SUCCESS);
    EXPECT_EQ(cuMemcpyHtoD(address, values.data(), values.size() * sizeof(T)),
              CUDA_SUCCESS);
    return address;
  }
  float product(int row, int col) const {
    float sum = 0;
    for (int i = 0; i != k; ++i)
      sum += wide(a[size_t(ta ? row * k + i : i * m + row)]) *
             wide(b[size_t(tb ? i * n + col : col * k + i)]);
    return sum;
  }
  static void *at(CUdeviceptr address) {
    return reinterpret_cast<void *>(address);
  }
  cublasStatus_t run(float alpha = 1, float beta = 0,
                     const cublasLtMatmulAlgo_t *algo = nullptr,
                     CUdeviceptr workspace = 0, size_t bytes = 0) {
    return cublasLtMatmul(handle, desc, &alpha, at(da), la, at(db), lb, &beta,
                          at(dd), lc, at(dd), lc, algo, at(workspace), bytes,
                          nullptr);
  }
  std::vector<float> result() {
    std::vector<float> values(size_t(m) * size_t(n));
    EXPECT_EQ(cuMemcpyDtoH(values.data(), dd, values.size() * 4), CUDA_SUCCESS);
    return values;
  }
  /// Runs what is refused and answers with the log.
  std::string refused(cublasStatus_t expected) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(run(), expected);
    return testing::internal::GetCapturedStderr();
  }

  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t la = nullptr;
  cublasLtMatrixLayout_t lb = nullptr;
  cublasLtMatrixLayout_t lc = nullptr;
  int m = 0;
  int n = 0;
  int k = 0;
  bool ta = false;
  bool tb = false;
  std::vector<unsigned short> a;
  std::vector<unsigned short> b;
  CUdeviceptr da = 0;
  CUdeviceptr db = 0;
  CUdeviceptr dd = 0;
};

TEST_F(LtTest, AllTranspositions) {
  for (bool first : {false, true})
    for (bool second : {false, true}) {
      SCOPED_TRACE(testing::Message() << first << second);
      makeProblem(5, 7, 9, first, second);
      ASSERT_EQ(run(2), CUBLAS_STATUS_SUCCESS);
      std::vector<float> got = result();
      for (int col = 0; col != n; ++col)
        for (int row = 0; row != m; ++row)
          ASSERT_EQ(got[size_t(col * m + row)], 2 * product(row, col));
      // C is added in place.
      ASSERT_EQ(run(1, 3), CUBLAS_STATUS_SUCCESS);
      EXPECT_EQ(result()[0], 7 * product(0, 0));
    }
}

TEST_F(LtTest, RowOrderAndBatches) {
  makeProblem(4, 8, 8, false, false);
  // In row order, the same bytes are the transposes: swap the roles.
  set(lc, CUBLASLT_MATRIX_LAYOUT_ORDER, int32_t(CUBLASLT_ORDER_ROW));
  set(lc, CUBLASLT_MATRIX_LAYOUT_LD, int64_t(8));
  ASSERT_EQ(run(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(result()[1 * 8 + 3], product(1, 3));
  set(lc, CUBLASLT_MATRIX_LAYOUT_ORDER, int32_t(CUBLASLT_ORDER_COL));
  set(lc, CUBLASLT_MATRIX_LAYOUT_LD, int64_t(4));

  // Two products with one A.
  std::vector<unsigned short> twice = b;
  for (unsigned short value : b)
    twice.push_back(bf16(2 * wide(value)));
  db = upload(twice);
  CUdeviceptr both = 0;
  OK(cuMemAlloc(&both, 2 * 32 * 4));
  dd = both;
  for (auto layout : {la, lb, lc})
    set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t(2));
  set(lb, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, int64_t(64));
  set(lc, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, int64_t(32));
  ASSERT_EQ(run(), CUBLAS_STATUS_SUCCESS);
  std::vector<float> got(64);
  OK(cuMemcpyDtoH(got.data(), both, 256));
  EXPECT_EQ(got[5], product(1, 1));
  EXPECT_EQ(got[32 + 5], 2 * product(1, 1));
  set(lc, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, int64_t(16));
  EXPECT_NE(refused(CUBLAS_STATUS_INVALID_VALUE).find("batch stride of D"),
            std::string::npos);
}

TEST_F(LtTest, Epilogues) {
  makeProblem(8, 4, 16, true, false);
  std::vector<float> bias(8);
  for (int i = 0; i != 8; ++i)
    bias[size_t(i)] = float(i) - 3;
  CUdeviceptr at = upload(bias);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE,
      cublasLtEpilogue_t(CUBLASLT_EPILOGUE_RELU_BIAS));
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, at);
  ASSERT_EQ(run(), CUBLAS_STATUS_SUCCESS);
  std::vector<float> got = result();
  for (int col = 0; col != n; ++col)
    for (int row = 0; row != m; ++row)
      EXPECT_EQ(got[size_t(col * m + row)],
                std::max(0.0f, product(row, col) + bias[size_t(row)]));

  set(CUBLASLT_MATMUL_DESC_EPILOGUE,
      cublasLtEpilogue_t(CUBLASLT_EPILOGUE_GELU_AUX));
  CUdeviceptr aux = 0;
  OK(cuMemAlloc(&aux, 8 * 4 * 4));
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(8));
  ASSERT_EQ(run(0.25f), CUBLAS_STATUS_SUCCESS);
  float x = 0.25f * product(2, 3);
  EXPECT_NEAR(result()[3 * 8 + 2],
              0.5 * x *
                  (1 + std::tanh(0.7978845608 * (x + 0.044715 * x * x * x))),
              1e-6);
  std::vector<float> kept(32);
  OK(cuMemcpyDtoH(kept.data(), aux, 128));
  EXPECT_EQ(kept[3 * 8 + 2], x);

  // The gradient uses what was kept.
  set(CUBLASLT_MATMUL_DESC_EPILOGUE,
      cublasLtEpilogue_t(CUBLASLT_EPILOGUE_DGELU_BGRAD));
  ASSERT_EQ(run(), CUBLAS_STATUS_SUCCESS);
  double h = 1e-4;
  auto gelu = [](double v) {
    return 0.5 * v * (1 + std::tanh(0.7978845608 * (v + 0.044715 * v * v * v)));
  };
  double slope = (gelu(x + h) - gelu(x - h)) / (2 * h);
  EXPECT_NEAR(result()[3 * 8 + 2], slope * product(2, 3), 1e-3);
  std::vector<float> gradient(8);
  OK(cuMemcpyDtoH(gradient.data(), at, 32));
  double sum = 0;
  for (int col = 0; col != n; ++col)
    sum += double(result()[size_t(col * m + 5)]);
  EXPECT_NEAR(gradient[5], sum, 1e-3);
}

TEST_F(LtTest, ReluMasks) {
  makeProblem(8, 4, 16, true, false);
  CUdeviceptr mask = 0;
  OK(cuMemAlloc(&mask, 128 * 4 / 8));
  OK(cuMemsetD8(mask, 0xff, 64));
  set(CUBLASLT_MATMUL_DESC_EPILOGUE,
      cublasLtEpilogue_t(CUBLASLT_EPILOGUE_RELU_AUX));
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, mask);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(8));
  EXPECT_NE(refused(CUBLAS_STATUS_INVALID_VALUE).find("divisible by 128"),
            std::string::npos);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, int64_t(128));
  ASSERT_EQ(run(), CUBLAS_STATUS_SUCCESS);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE,
      cublasLtEpilogue_t(CUBLASLT_EPILOGUE_DRELU));
  ASSERT_EQ(run(3), CUBLAS_STATUS_SUCCESS);
  std::vector<float> got = result();
  for (int col = 0; col != n; ++col)
    for (int row = 0; row != m; ++row)
      EXPECT_EQ(got[size_t(col * m + row)],
                3 * std::max(0.0f, product(row, col)));
}

TEST_F(LtTest, HeuristicsAndWorkspaces) {
  makeProblem(16, 16, 16, true, false);
  cublasLtMatmulPreference_t preference = nullptr;
  ASSERT_EQ(cublasLtMatmulPreferenceCreate(&preference), CUBLAS_STATUS_SUCCESS);
  cublasLtMatmulHeuristicResult_t results[4];
  int count = 0;
  ASSERT_EQ(cublasLtMatmulAlgoGetHeuristic(handle, desc, la, lb, lc, lc,
                                           preference, 4, results, &count),
            CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(count, 1);
  EXPECT_EQ(results[0].workspaceSize, 0u);
  ASSERT_EQ(run(1, 0, &results[0].algo), CUBLAS_STATUS_SUCCESS);
  uint64_t most = 8 << 20;
  ASSERT_EQ(cublasLtMatmulPreferenceSetAttribute(
                preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most,
                sizeof most),
            CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(cublasLtMatmulAlgoGetHeuristic(handle, desc, la, lb, lc, lc,
                                           preference, 1, results, &count),
            CUBLAS_STATUS_SUCCESS);
  ASSERT_EQ(count, 1);
  ASSERT_GT(results[0].workspaceSize, 0u);
  ASSERT_EQ(results[0].state, CUBLAS_STATUS_SUCCESS);
  size_t needed = results[0].workspaceSize;
  CUdeviceptr workspace = 0;
  OK(cuMemAlloc(&workspace, needed));
  testing::internal::CaptureStderr();
  EXPECT_EQ(run(1, 0, &results[0].algo), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(run(1, 0, &results[0].algo, workspace + 4, needed),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_EQ(run(1, 0, &results[0].algo, workspace + 256, needed),
            CUBLAS_STATUS_INVALID_VALUE);
  testing::internal::GetCapturedStderr();
  ASSERT_EQ(run(1, 0, &results[0].algo, workspace, needed),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(result()[17], product(1, 1));
  // Pointers that the heuristic was not asked for.
  da += 2;
  testing::internal::CaptureStderr();
  EXPECT_EQ(run(1, 0, &results[0].algo, workspace, needed),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("A is not aligned"),
            std::string::npos);
  cublasLtMatmulPreferenceDestroy(preference);
}

TEST_F(LtTest, EightBitFloats) {
  makeProblem(16, 4, 32, true, false);
  std::vector<unsigned char> ones(16 * 32, 0x38);
  std::vector<unsigned char> twos(32 * 4, 0x40);
  da = upload(ones);
  db = upload(twos);
  set(la, CUBLASLT_MATRIX_LAYOUT_TYPE, uint32_t(CUDA_R_8F_E4M3));
  set(lb, CUBLASLT_MATRIX_LAYOUT_TYPE, uint32_t(CUDA_R_8F_E4M3));
  std::vector<float> scale = {0.5f};
  set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, upload(scale));
  ASSERT_EQ(run(), CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(result()[0], 32.0f);
  set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_N);
  set(la, CUBLASLT_MATRIX_LAYOUT_ROWS, uint64_t(16));
  set(la, CUBLASLT_MATRIX_LAYOUT_COLS, uint64_t(32));
  set(la, CUBLASLT_MATRIX_LAYOUT_LD, int64_t(16));
  EXPECT_NE(refused(CUBLAS_STATUS_NOT_SUPPORTED).find("A transposed"),
            std::string::npos);
}

TEST_F(LtTest, ScalarsAtTheDevice) {
  makeProblem(8, 8, 8, true, false);
  std::vector<float> scalars = {3, 0};
  CUdeviceptr at = upload(scalars);
  set(CUBLASLT_MATMUL_DESC_POINTER_MODE, int32_t(CUBLASLT_POINTER_MODE_DEVICE));
  ASSERT_EQ(cublasLtMatmul(handle, desc, this->at(at), this->at(da), la,
                           this->at(db), lb, this->at(at + 4), this->at(dd), lc,
                           this->at(dd), lc, nullptr, nullptr, 0, nullptr),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(result()[9], 3 * product(1, 1));
  testing::internal::CaptureStderr();
  EXPECT_EQ(run(), CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("alpha"),
            std::string::npos);
}

TEST_F(LtTest, IsCaptured) {
  makeProblem(8, 8, 8, true, false);
  OK(cuCtxSynchronize());
  CUstream s = stream();
  OK(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  float alpha = 1;
  float beta = 1;
  ASSERT_EQ(cublasLtMatmul(handle, desc, &alpha, at(da), la, at(db), lb, &beta,
                           at(dd), lc, at(dd), lc, nullptr, nullptr, 0, s),
            CUBLAS_STATUS_SUCCESS);
  CUgraph graph = nullptr;
  OK(cuStreamEndCapture(s, &graph));
  EXPECT_EQ(result()[0], 0);
  CUgraphExec exec = nullptr;
  OK(cuGraphInstantiate(&exec, graph, 0));
  alpha = 100;
  OK(cuGraphLaunch(exec, s));
  OK(cuGraphLaunch(exec, s));
  OK(cuStreamSynchronize(s));
  EXPECT_EQ(result()[0], 2 * product(0, 0));
}

//===--- what is refused ----------------------------------------------------//

TEST_F(LtTest, ShapesThatDoNotFit) {
  makeProblem(8, 8, 16, true, false);
  set(lb, CUBLASLT_MATRIX_LAYOUT_ROWS, uint64_t(12));
  EXPECT_NE(refused(CUBLAS_STATUS_INVALID_VALUE)
                .find("op(A) is 8x16 and op(B) is 12x8"),
            std::string::npos);
  set(lb, CUBLASLT_MATRIX_LAYOUT_ROWS, uint64_t(16));
  set(la, CUBLASLT_MATRIX_LAYOUT_LD, int64_t(8));
  EXPECT_NE(refused(CUBLAS_STATUS_INVALID_VALUE)
                .find("matrix A: the leading dimension is 8, but there are 16"),
            std::string::npos);
  set(la, CUBLASLT_MATRIX_LAYOUT_LD, int64_t(16));
  set(la, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, int32_t(2));
  EXPECT_NE(refused(CUBLAS_STATUS_INVALID_VALUE).find("batches of 2 and 1"),
            std::string::npos);
}

TEST_F(LtTest, BuffersThatAreTooSmall) {
  makeProblem(8, 8, 16, true, false);
  da += 128;
  EXPECT_NE(refused(CUBLAS_STATUS_INVALID_VALUE).find("A: "),
            std::string::npos);
  da = 0;
  EXPECT_NE(refused(CUBLAS_STATUS_INVALID_VALUE).find("A is null"),
            std::string::npos);
}

TEST_F(LtTest, ResultsThatOverlapOperands) {
  makeProblem(8, 8, 8, true, false);
  CUdeviceptr keep = dd;
  dd = da;
  set(lc, CUBLASLT_MATRIX_LAYOUT_TYPE, uint32_t(CUDA_R_16BF));
  EXPECT_NE(refused(CUBLAS_STATUS_INVALID_VALUE).find("D overlaps A"),
            std::string::npos);
  dd = keep;
}

TEST_F(LtTest, WhatIsNotSupported) {
  makeProblem(8, 8, 8, true, false);
  set(la, CUBLASLT_MATRIX_LAYOUT_TYPE, uint32_t(CUDA_R_16F));
  EXPECT_NE(refused(CUBLAS_STATUS_NOT_SUPPORTED).find("A f16, B bf16"),
            std::string::npos);
  set(la, CUBLASLT_MATRIX_LAYOUT_TYPE, uint32_t(CUDA_R_16BF));
  set(la, CUBLASLT_MATRIX_LAYOUT_ORDER, int32_t(CUBLASLT_ORDER_COL32));
  EXPECT_NE(refused(CUBLAS_STATUS_NOT_SUPPORTED).find("order 2"),
            std::string::npos);
}

TEST_F(LtTest, Attributes) {
  int64_t wrongSize = 0;
  testing::internal::CaptureStderr();
  EXPECT_EQ(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA,
                                           &wrongSize, sizeof wrongSize),
            CUBLAS_STATUS_INVALID_VALUE);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("4 bytes, not 8"),
            std::string::npos);
  size_t needed = 0;
  EXPECT_EQ(cublasLtMatmulDescGetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA,
                                           nullptr, 0, &needed),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(needed, 4u);
  int32_t scale = -1;
  EXPECT_EQ(cublasLtMatmulDescGetAttribute(
                desc, CUBLASLT_MATMUL_DESC_SCALE_TYPE, &scale, 4, &needed),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(scale, int32_t(CUDA_R_32F));
  // Storage of the program's own.
  cublasLtMatrixLayoutOpaque_t storage;
  ASSERT_EQ(cublasLtMatrixLayoutInit(&storage, CUDA_R_16BF, 3, 4, 3),
            CUBLAS_STATUS_SUCCESS);
  uint64_t rows = 0;
  EXPECT_EQ(cublasLtMatrixLayoutGetAttribute(
                &storage, CUBLASLT_MATRIX_LAYOUT_ROWS, &rows, 8, nullptr),
            CUBLAS_STATUS_SUCCESS);
  EXPECT_EQ(rows, 3u);
  EXPECT_EQ(cublasLtDestroy(nullptr), CUBLAS_STATUS_NOT_INITIALIZED);
}

} // namespace
