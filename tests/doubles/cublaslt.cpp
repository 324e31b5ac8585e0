// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The double of libcublasLt: D = epilogue(alpha op(A) B + beta C), queued like a kernel.
///
/// Numerics  products and sums in fp32, in the order of k; one rounding to the type of D
/// Source    cuBLASLt chapter of the cuBLAS 13.0 documentation

#include <cublasLt.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "doubles/machine.hpp"
#include "ltxmem/core/dtype.hpp"

namespace doubles {

namespace {

struct Description {
  cublasOperation_t transposed_a = CUBLAS_OP_N;
  cublasLtPointerMode_t pointers = CUBLASLT_POINTER_MODE_HOST;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  std::optional<cudaDataType_t> bias_type{};
};

struct Layout {
  cudaDataType_t type = CUDA_R_32F;
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
  std::int64_t stride = 0;  ///< of columns
};

struct Preference {
  std::uint64_t workspace_bytes = 0;
  std::uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C, D
};

/// What the opaque bytes of an algorithm hold.
struct Algorithm {
  static constexpr std::uint64_t genuine = 0x6c747864;
  std::uint64_t mark = genuine;
  std::uint64_t workspace_bytes = 0;
  std::uint32_t alignment[4] = {};
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

std::size_t bytes_of(cudaDataType_t type) {
  return type == CUDA_R_32F ? 4 : 2;
}

bool known(cudaDataType_t type) {
  return type == CUDA_R_32F || type == CUDA_R_16BF || type == CUDA_R_16F;
}

float value(const void* data, cudaDataType_t type) {
  if (type == CUDA_R_32F) return *static_cast<const float*>(data);
  if (type == CUDA_R_16BF) return static_cast<float>(*static_cast<const ltxmem::bfloat16*>(data));
  return static_cast<float>(*static_cast<const ltxmem::half*>(data));
}

void set_value(void* data, cudaDataType_t type, float x) {
  if (type == CUDA_R_32F) {
    *static_cast<float*>(data) = x;
  } else if (type == CUDA_R_16BF) {
    *static_cast<ltxmem::bfloat16*>(data) = ltxmem::bfloat16(x);
  } else {
    *static_cast<ltxmem::half*>(data) = ltxmem::half(x);
  }
}

/// A matrix as a product uses it: column-major, its columns checked when the product runs.
struct Operand {
  Layout layout;
  char* data = nullptr;

  char* column(std::uint64_t index) const {
    return data + static_cast<std::int64_t>(index) * layout.stride * static_cast<std::int64_t>(bytes_of(layout.type));
  }
  char* at(std::uint64_t row, std::uint64_t index) const { return column(index) + row * bytes_of(layout.type); }
  void check(Machine& machine, Use use) const {
    for (std::uint64_t c = 0; c < layout.columns; ++c) {
      machine.check_use(column(c), layout.rows * bytes_of(layout.type), use, "a product");
    }
  }
  std::vector<float> values(Machine& machine) const {
    check(machine, Use::read);
    std::vector<float> all(layout.rows * layout.columns);
    for (std::uint64_t c = 0; c < layout.columns; ++c) {
      for (std::uint64_t r = 0; r < layout.rows; ++r) all[c * layout.rows + r] = value(at(r, c), layout.type);
    }
    return all;
  }
  /// What address and columns are a multiple of.
  bool aligned(std::uint32_t bytes) const {
    const auto step = layout.columns > 1 ? layout.stride * static_cast<std::int64_t>(bytes_of(layout.type)) : 0;
    return reinterpret_cast<std::uintptr_t>(data) % bytes == 0 && step % bytes == 0;
  }
};

struct Product {
  Description description;
  Operand a, b, c, d;
  float alpha = 0.0F, beta = 0.0F;
  const float *device_alpha = nullptr, *device_beta = nullptr;
  char* workspace = nullptr;
  std::size_t workspace_bytes = 0;

