// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <typeinfo>
#include <utility>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/cuda/target.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/core/resource.hpp"
#include "runtime/card_calls.hpp"

namespace ltx2 {

/// A card as the library ltx2_card has it: CudaBackend behind one function.
class Card {
 public:
  Card() = default;
  Card(const Card&) = delete;
  Card& operator=(const Card&) = delete;
  virtual ~Card() = default;

  /// Does a call of card_calls.hpp, of that type. Error for one that the library does not know.
  virtual void perform(const std::type_info& type, const void* call) = 0;
  virtual ltxmem::StreamRef stream() const noexcept = 0;     ///< that it queues its work on
  virtual ltxmem::ResourceRef memory() noexcept = 0;         ///< of the device, in the order of its stream
  virtual ltxmem::ResourceRef pinned_memory() noexcept = 0;  ///< page-locked memory of the host, for all cards
  /// Of another card, for copies alone: ltxmem::PeerResource.
  virtual ltxmem::ResourceRef peer_memory(int index) = 0;
};

/// Cards of this machine, and what one has free, in bytes. Throws DeviceError, in one sentence, when it cannot be used:
/// no driver, no such device, one that is too old, or CUDA's libraries are missing; ShapeError in a build without CUDA.
int count_cards();
std::size_t free_card_memory(int index);

/// Computes on a card: what ltxmem::CudaBackend does, for models that nvcc does not compile.
///
/// CudaBackend lies in a library of its own that is loaded when the first card is asked for. A run on the processor
/// neither maps nor needs CUDA's libraries (cuBLASLt alone takes 200 MB).
///
/// A copy is another user of the same card, with a listener of its own.
///
/// Threads   one at a time, the one that made it or one that has called make_current(), all its copies together
/// Throws    what CudaBackend does; Cancelled where a step begins
class CardBackend {
 public:
  using Target = ltxmem::CudaTarget;
  using Event = card::Event;

  explicit CardBackend(int index, std::stop_token stop = {});

  ltxmem::ResourceRef memory() const noexcept { return card_->memory(); }
  ltxmem::ResourceRef pinned_memory() const noexcept { return card_->pinned_memory(); }
  ltxmem::ResourceRef peer_memory(int index) { return card_->peer_memory(index); }

  Target target() const noexcept { return {}; }
  ltxmem::StreamRef stream() const noexcept { return card_->stream(); }
  /// The calling thread uses it from now on, where another one did.
  void make_current() { perform(card::MakeCurrent{}); }
  void synchronize() { perform(card::Synchronize{}); }

  template <ltxmem::Element T, class Out>
  void linear(std::span<const ltxmem::LinearTerm<T>> terms, const ltxmem::LinearEpilogue<Out>& epilogue,
              ltxmem::TensorView<Out, 2> y, ltxmem::Arena& arena) {
    perform(card::Linear<T, Out>{terms, epilogue, y, arena});
  }
  template <ltxmem::Element T>
  std::size_t linear_workspace_bytes(std::int64_t tokens, const ltxmem::WeightMatrix& weight) const {
    return target().template linear_workspace_bytes<T>(tokens, weight);
  }

  template <ltxmem::Element T>
  void norm(ltxmem::TensorView<const T, 2> x, const ltxmem::NormArguments<T>& arguments, ltxmem::TensorView<T, 2> y) {
    perform(card::Norm<T>{x, arguments, y});
  }
  template <ltxmem::Element T>
  void head_norm(ltxmem::TensorView<T, 2> x, const ltxmem::HeadNormArguments& arguments) {
    perform(card::HeadNorm<T>{x, arguments});
  }
  template <ltxmem::Element T>
  void head_norm_factors(ltxmem::TensorView<const T, 2> x, float eps, ltxmem::TensorView<float, 1> factors) {
    perform(card::HeadNormFactors<T>{x, eps, factors});
  }

