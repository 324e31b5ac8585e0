// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>

#include <cublasLt.h>

#include "ltxmem/backend/cuda/cuda_error.hpp"
#include "ltxmem/backend/cuda/tuning.hpp"
#include "ltxmem/core/dtype.hpp"

namespace ltxmem::cuda {

inline void check(const char* call, cublasStatus_t status, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw CudaError(call, static_cast<int>(status), cublasLtGetStatusString(status), file, line);
}

/// y = epilogue(alpha x W^T + beta c), sums in fp32. Rows of all matrices are contiguous and may be strided.
struct Product {
  DType type = DType::f32;    ///< of x and W: f32, bf16 or f16
  DType result = DType::f32;  ///< of c, y and the bias: the same or f32
  std::int64_t tokens = 0;
  std::int64_t outputs = 0;
  std::int64_t inputs = 0;
  const void* x = nullptr;
  std::int64_t x_stride = 0;
  const void* weight = nullptr;
  std::int64_t weight_stride = 0;
  const void* c = nullptr;  ///< null: beta is 0; may be y
  std::int64_t c_stride = 0;
  void* y = nullptr;
  std::int64_t y_stride = 0;
  float alpha = 1.0F;
  const float* factors = nullptr;  ///< on the device: alpha and beta, read when the product runs; null: alpha and 1
  const void* bias = nullptr;
  bool gelu = false;  ///< the tanh form

  /// What every address and stride is a multiple of, in bytes: 16, or the size of an element.
  std::uint32_t alignment() const {
    const auto piece = [](const void* data, std::int64_t stride, DType dtype) {
      const std::int64_t bytes = stride * static_cast<std::int64_t>(dtype_bytes(dtype));
      return (reinterpret_cast<std::uintptr_t>(data) | static_cast<std::uintptr_t>(bytes)) % 16 == 0;
    };
    const bool whole = piece(x, x_stride, type) && piece(weight, weight_stride, type) && piece(y, y_stride, result) &&
                       piece(c, c_stride, result) && piece(bias, 0, result);
    return whole ? 16 : static_cast<std::uint32_t>(std::min(dtype_bytes(type), dtype_bytes(result)));
  }
};

/// Products by cuBLASLt on the current device.
///
/// Memory    product_workspace_bytes, which the caller hands in
/// Numerics  an algorithm is chosen once for each kind of product, not by its number of tokens, and none splits a sum
///           between blocks: a row's bits depend neither on its neighbours nor on how a sequence is cut
/// Throws    CudaError; DeviceError when the library offers no algorithm, or one that wants more workspace
class Products {
 public:
  Products() { check("cublasLtCreate", cublasLtCreate(&handle_)); }
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;
  ~Products() { static_cast<void>(cublasLtDestroy(handle_)); }

  void multiply(const Product& product, void* workspace, cudaStream_t stream) {
    const Description description(product);
    const cublasLtMatmulAlgo_t& algorithm = algorithm_of(product, description);
    const Layout weight(product.type, product.inputs, product.outputs, product.weight_stride);
    const Layout x(product.type, product.inputs, product.tokens, product.x_stride);
    const Layout y(product.result, product.outputs, product.tokens, product.y_stride);
    const bool adds = product.c != nullptr;
    const Layout c(product.result, product.outputs, product.tokens, adds ? product.c_stride : product.y_stride);
    const float beta = adds ? 1.0F : 0.0F;
    const bool on_device = product.factors != nullptr;
    const cublasStatus_t status = cublasLtMatmul(
        handle_, description.get(), on_device ? product.factors : &product.alpha, product.weight, weight.get(),
        product.x, x.get(), on_device ? product.factors + 1 : &beta, adds ? product.c : product.y, c.get(), product.y,
        y.get(), &algorithm, workspace, product_workspace_bytes, stream);
    // The library only sees that a device on which something failed before will not go on; the runtime knows what it
    // was.
    if (status == CUBLAS_STATUS_EXECUTION_FAILED) check("cublasLtMatmul", cudaStreamSynchronize(stream));
    check("cublasLtMatmul", status);
  }

 private:
  static cudaDataType_t data_type(DType dtype) {
    return dtype == DType::bf16 ? CUDA_R_16BF : dtype == DType::f16 ? CUDA_R_16F : CUDA_R_32F;
  }

  /// The library's matrices are column-major: a row-major [rows, width] is its [width, rows].
  class Layout {
   public:
    Layout(DType dtype, std::int64_t width, std::int64_t rows, std::int64_t stride) {
      check("cublasLtMatrixLayoutCreate",
            cublasLtMatrixLayoutCreate(&layout_, data_type(dtype), static_cast<std::uint64_t>(width),
                                       static_cast<std::uint64_t>(rows), rows > 1 ? stride : std::max(stride, width)));
    }
    Layout(const Layout&) = delete;
    Layout& operator=(const Layout&) = delete;
    ~Layout() { static_cast<void>(cublasLtMatrixLayoutDestroy(layout_)); }
    cublasLtMatrixLayout_t get() const noexcept { return layout_; }

