// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cudnn.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ltxmem/core/dtype.hpp"

namespace ltxmem::bench {

namespace cudnn {

/// Throws std::runtime_error with the call, and what the library has to say about it.
inline void check(const char* call, cudnnStatus_t status) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 512> details{};
  cudnnGetLastErrorString(details.data(), details.size());
  throw std::runtime_error(std::string("cuDNN ") + std::to_string(cudnnGetVersion()) + ", " + call + ": " +
                           cudnnGetErrorString(status) + (details[0] != '\0' ? ", " : "") + details.data());
}

/// A descriptor of the graph API: attributes are set, then it is finalized.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t created = nullptr;
    check("cudnnBackendCreateDescriptor", cudnnBackendCreateDescriptor(type, &created));
    descriptor_.reset(created);
  }

  cudnnBackendDescriptor_t native() const noexcept { return descriptor_.get(); }

  template <class V>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const std::vector<V>& values) {
    check("cudnnBackendSetAttribute",
          cudnnBackendSetAttribute(native(), name, type, static_cast<std::int64_t>(values.size()), values.data()));
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& other) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, std::vector<cudnnBackendDescriptor_t>{other.native()});
  }
  void finalize(const char* what) { check(what, cudnnBackendFinalize(native())); }

 private:
  struct Destroy {
    void operator()(void* descriptor) const noexcept { static_cast<void>(cudnnBackendDestroyDescriptor(descriptor)); }
  };
  std::unique_ptr<void, Destroy> descriptor_;
};

}  // namespace cudnn

/// Attention as one operation of cuDNN's graph API, to compare with: out = softmax(q k^T scale) v.
///
/// Shapes    q and out [N, heads head_dim], k and v [M, heads head_dim], all dense: rows as the library has them
/// Memory    workspace_bytes(), known only where there is a device
/// Throws    std::runtime_error where the library refuses the graph, with its reason
/// Source    cuDNN backend API reference, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR
class CudnnAttention {
 public:
  CudnnAttention(cudaStream_t stream, DType type, std::int64_t queries, std::int64_t keys, std::int64_t heads,
                 std::int64_t head_dim, float scale)
      : scale_(scale) {
    using cudnn::Descriptor;
    cudnnHandle_t created = nullptr;
    cudnn::check("cudnnCreate", cudnnCreate(&created));
    handle_.reset(created);
    cudnn::check("cudnnSetStream", cudnnSetStream(created, stream));

    const Descriptor operation = described(type, queries, keys, heads, head_dim);
    Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, std::vector<cudnnHandle_t>{created});
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
    graph.finalize("the graph of attention");
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE,
                   std::vector<cudnnBackendHeurMode_t>{CUDNN_HEUR_MODE_A});
    heuristics.finalize("heuristics of attention");
    plan_ = first_plan(heuristics);

    std::int64_t bytes = 0, count = 0;
    cudnn::check("the workspace of a plan",
                 cudnnBackendGetAttribute(plan_->native(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64,
                                          1, &count, &bytes));
    workspace_bytes_ = static_cast<std::size_t>(bytes);
  }

  /// The operation alone, which needs no device.
  static cudnn::Descriptor described(DType type, std::int64_t queries, std::int64_t keys, std::int64_t heads,
                                     std::int64_t head_dim) {
    const cudnnDataType_t element = type == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
    const auto rows = [&](Operand operand, std::int64_t tokens) {
      return tensor(operand, element, {1, heads, tokens, head_dim},
                    {tokens * heads * head_dim, head_dim, heads * head_dim, 1});
    };
    cudnn::Descriptor operation(CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, rows(Operand::q, queries));
    operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, rows(Operand::k, keys));
    operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, rows(Operand::v, keys));
    operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, rows(Operand::out, queries));
    operation.set(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC,
                  tensor(Operand::scale, CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}));
    operation.finalize("the operation of attention");
    return operation;
  }

  std::size_t workspace_bytes() const noexcept { return workspace_bytes_; }

  /// Queued on the stream.
  template <class T>
  void operator()(const T* q, const T* k, const T* v, T* out, std::byte* workspace) {
    cudnn::Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64,
             std::vector<std::int64_t>{id(Operand::q), id(Operand::k), id(Operand::v), id(Operand::out),
                                       id(Operand::scale)});
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
             std::vector<const void*>{q, k, v, out, &scale_});
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, std::vector<void*>{workspace});
    pack.finalize("operands of attention");
    cudnn::check("cudnnBackendExecute", cudnnBackendExecute(handle_.get(), plan_->native(), pack.native()));
  }

 private:
  enum class Operand : std::int64_t { q = 1, k, v, out, scale };
  static std::int64_t id(Operand operand) { return static_cast<std::int64_t>(operand); }

  static cudnn::Descriptor tensor(Operand operand, cudnnDataType_t type, const std::vector<std::int64_t>& extents,
                                  const std::vector<std::int64_t>& strides) {
    constexpr std::int64_t alignment = 16;
    cudnn::Descriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, std::vector<cudnnDataType_t>{type});
    tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, extents);
    tensor.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides);
    tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, std::vector<std::int64_t>{id(operand)});
    tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, std::vector<std::int64_t>{alignment});
    if (operand == Operand::scale) {  // a number of the host
      const bool by_value = true;
      cudnn::check("cudnnBackendSetAttribute", cudnnBackendSetAttribute(tensor.native(), CUDNN_ATTR_TENSOR_IS_BY_VALUE,
                                                                        CUDNN_TYPE_BOOLEAN, 1, &by_value));
    }
    tensor.finalize("a tensor of attention");
    return tensor;
  }

  /// Of the engines that the heuristics name, best first, the first one that takes the graph.
  static std::unique_ptr<cudnn::Descriptor> first_plan(const cudnn::Descriptor& heuristics) {
    const auto results = [&](std::int64_t room, std::int64_t* count, cudnnBackendDescriptor_t* into) {
      cudnn::check("engines for attention", cudnnBackendGetAttribute(heuristics.native(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                                                     CUDNN_TYPE_BACKEND_DESCRIPTOR, room, count, into));
    };
    std::int64_t count = 0;
    results(0, &count, nullptr);
    std::vector<cudnn::Descriptor> engines;
    std::vector<cudnnBackendDescriptor_t> natives;
    for (std::int64_t i = 0; i < count; ++i) {
      engines.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
      natives.push_back(engines.back().native());
    }
    results(count, &count, natives.data());
    std::string refusal = "cuDNN has no engine for attention of this shape";
    for (std::int64_t i = 0; i < count; ++i) {
      try {
        auto plan = std::make_unique<cudnn::Descriptor>(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
        plan->set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engines[static_cast<std::size_t>(i)]);
        plan->finalize("a plan of attention");
        return plan;
      } catch (const std::runtime_error& error) {
        refusal = error.what();
      }
    }
    throw std::runtime_error(refusal);
  }

  struct Destroy {
    void operator()(cudnnHandle_t handle) const noexcept { static_cast<void>(cudnnDestroy(handle)); }
  };

  std::unique_ptr<cudnnContext, Destroy> handle_;
  std::unique_ptr<cudnn::Descriptor> plan_;
  std::size_t workspace_bytes_ = 0;
  float scale_;
};

}  // namespace ltxmem::bench