  bool gelu() const { return (description.epilogue & CUBLASLT_EPILOGUE_GELU) != 0; }
  bool biased() const { return (description.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0; }

  void run(Machine& machine) const {
    const auto scalar = [&](const float* on_device, float on_host) {
      if (on_device == nullptr) return on_host;
      machine.check_use(on_device, sizeof(float), Use::read, "a product");
      return *on_device;
    };
    // NaNs, so that operands in the workspace show.
    machine.check_use(workspace, workspace_bytes, Use::write, "a product's workspace");
    std::memset(workspace, 0xff, workspace_bytes);
    const float by = scalar(device_alpha, alpha);
    const float keep = scalar(device_beta, beta);
    const std::vector<float> left = a.values(machine);
    const std::vector<float> right = b.values(machine);
    const std::vector<float> before = keep == 0.0F ? std::vector<float>() : c.values(machine);
    std::vector<float> bias;
    if (biased()) {
      const Layout column{*description.bias_type, d.layout.rows, 1, static_cast<std::int64_t>(d.layout.rows)};
      bias = Operand{column, static_cast<char*>(const_cast<void*>(description.bias))}.values(machine);
    }
    d.check(machine, Use::write);
    const std::uint64_t outputs = d.layout.rows;
    const std::uint64_t inputs = b.layout.rows;
    const bool rows_of_a = description.transposed_a == CUBLAS_OP_N;
    for (std::uint64_t n = 0; n < d.layout.columns; ++n) {
      for (std::uint64_t m = 0; m < outputs; ++m) {
        float sum = 0.0F;
        for (std::uint64_t k = 0; k < inputs; ++k) {
          sum += left[rows_of_a ? k * outputs + m : m * inputs + k] * right[n * inputs + k];
        }
        float result = by * sum;
        if (!before.empty()) result += keep * before[n * outputs + m];
        if (!bias.empty()) result += bias[m];
        if (gelu()) {
          constexpr float root = 0.7978845608F;  // sqrt(2 / pi)
          result = 0.5F * result * (1.0F + std::tanh(root * (result + 0.044715F * result * result * result)));
        }
        set_value(d.at(m, n), d.layout.type, result);
      }
    }
  }
};

/// Whether the matrices fit each other and are of a kind that the double knows.
bool fits(const Description& description, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  const bool transposed = description.transposed_a == CUBLAS_OP_T;
  const auto strided = [](const Layout& layout) { return layout.stride >= static_cast<std::int64_t>(layout.rows); };
  const std::uint64_t inputs = transposed ? a.rows : a.columns;
  const std::uint64_t outputs = transposed ? a.columns : a.rows;
  return inputs == b.rows && outputs == d.rows && b.columns == d.columns && c.rows == d.rows &&
      c.columns == d.columns && strided(a) && strided(b) && strided(c) && strided(d);
}

bool supported(const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  return known(a.type) && a.type == b.type && c.type == d.type && (d.type == a.type || d.type == CUDA_R_32F);
}

template <class T>
T& of(void* handle) {
  return *static_cast<T*>(handle);
}
template <class T>
const T& of(const void* handle) {
  return *static_cast<const T*>(handle);
}

template <class T>
cublasStatus_t assign(T& to, const void* from, std::size_t bytes) {
  if (bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&to, from, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

}  // namespace

}  // namespace doubles

using namespace doubles;

// The names and types are those of the library that this stands for.
// NOLINTBEGIN
extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (Machine::get().settings.devices < 1) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = reinterpret_cast<cublasLtHandle_t>(new int(current_device()));
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete reinterpret_cast<int*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "not initialized";
    case CUBLAS_STATUS_INVALID_VALUE: return "invalid value";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "not supported";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "execution failed";
    default: return "unknown status";
  }
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  *description = reinterpret_cast<cublasLtMatmulDesc_t>(new Description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete reinterpret_cast<Description*>(description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  Description& description = of<Description>(handle);
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return assign(description.transposed_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_POINTER_MODE: return assign(description.pointers, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return assign(description.epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return assign(description.bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return assign(description.bias_type.emplace(), value, bytes);
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, std::uint64_t rows,
                                          std::uint64_t columns, std::int64_t stride) {
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, stride});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete reinterpret_cast<Layout*>(layout);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete reinterpret_cast<Preference*>(preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    std::size_t bytes) {
  Preference& preference = of<Preference>(handle);
  std::uint32_t reductions = 0;
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return assign(preference.workspace_bytes, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return assign(reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return assign(preference.alignment[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return assign(preference.alignment[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return assign(preference.alignment[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return assign(preference.alignment[3], value, bytes);
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
  }
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description_handle,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference_handle, int wanted,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  const Settings& settings = Machine::get().settings;
  const Description& description = of<Description>(description_handle);
  const Preference& preference = of<Preference>(preference_handle);
  *found = 0;
  if (wanted < 1 || !fits(description, of<Layout>(a), of<Layout>(b), of<Layout>(c), of<Layout>(d))) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (settings.no_products || !supported(of<Layout>(a), of<Layout>(b), of<Layout>(c), of<Layout>(d))) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  // One algorithm that uses all that it may.
  Algorithm algorithm{.workspace_bytes = preference.workspace_bytes + settings.greedy_products};
  std::copy(std::begin(preference.alignment), std::end(preference.alignment), algorithm.alignment);
  algorithm.epilogue = description.epilogue;
  results[0] = {};
  std::memcpy(&results[0].algo, &algorithm, sizeof algorithm);
  results[0].workspaceSize = algorithm.workspace_bytes;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description_handle, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm_bytes, void* workspace, std::size_t workspace_bytes,
                              cudaStream_t stream) {
  const auto operand = [](cublasLtMatrixLayout_t layout, const void* data) {
    return Operand{of<Layout>(layout), static_cast<char*>(const_cast<void*>(data))};
  };
  Product product{of<Description>(description_handle), operand(a_layout, a), operand(b_layout, b), operand(c_layout, c),
                  operand(d_layout, d)};
  Algorithm algorithm;
  std::memcpy(static_cast<void*>(&algorithm), algorithm_bytes, sizeof algorithm);
  const Description& description = product.description;
  const bool valid = algorithm.mark == Algorithm::genuine && algorithm.epilogue == description.epilogue &&
      fits(description, product.a.layout, product.b.layout, product.c.layout, product.d.layout) &&
      product.a.aligned(algorithm.alignment[0]) && product.b.aligned(algorithm.alignment[1]) &&
      product.c.aligned(algorithm.alignment[2]) && product.d.aligned(algorithm.alignment[3]) &&
      workspace_bytes >= algorithm.workspace_bytes && reinterpret_cast<std::uintptr_t>(workspace) % 256 == 0 &&
      product.biased() == (description.bias != nullptr) &&
      (c != d || product.c.layout.stride == product.d.layout.stride);
  if (!valid) return CUBLAS_STATUS_INVALID_VALUE;
  if (!supported(product.a.layout, product.b.layout, product.c.layout, product.d.layout)) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  if (!product.description.bias_type) product.description.bias_type = product.d.layout.type;
  if (description.pointers == CUBLASLT_POINTER_MODE_DEVICE) {
    product.device_alpha = static_cast<const float*>(alpha);
    product.device_beta = static_cast<const float*>(beta);
  } else {
    product.alpha = *static_cast<const float*>(alpha);
    product.beta = *static_cast<const float*>(beta);
  }
  product.workspace = static_cast<char*>(workspace);
  product.workspace_bytes = algorithm.workspace_bytes;

  Machine& machine = Machine::get();
  const std::unique_lock lock(machine.mutex);
  const std::shared_ptr<Queue> queue = queue_of(stream);
  if (queue == nullptr || machine.state_of(queue->device) != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED;
  const int device = queue->device;
  if (*reinterpret_cast<const int*>(handle) != device || current_device() != device) {
    machine.findings.push_back("a product on device " + std::to_string(device) + " by a handle or thread of another");
    return CUBLAS_STATUS_EXECUTION_FAILED;
  }
  machine.push(queue, "product", [&machine, product, device] {
    for (const void* used : {product.a.data, product.b.data, product.c.data, product.d.data, product.workspace}) {
      machine.check_reach(used, device, "a product");
    }
    product.run(machine);
    return Progress::done;
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
// NOLINTEND