   private:
    cublasLtMatrixLayout_t layout_ = nullptr;
  };

  class Description {
   public:
    explicit Description(const Product& product) {
      check("cublasLtMatmulDescCreate", cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
      try {
        set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
        if (product.factors != nullptr) set(CUBLASLT_MATMUL_DESC_POINTER_MODE, CUBLASLT_POINTER_MODE_DEVICE);
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue(product));
        if (product.bias != nullptr) {
          set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias);
          set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, data_type(product.result));
        }
      } catch (...) {
        static_cast<void>(cublasLtMatmulDescDestroy(description_));
        throw;
      }
    }
    Description(const Description&) = delete;
    Description& operator=(const Description&) = delete;
    ~Description() { static_cast<void>(cublasLtMatmulDescDestroy(description_)); }
    cublasLtMatmulDesc_t get() const noexcept { return description_; }

    static cublasLtEpilogue_t epilogue(const Product& product) {
      if (product.gelu) return product.bias == nullptr ? CUBLASLT_EPILOGUE_GELU : CUBLASLT_EPILOGUE_GELU_BIAS;
      return product.bias == nullptr ? CUBLASLT_EPILOGUE_DEFAULT : CUBLASLT_EPILOGUE_BIAS;
    }

   private:
    template <class V>
    void set(cublasLtMatmulDescAttributes_t attribute, const V& value) {
      check("cublasLtMatmulDescSetAttribute",
            cublasLtMatmulDescSetAttribute(description_, attribute, &value, sizeof value));
    }
    cublasLtMatmulDesc_t description_ = nullptr;
  };

  class Preference {
   public:
    explicit Preference(std::uint32_t alignment) {
      check("cublasLtMatmulPreferenceCreate", cublasLtMatmulPreferenceCreate(&preference_));
      try {
        set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{product_workspace_bytes});
        set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
        for (const auto operand :
             {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
          set(operand, alignment);
        }
      } catch (...) {
        static_cast<void>(cublasLtMatmulPreferenceDestroy(preference_));
        throw;
      }
    }
    Preference(const Preference&) = delete;
    Preference& operator=(const Preference&) = delete;
    ~Preference() { static_cast<void>(cublasLtMatmulPreferenceDestroy(preference_)); }
    cublasLtMatmulPreference_t get() const noexcept { return preference_; }

   private:
    template <class V>
    void set(cublasLtMatmulPreferenceAttributes_t attribute, const V& value) {
      check("cublasLtMatmulPreferenceSetAttribute",
            cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof value));
    }
    cublasLtMatmulPreference_t preference_ = nullptr;
  };

  /// Everything that an algorithm is chosen by; dense rows and linear_tokens of them stand for the others.
  using Kind = std::tuple<DType, DType, std::int64_t, std::int64_t, std::uint32_t, cublasLtEpilogue_t, bool>;

  const cublasLtMatmulAlgo_t& algorithm_of(const Product& product, const Description& description) {
    const Kind kind(product.type, product.result, product.outputs, product.inputs, product.alignment(),
                    Description::epilogue(product), product.factors != nullptr);
    const auto known = algorithms_.find(kind);
    if (known != algorithms_.end()) return known->second;
    const Preference preference(product.alignment());
    const Layout weight(product.type, product.inputs, product.outputs, product.inputs);
    const Layout x(product.type, product.inputs, linear_tokens, product.inputs);
    const Layout y(product.result, product.outputs, linear_tokens, product.outputs);
    cublasLtMatmulHeuristicResult_t result{};
    int found = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle_, description.get(), weight.get(), x.get(), y.get(), y.get(), preference.get(), 1, &result, &found);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) check("cublasLtMatmulAlgoGetHeuristic", status);
    expects<DeviceError>(found > 0 && status == CUBLAS_STATUS_SUCCESS, "cublasLt: no algorithm for ", product.outputs,
                         " outputs and ", product.inputs, " inputs of type ", dtype_name(product.type), " to ",
                         dtype_name(product.result));
    expects<DeviceError>(result.workspaceSize <= product_workspace_bytes, "cublasLt: an algorithm for ",
                         product.outputs, " outputs and ", product.inputs, " inputs wants ", result.workspaceSize,
                         " bytes of workspace, granted are ", product_workspace_bytes);
    return algorithms_.emplace(kind, result.algo).first->second;
  }

  cublasLtHandle_t handle_ = nullptr;
  std::map<Kind, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace ltxmem::cuda
