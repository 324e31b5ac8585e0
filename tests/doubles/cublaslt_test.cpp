// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <cublasLt.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "doubles/stream.hpp"
#include "ltxmem/core/dtype.hpp"
#include "support/numbers.hpp"

/// The double of libcublasLt against double precision, and what it refuses. y [N, M] = x [N, K] W^T, row-major: for the
/// library, matrices are column-major and W is transposed.

using doubles::found;
using doubles::Stream;
using ltxmem::bfloat16;
using ltxmem::half;
using ltxmem::test::as_double;
using ltxmem::test::random_values;

namespace {

constexpr std::int64_t tokens = 7, outputs = 10, inputs = 33;
constexpr std::int64_t x_stride = 40, y_stride = 16;
constexpr std::uint64_t workspace_bytes = 2048;

template <class T>
constexpr cudaDataType_t type_of = std::is_same_v<T, float> ? CUDA_R_32F
    : std::is_same_v<T, bfloat16>                           ? CUDA_R_16BF
                                                            : CUDA_R_16F;

/// One product, with everything that the calls want.
template <class T, class Out>
struct Problem {
  Stream stream{};
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t description = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  cublasLtMatrixLayout_t weight_layout = nullptr, x_layout = nullptr, y_layout = nullptr;
  std::vector<T> weight = random_values<T>(outputs * inputs, 1);
  std::vector<T> x = random_values<T>(tokens * x_stride, 2);
  std::vector<Out> y = random_values<Out>(tokens * y_stride, 3);
  std::vector<Out> bias = random_values<Out>(outputs, 4);
  T* device_weight = upload(weight);
  T* device_x = upload(x);
  Out* device_y = upload(y);
  Out* device_bias = upload(bias);
  char* workspace = stream.allocate<char>(workspace_bytes);

  Problem() {
    REQUIRE(cublasLtCreate(&handle) == CUBLAS_STATUS_SUCCESS);
    REQUIRE(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    cublasLtMatrixLayoutCreate(&weight_layout, type_of<T>, inputs, outputs, inputs);
    cublasLtMatrixLayoutCreate(&x_layout, type_of<T>, inputs, tokens, x_stride);
    cublasLtMatrixLayoutCreate(&y_layout, type_of<Out>, outputs, tokens, y_stride);
    cublasLtMatmulPreferenceCreate(&preference);
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_bytes);
    for (const auto which : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                             CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      prefer(which, std::uint32_t{sizeof(T)});
    }
  }
  Problem(const Problem&) = delete;
  Problem& operator=(const Problem&) = delete;
  ~Problem() {
    for (const auto layout : {weight_layout, x_layout, y_layout}) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatmulDescDestroy(description);
    cublasLtDestroy(handle);
  }

  template <class V>
  V* upload(const std::vector<V>& values) {
    V* memory = stream.allocate<V>(values.size());
    cudaMemcpyAsync(memory, values.data(), values.size() * sizeof(V), cudaMemcpyDefault, stream.native);
    return memory;
  }
  template <class V>
  void set(cublasLtMatmulDescAttributes_t attribute, const V& value) {
    CHECK(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
  }
  template <class V>
  void prefer(cublasLtMatmulPreferenceAttributes_t attribute, const V& value) {
    CHECK(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value) == CUBLAS_STATUS_SUCCESS);
  }
  void use_epilogue(cublasLtEpilogue_t epilogue) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if ((epilogue & CUBLASLT_EPILOGUE_BIAS) != 0) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, device_bias);
  }

  std::optional<cublasLtMatmulHeuristicResult_t> algorithm() {
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    const auto status = cublasLtMatmulAlgoGetHeuristic(handle, description, weight_layout, x_layout, y_layout, y_layout,
                                                       preference, 1, &result, &count);
    if (status != CUBLAS_STATUS_SUCCESS || count == 0) return std::nullopt;
    return result;
  }
  cublasStatus_t multiply(const float* alpha, const float* beta, const T* from, std::size_t granted = workspace_bytes) {
    const cublasLtMatmulHeuristicResult_t chosen = algorithm().value();
    return cublasLtMatmul(handle, description, alpha, device_weight, weight_layout, from, x_layout, beta, device_y,
                          y_layout, device_y, y_layout, &chosen.algo, workspace, granted, stream.native);
  }

  /// Whether y is right, and what lies between its rows untouched.
  void check(float alpha, float beta, bool biased, bool gelu) {
    std::vector<Out> got(y.size());
    cudaMemcpyAsync(got.data(), device_y, got.size() * sizeof(Out), cudaMemcpyDefault, stream.native);
    REQUIRE(doubles::findings().empty());
    double worst = 0;
    for (std::int64_t n = 0; n < tokens; ++n) {
      for (std::int64_t m = 0; m < y_stride; ++m) {
        const auto at = static_cast<std::size_t>(n * y_stride + m);
        double expected = as_double(y[at]);
        if (m < outputs) {
          double sum = 0;
          for (std::int64_t k = 0; k < inputs; ++k) {
            sum += as_double(weight[static_cast<std::size_t>(m * inputs + k)]) *
                as_double(x[static_cast<std::size_t>(n * x_stride + k)]);
          }
          expected = static_cast<double>(alpha) * sum + static_cast<double>(beta) * expected +
              (biased ? as_double(bias[static_cast<std::size_t>(m)]) : 0.0);
          if (gelu) {
            const double root = std::sqrt(2.0 / std::acos(-1.0));
            expected *= 0.5 * (1.0 + std::tanh(root * (expected + 0.044715 * std::pow(expected, 3))));
          }
        }
        worst = std::max(worst, std::abs(as_double(got[at]) - expected) / (1.0 + std::abs(expected)));
      }
    }
    CHECK(worst < (std::is_same_v<Out, float> ? 2e-6 : std::is_same_v<Out, half> ? 6e-4 : 5e-3));
  }
};

