// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "ltxmem/backend/operations.hpp"
#include "ltxmem/memory/arena.hpp"

namespace ltxmem {
class CudaEvent;
}

/// What a card can be asked for: each call of ltxmem::CudaBackend with its arguments, as a type of its own. Plain C++,
/// so that models compiled without nvcc say it, and the library that nvcc compiled does it.

namespace ltx2::card {

using ltxmem::Arena;
using ltxmem::Element;
using ltxmem::SoftmaxStateView;
using ltxmem::TensorView;
using Event = std::shared_ptr<const ltxmem::CudaEvent>;

template <Element T, class Out>
struct Linear {
  std::span<const ltxmem::LinearTerm<T>> terms;
  const ltxmem::LinearEpilogue<Out>& epilogue;
  TensorView<Out, 2> y;
  Arena& arena;
  void operator()(auto& backend) const { backend.linear(terms, epilogue, y, arena); }
};

template <Element T>
struct Norm {
  TensorView<const T, 2> x;
  const ltxmem::NormArguments<T>& arguments;
  TensorView<T, 2> y;
  void operator()(auto& backend) const { backend.norm(x, arguments, y); }
};

template <Element T>
struct HeadNorm {
  TensorView<T, 2> x;
  const ltxmem::HeadNormArguments& arguments;
  void operator()(auto& backend) const { backend.head_norm(x, arguments); }
};

template <Element T>
struct HeadNormFactors {
  TensorView<const T, 2> x;
  float eps;
  TensorView<float, 1> factors;
  void operator()(auto& backend) const { backend.head_norm_factors(x, eps, factors); }
};

struct AttentionReset {
  SoftmaxStateView state;
  void operator()(auto& backend) const { backend.attention_reset(state); }
};

template <Element T>
struct AttentionAppend {
  const ltxmem::AttentionTile<T>& tile;
  SoftmaxStateView state;
  Arena& arena;
  void operator()(auto& backend) const { backend.attention_append(tile, state, arena); }
};

struct AttentionMerge {
  SoftmaxStateView from;
  SoftmaxStateView into;
  void operator()(auto& backend) const { backend.attention_merge(from, into); }
};

template <Element T>
struct AttentionFinalize {
  SoftmaxStateView state;
  TensorView<const float, 2> gate;
  TensorView<T, 2> out;
  TensorView<float, 2> natural_lse;
  void operator()(auto& backend) const { backend.attention_finalize(state, gate, out, natural_lse); }
};

template <Element T>
struct Convolve {
  TensorView<const T, 4> x;
  const ltxmem::ConvolutionArguments<T>& arguments;
  TensorView<T, 4> y;
  Arena& arena;
  void operator()(auto& backend) const { backend.convolve(x, arguments, y, arena); }
};

template <Element T>
struct ConvolveTransposed {
  TensorView<const T, 2> x;
  const ltxmem::TransposedConvolutionArguments& arguments;
  TensorView<T, 2> y;
  Arena& arena;
  void operator()(auto& backend) const { backend.convolve_transposed(x, arguments, y, arena); }
};

template <class Fn>
struct ForEach {
  const ltxmem::OperationCost& cost;
  std::int64_t count;
  const Fn& fn;
  void operator()(auto& backend) const { backend.for_each(cost, count, fn); }
};

template <class From, class To>
struct Copy {
  TensorView<const From, 2> from;
  TensorView<To, 2> to;
  void operator()(auto& backend) const { backend.copy(from, to); }
};

template <class T>
struct CopyAsync {
  ltxmem::CopyQueue queue;
  TensorView<const T, 2> from;
  TensorView<T, 2> to;
  Event& done;
  void operator()(auto& backend) const { done = backend.copy_async(queue, from, to); }
};

struct Wait {
  const Event& event;
  void operator()(auto& backend) const { backend.wait(event); }
};

struct SynchronizeEvent {
  const Event& event;
  void operator()(auto& backend) const { backend.synchronize(event); }
};

struct Synchronize {
  void operator()(auto& backend) const { backend.synchronize(); }
};

struct MakeCurrent {
  void operator()(auto& backend) const { backend.make_current(); }
};

struct EnterStep {
  const char* name;
  std::int64_t index;
  void operator()(auto& backend) const { backend.enter_step(name, index); }
};

struct LeaveStep {
  void operator()(auto& backend) const { backend.leave_step(); }
};

}  // namespace ltx2::card
