// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/rows.cuh"

namespace ltxmem::cuda {

template <Element T>
struct NormKernelArguments {
  Rows<const T> x;
  Rows<const T> residual;  ///< no data: absent
  Rows<T> y;
  std::int64_t channels = 0;
  NormKind kind = NormKind::rms;
  float eps = 1e-6F;
  DeviceWeight weight;
  float weight_offset = 0.0F;
  DeviceTokenRows scale;
  DeviceTokenRows shift;
  Activation activation = Activation::none;
};

struct NormShared {
  float sums[row_threads / 32];
  float squares[row_threads / 32];
};

/// Norm, weight, modulation, activation and residual of one row for each block; see NormArguments.
///
/// Shapes    x, y, residual [N, D]; grid N, block row_threads; width divides D and what T addresses allow
/// Memory    loads, for each row, p D sizeof(T) with p = 1, 2 or 3 passes over x for none, rms or layer, D times the
///           size of a weight, 4 D for scale and for shift (and 4 for the index of each), D sizeof(T) of residual;
///           stores D sizeof(T). Shared 64 bytes
/// Numerics  statistics in fp32, in an order that depends on D and width alone; one rounding to T. y may be x
///           or residual
template <Element T, int width>
__global__ void __launch_bounds__(row_threads, 4) norm_rows(const __grid_constant__ NormKernelArguments<T> a) {
  using Piece = Group<T, width>;
  NormShared& shared = dynamic_shared<NormShared>();
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t first = static_cast<std::int64_t>(threadIdx.x) * width;
  constexpr std::int64_t step = static_cast<std::int64_t>(row_threads) * width;
  const T* x = a.x.row(token);
  const auto count = static_cast<float>(a.channels);

  float mean = 0.0F;
  float factor = 1.0F;
  if (a.kind == NormKind::layer) {
    float sum = 0.0F;
    for (std::int64_t c = first; c < a.channels; c += step) {
      const Piece piece = load(reinterpret_cast<const Piece*>(x + c));
#pragma unroll
      for (int i = 0; i < width; ++i) sum += static_cast<float>(piece.at[i]);
    }
    mean = block_sum(sum, shared.sums) / count;
  }
  if (a.kind != NormKind::none) {
    float sum = 0.0F;
    for (std::int64_t c = first; c < a.channels; c += step) {
      const Piece piece = load(reinterpret_cast<const Piece*>(x + c));
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const float centred = static_cast<float>(piece.at[i]) - mean;
        sum += centred * centred;
      }
    }
    factor = 1.0F / sqrtf(block_sum(sum, shared.squares) / count + a.eps);
  }

  const float* scale = a.scale.data == nullptr ? nullptr : a.scale.row(token);
  const float* shift = a.shift.data == nullptr ? nullptr : a.shift.row(token);
  for (std::int64_t c = first; c < a.channels; c += step) {
    const Piece piece = load(reinterpret_cast<const Piece*>(x + c));
    Piece before{};
    if (a.residual.data != nullptr) before = load(reinterpret_cast<const Piece*>(a.residual.row(token) + c));
    Piece result;
#pragma unroll
    for (int i = 0; i < width; ++i) {
      float value = (static_cast<float>(piece.at[i]) - mean) * factor;
      if (a.weight.data != nullptr) value *= a.weight.at(c + i) + a.weight_offset;
      if (scale != nullptr) value *= 1.0F + load(scale + c + i);
      if (shift != nullptr) value += load(shift + c + i);
      value = activate(a.activation, value);
      if (a.residual.data != nullptr) value += static_cast<float>(before.at[i]);
      result.at[i] = static_cast<T>(value);
    }
    store(reinterpret_cast<Piece*>(a.y.row(token) + c), result);
  }
}

/// 1 / sqrt(mean of squares of a row + eps), the same bits in every thread; the order of the sum depends on the width
/// alone.
template <class T>
LTXMEM_DEVICE float row_factor(const T* row, std::int64_t width, float eps, NormShared& shared) {
  float sum = 0.0F;
  for (std::int64_t c = threadIdx.x; c < width; c += row_threads) {
    const auto value = static_cast<float>(load(row + c));
    sum += value * value;
  }
  return 1.0F / sqrtf(block_sum(sum, shared.squares) / static_cast<float>(width) + eps);
}

/// factors [N]: what head_norm_rows multiplies whole rows by. Grid N, block row_threads.
///
/// Memory    loads W sizeof(T) and stores 4 bytes for each row of width W. Shared 64 bytes
template <Element T>
__global__ void __launch_bounds__(row_threads, 4)
    head_norm_factors(Rows<const T> x, std::int64_t width, float eps, float* factors, std::int64_t factor_stride) {
  NormShared& shared = dynamic_shared<NormShared>();
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x);
  const float factor = row_factor(x.row(token), width, eps, shared);
  if (threadIdx.x == 0) store(factors + token * factor_stride, factor);
}