template <class T, class Out>
void check_products() {
  for (const auto epilogue : {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_GELU,
                              CUBLASLT_EPILOGUE_GELU_BIAS}) {
    for (const float beta : {0.0F, 1.0F}) {
      INFO("epilogue " << epilogue << ", beta " << beta);
      const bool biased = epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
      const bool gelu = epilogue == CUBLASLT_EPILOGUE_GELU || epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
      const float alpha = 0.75F;
      doubles::reset({});
      Problem<T, Out> problem;
      problem.use_epilogue(epilogue);
      CHECK(problem.multiply(&alpha, &beta, problem.device_x) == CUBLAS_STATUS_SUCCESS);
      problem.check(alpha, beta, biased, gelu);
    }
  }
}

}  // namespace

TEST_CASE("products agree with double precision in all types, with every epilogue", "[cublaslt]") {
  check_products<float, float>();
  check_products<bfloat16, bfloat16>();
  check_products<bfloat16, float>();
  check_products<half, half>();
  check_products<half, float>();
}

TEST_CASE("factors on the device are read when the product runs", "[cublaslt]") {
  doubles::reset({});
  Problem<float, float> problem;
  problem.set(CUBLASLT_MATMUL_DESC_POINTER_MODE, CUBLASLT_POINTER_MODE_DEVICE);
  void* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, 2 * sizeof(float)) == cudaSuccess);
  auto* factors = static_cast<float*>(pinned);
  CHECK(problem.multiply(factors, factors + 1, problem.device_x) == CUBLAS_STATUS_SUCCESS);
  factors[0] = 2.0F;
  factors[1] = 3.0F;
  problem.check(2.0F, 3.0F, false, false);
}

TEST_CASE("a product reads and writes in the order of its queue, and only what is there", "[cublaslt]") {
  const float alpha = 1.0F;
  const float beta = 0.0F;
  doubles::reset({});
  {
    Problem<float, float> problem;
    cudaFreeAsync(problem.device_x, problem.stream.native);
    CHECK(problem.multiply(&alpha, &beta, problem.device_x) == CUBLAS_STATUS_SUCCESS);
    CHECK(found("use after free: device allocation 2"));
  }
  doubles::reset({});
  {
    Problem<float, float> problem;
    float* unwritten = problem.stream.allocate<float>(tokens * x_stride);
    CHECK(problem.multiply(&alpha, &beta, unwritten) == CUBLAS_STATUS_SUCCESS);
    CHECK(found("uninitialised memory: device allocation 6"));
  }
  doubles::reset({});
  {
    Problem<float, float> problem;
    CHECK(problem.multiply(&alpha, &beta, problem.device_x + x_stride) == CUBLAS_STATUS_SUCCESS);
    CHECK(found("out of bounds"));
  }
  doubles::reset({});
  {
    Problem<float, float> problem;  // the operand lies in the workspace
    cudaMemcpyAsync(problem.workspace, problem.x.data(), problem.x.size() * sizeof(float), cudaMemcpyDefault,
                    problem.stream.native);
    CHECK(problem.multiply(&alpha, &beta, reinterpret_cast<float*>(problem.workspace)) == CUBLAS_STATUS_SUCCESS);
    float y = 0.0F;
    cudaMemcpyAsync(&y, problem.device_y, sizeof y, cudaMemcpyDefault, problem.stream.native);
    CHECK(std::isnan(y));
  }
}

TEST_CASE("a product is refused without the workspace that its algorithm wants", "[cublaslt]") {
  const float alpha = 1.0F;
  const float beta = 0.0F;
  doubles::reset({});
  Problem<float, float> problem;
  CHECK(problem.multiply(&alpha, &beta, problem.device_x, workspace_bytes - 1) == CUBLAS_STATUS_INVALID_VALUE);
  problem.prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, std::uint32_t{16});
  CHECK(problem.multiply(&alpha, &beta, problem.device_x + 1) == CUBLAS_STATUS_INVALID_VALUE);
  CHECK(problem.algorithm()->workspaceSize == workspace_bytes);
  cublasLtMatrixLayoutDestroy(problem.x_layout);
  cublasLtMatrixLayoutCreate(&problem.x_layout, CUDA_R_32F, inputs + 1, tokens, x_stride);
  CHECK_FALSE(problem.algorithm().has_value());

  doubles::reset({.no_products = true});
  CHECK_FALSE((Problem<float, float>().algorithm().has_value()));
  doubles::reset({.greedy_products = true});
  CHECK((Problem<float, float>().algorithm()->workspaceSize) == workspace_bytes + 1);
  doubles::reset({.devices = 0});
  cublasLtHandle_t handle = nullptr;
  CHECK(cublasLtCreate(&handle) == CUBLAS_STATUS_NOT_INITIALIZED);
}