  void attention_reset(ltxmem::SoftmaxStateView state) { perform(card::AttentionReset{state}); }
  template <ltxmem::Element T>
  void attention_append(const ltxmem::AttentionTile<T>& tile, ltxmem::SoftmaxStateView state, ltxmem::Arena& arena) {
    perform(card::AttentionAppend<T>{tile, state, arena});
  }
  void attention_merge(ltxmem::SoftmaxStateView from, ltxmem::SoftmaxStateView into) {
    perform(card::AttentionMerge{from, into});
  }
  template <ltxmem::Element T>
  void attention_finalize(ltxmem::SoftmaxStateView state, ltxmem::TensorView<const float, 2> gate,
                          ltxmem::TensorView<T, 2> out, ltxmem::TensorView<float, 2> natural_lse) {
    perform(card::AttentionFinalize<T>{state, gate, out, natural_lse});
  }
  template <ltxmem::Element T>
  std::size_t attention_workspace_bytes(const ltxmem::AttentionTile<T>& tile) const {
    return target().attention_workspace_bytes(tile);
  }

  template <ltxmem::Element T>
  void convolve(ltxmem::TensorView<const T, 4> x, const ltxmem::ConvolutionArguments<T>& arguments,
                ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) {
    perform(card::Convolve<T>{x, arguments, y, arena});
  }
  template <ltxmem::Element T>
  void convolve_transposed(ltxmem::TensorView<const T, 2> x, const ltxmem::TransposedConvolutionArguments& arguments,
                           ltxmem::TensorView<T, 2> y, ltxmem::Arena& arena) {
    perform(card::ConvolveTransposed<T>{x, arguments, y, arena});
  }
  template <ltxmem::Element T>
  std::size_t convolution_workspace_bytes(const ltxmem::WeightMatrix& weight,
                                          const ltxmem::ConvolutionGeometry& geometry) const {
    return target().template convolution_workspace_bytes<T>(weight, geometry);
  }
  template <ltxmem::Element T>
  std::size_t transposed_workspace_bytes(const ltxmem::TransposedConvolutionArguments& arguments) const {
    return target().template transposed_workspace_bytes<T>(arguments);
  }

  /// fn is of a type that card_functions.hpp lists.
  template <class Fn>
  void for_each(const ltxmem::OperationCost& cost, std::int64_t count, const Fn& fn) {
    perform(card::ForEach<Fn>{cost, count, fn});
  }

  template <class From, class To>
  void copy(ltxmem::TensorView<const From, 2> from, ltxmem::TensorView<To, 2> to) {
    perform(card::Copy<From, To>{from, to});
  }
  template <class T>
  Event copy_async(ltxmem::CopyQueue queue, ltxmem::TensorView<const T, 2> from, ltxmem::TensorView<T, 2> to) {
    Event done;
    perform(card::CopyAsync<T>{queue, from, to, done});
    return done;
  }
  void wait(const Event& event) { perform(card::Wait{event}); }
  void synchronize(const Event& event) { perform(card::SynchronizeEvent{event}); }

  /// Calls listener(name, index) in the calling thread whenever a named step is queued; an empty one ends that.
  void on_step(std::function<void(const char*, std::int64_t)> listener) { step_listener_ = std::move(listener); }
  void enter_step(const char* name, std::int64_t index) {
    if (stop_.stop_requested()) throw ltxmem::Cancelled();
    perform(card::EnterStep{name, index});
    if (step_listener_) step_listener_(name, index);
  }
  void leave_step() noexcept { perform(card::LeaveStep{}); }
  bool collapses_loops() const noexcept { return false; }
  void begin_repeated(std::int64_t) noexcept {}
  void end_repeated() noexcept {}

 private:
  template <class Call>
  void perform(const Call& call) {
    card_->perform(typeid(Call), &call);
  }

  std::shared_ptr<Card> card_;
  std::stop_token stop_;
  std::function<void(const char*, std::int64_t)> step_listener_;
};

static_assert(ltxmem::Backend<CardBackend, float> && ltxmem::Backend<CardBackend, ltxmem::bfloat16>);
static_assert(ltxmem::HasByteTransfer<CardBackend>);

}  // namespace ltx2
