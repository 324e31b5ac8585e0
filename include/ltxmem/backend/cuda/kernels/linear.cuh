// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/kernels/elementwise.cuh"

namespace ltxmem::cuda {

/// LinearEpilogue with plain pointers, and the sums that it finishes.
template <Element Out>
struct FinishKernelArguments {
  Rows<const float> sums;
  Rows<const float> addend;  ///< no data: absent
  DeviceWeight bias;
  Activation activation = Activation::none;
  DeviceTokenRows gate;
  Rows<const Out> residual;  ///< no data: absent
  Rows<Out> y;
  std::int64_t columns = 0;
};

/// y = residual + gate * activation(sums + addend + bias); y may be addend or residual.
///
/// Shapes    all [N, columns]; grid and width see ElementWork, width 1 or 4
/// Memory    loads 4 bytes for each element of sums, and of addend and gate where they are, sizeof(Out) of the
///           residual, the size of a bias, and 4 for each thread where the gate has an index; stores sizeof(Out)
/// Numerics  fp32, one rounding to Out
template <Element Out, int width>
__global__ void __launch_bounds__(row_threads, 4) finish_linear(const __grid_constant__ FinishKernelArguments<Out> a) {
  using Sums = Group<float, width>;
  using Piece = Group<Out, width>;
  const ElementWork work(width);
  if (work.column >= a.columns) return;
  Sums value = load(reinterpret_cast<const Sums*>(a.sums.row(work.row) + work.column));
  Sums more{};
  if (a.addend.data != nullptr) more = load(reinterpret_cast<const Sums*>(a.addend.row(work.row) + work.column));
  Piece before{};
  if (a.residual.data != nullptr) before = load(reinterpret_cast<const Piece*>(a.residual.row(work.row) + work.column));
  const float* gate = a.gate.data == nullptr ? nullptr : a.gate.row(work.row) + work.column;
  Piece result;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    value.at[i] += more.at[i];
    if (a.bias.data != nullptr) value.at[i] += a.bias.at(work.column + i);
    value.at[i] = activate(a.activation, value.at[i]);
    if (gate != nullptr) value.at[i] *= load(gate + i);
    if (a.residual.data != nullptr) value.at[i] += static_cast<float>(before.at[i]);
    result.at[i] = static_cast<Out>(value.at[i]);
  }
  store(reinterpret_cast<Piece*>(a.y.row(work.row) + work.column), result);
}

/// factors = {strength * scale, beta}: what a product that reads its factors on the device multiplies by. One thread.
template <int = 0>
__global__ void product_factors(float strength, const float* scale, float beta, float* factors) {
  store(factors, strength * load(scale));
  store(factors + 1, beta);
}

}  // namespace ltxmem::cuda