template <Element T>
struct HeadNormKernelArguments {
  Rows<T> x;
  std::int64_t heads = 1;
  std::int64_t head_dim = 1;
  NormKind kind = NormKind::rms;
  bool per_head = false;
  float eps = 1e-6F;
  DeviceWeight weight;
  float weight_offset = 0.0F;
  Rows<const float> cosine;  ///< no data: nothing turns
  Rows<const float> sine;
  Rows<const std::int32_t> coordinate;
  std::int64_t axes = 1;
  std::int64_t identity_slots = 0;
  std::int64_t first_slot = 0;
  RotaryLayout layout = RotaryLayout::split;
  bool rotary_per_head = false;
  const float* row_factors = nullptr;  ///< absent: the factor of a row is computed from it
  std::int64_t row_factor_stride = 1;
};

/// Query/key norm and rotary embedding in place, one row for each block, each thread a pair of elements at a time; see
/// HeadNormArguments.
///
/// Shapes    x [N, heads * head_dim], head_dim even; grid N, block row_threads
/// Memory    loads, for each row of width W = heads head_dim, p W sizeof(T) with p = 2 passes (1 without norm or with
///           given factors, of which every thread then loads one), W times the size of a weight, and for each of the
///           turning slots 8 bytes of tables and 4 of coordinates; stores W sizeof(T). Shared 64 bytes
/// Numerics  mean squares in fp32, in an order that depends on the shape alone; one rounding to T
template <Element T>
__global__ void __launch_bounds__(row_threads, 4) head_norm_rows(const __grid_constant__ HeadNormKernelArguments<T> a) {
  NormShared& shared = dynamic_shared<NormShared>();
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x);
  const std::int64_t half_dim = a.head_dim / 2;
  const std::int64_t slots = a.heads * half_dim;
  const std::int64_t low_step = a.layout == RotaryLayout::split ? 1 : 2;
  const std::int64_t partner = a.layout == RotaryLayout::split ? half_dim : 1;
  T* row = a.x.row(token);

  const auto place = [&](std::int64_t slot) { return slot / half_dim * a.head_dim + slot % half_dim * low_step; };
  const auto turn = [&](std::int64_t slot, float factor) {
    const std::int64_t at = place(slot);
    float low = static_cast<float>(load(row + at)) * factor;
    float high = static_cast<float>(load(row + at + partner)) * factor;
    if (a.weight.data != nullptr) {
      const std::int64_t w = a.per_head ? at % a.head_dim : at;
      low *= a.weight_offset + a.weight.at(w);
      high *= a.weight_offset + a.weight.at(w + partner);
    }
    const std::int64_t turning = (a.rotary_per_head ? slot % half_dim : a.first_slot + slot) - a.identity_slots;
    if (a.cosine.data != nullptr && turning >= 0) {
      const std::int64_t entry = load(a.coordinate.row(token) + turning % a.axes);
      const float cosine = load(a.cosine.row(entry) + turning / a.axes);
      const float sine = load(a.sine.row(entry) + turning / a.axes);
      const float turned = low * cosine - high * sine;
      high = high * cosine + low * sine;
      low = turned;
    }
    store(row + at, static_cast<T>(low));
    store(row + at + partner, static_cast<T>(high));
  };

  if (a.per_head && a.kind != NormKind::none) {
    // A warp takes a head at a time; its lanes meet in warp_sum only, and each touches its own pairs alone.
    for (std::int64_t head = threadIdx.x / 32; head < a.heads; head += row_threads / 32) {
      float sum = 0.0F;
      for (std::int64_t r = threadIdx.x % 32; r < half_dim; r += 32) {
        const std::int64_t at = place(head * half_dim + r);
        const auto low = static_cast<float>(load(row + at));
        const auto high = static_cast<float>(load(row + at + partner));
        sum += low * low + high * high;
      }
      const float factor = 1.0F / sqrtf(warp_sum(sum) / static_cast<float>(a.head_dim) + a.eps);
      for (std::int64_t r = threadIdx.x % 32; r < half_dim; r += 32) turn(head * half_dim + r, factor);
    }
    return;
  }
  float factor = 1.0F;
  if (a.row_factors != nullptr) {
    factor = load(a.row_factors + token * a.row_factor_stride);
  } else if (a.kind != NormKind::none) {
    factor = row_factor(row, a.heads * a.head_dim, a.eps, shared);
  }
  for (std::int64_t slot = threadIdx.x; slot < slots; slot += row_threads) turn(slot, factor);
}

}  // namespace ltxmem::cuda
