// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/math/activation.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/linear.hpp"
#include "model/rotary.hpp"

namespace ltx2 {

namespace detail {

/// One element of the sinusoid: cos(tau w_j) for the first half of a row, sin(tau w_j) for the second,
/// w_j = exp(-ln(10000) j / half).
template <ltxmem::Element T>
struct TimestepSinusoid {
  ltxmem::TensorView<const float, 2> tau;  // [1, U]
  ltxmem::TensorView<T, 2> embedding;      // [U, 2 * half]

  LTXMEM_HOST_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t half = embedding.extent(1) / 2;
    const std::int64_t row = i / embedding.extent(1);
    const std::int64_t column = i % embedding.extent(1);
    const float frequency =
        std::exp(-9.210340371976184F * static_cast<float>(column % half) / static_cast<float>(half));
    const float angle = tau(0, row) * frequency;
    embedding(row, column) = static_cast<T>(column < half ? std::cos(angle) : std::sin(angle));
  }
};

template <ltxmem::Element T>
struct SiluTo {
  ltxmem::TensorView<const float, 2> x;
  ltxmem::TensorView<T, 2> y;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t row = i / x.extent(1);
    const std::int64_t column = i % x.extent(1);
    y(row, column) = static_cast<T>(ltxmem::silu(x(row, column)));
  }
};

}  // namespace detail

/// The small network that turns a timestep into modulation vectors ("adaln").
///
/// Computes  e = [cos(tau w), sin(tau w)] of 256 numbers;  emb = L2(silu(L1(e)));  mod = L3(silu(emb))
/// Shapes    tau [U] on the host, emb [U, D], mod [U, vectors * D]
/// Memory    U * (256 + 2 D) elements and U * D floats of scratch
/// Source    docs/ltx2/transformer.md 6
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class TimestepModulation {
 public:
  TimestepModulation(const WeightScope& weights, std::int64_t width, std::int64_t vectors)
      : width_(width),
        vectors_(vectors),
        linear_1_(make_linear<T, Backend>(weights.linear("emb.timestep_embedder.linear_1", width, sinusoid))),
        linear_2_(make_linear<T, Backend>(weights.linear("emb.timestep_embedder.linear_2", width, width))),
        linear_(make_linear<T, Backend>(weights.linear("linear", vectors * width, width))) {}

  std::int64_t width() const noexcept { return width_; }
  std::int64_t vectors() const noexcept { return vectors_; }

  /// One row of each result per tau.
  void operator()(Backend& backend, const std::vector<float>& tau, ltxmem::TensorView<float, 2> embedding,
                  ltxmem::TensorView<float, 2> modulation, ltxmem::Arena& arena) const {
    const auto rows = static_cast<std::int64_t>(tau.size());
    const auto scope = arena.scope();
    const auto scaled = arena.take<float, 2>("timesteps", {1, rows});
    const auto sine = arena.take<T, 2>("timestep sinusoid", {rows, sinusoid});
    const auto hidden = arena.take<T, 2>("timestep hidden", {rows, width_});
    const auto active = arena.take<T, 2>("timestep active", {rows, width_});
    backend.copy(as_row(tau), scaled);
    backend.for_each({"timestep sinusoid", 40 * sine.size(), 4 * sine.size()}, sine.size(),
                     detail::TimestepSinusoid<T>{scaled, sine});
    ltxmem::LinearEpilogue<T> silu;
    silu.activation = ltxmem::Activation::silu;
    linear_1_.apply(backend, sine, silu, hidden, arena);
    linear_2_.apply(backend, hidden, ltxmem::LinearEpilogue<float>{}, embedding, arena);
    backend.for_each({"silu", 8 * active.size(), 8 * active.size()}, active.size(),
                     detail::SiluTo<T>{embedding, active});
    linear_.apply(backend, active, ltxmem::LinearEpilogue<float>{}, modulation, arena);
  }

 private:
  static constexpr std::int64_t sinusoid = 256;

  std::int64_t width_;
  std::int64_t vectors_;
  ModelLinear<T, Backend> linear_1_;
  ModelLinear<T, Backend> linear_2_;
  ModelLinear<T, Backend> linear_;
};

}  // namespace ltx2
