// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <stdexcept>
#include <string>

#include "ltxmem/backend/cuda/backend.cuh"
#include "ltxmem/backend/cuda/cuda_resource.hpp"
#include "ltxmem/core/tensor.hpp"

namespace ltxmem::test::on_device {

/// A backend, and copies of host operands on its device that live as long as it.
class Session {
 public:
  explicit Session(int index = 0) : backend(index) {}

  CudaBackend backend;
  CudaResource device{backend.stream()};

  template <class T, std::size_t Rank>
  TensorView<T, Rank> blank(const Extents<Rank>& extents) {
    const std::size_t bytes = std::max<std::size_t>(byte_count<T>(extents), 1);
    buffers_.emplace_back(device, Extents<1>{static_cast<std::int64_t>(bytes)});
    return {reinterpret_cast<T*>(buffers_.back().view().data()), extents};
  }
  template <class T, std::size_t Rank>
  TensorView<T, Rank> up(TensorView<const T, Rank> host) {
    if (host.empty()) return {};
    const TensorView<T, Rank> copy = blank<T>(host.extents());
    const TensorView<const T, 2> flat(host.data(), {1, host.size()});
    backend.copy(flat, TensorView<T, 2>(copy.data(), {1, host.size()}));
    return copy;
  }
  template <class T, std::size_t Rank>
  void down(TensorView<T, Rank> from, TensorView<T, Rank> host) {
    if (host.empty()) return;
    backend.copy(TensorView<const T, 2>(from.data(), {1, host.size()}),
                 TensorView<T, 2>(host.data(), {1, host.size()}));
    backend.synchronize();
  }
  WeightVector up(const WeightVector& host) {
    if (host.empty()) return host;
    WeightVector copy = host;
    copy.data = up(host.data, host.size, host.dtype);
    return copy;
  }
  WeightMatrix up(const WeightMatrix& host) {
    WeightMatrix copy = host;
    copy.data = up(host.data, (host.rows - 1) * host.row_stride + host.columns, host.dtype);
    if (host.scale != nullptr) copy.scale = up(TensorView<const float, 1>(host.scale, {1})).data();
    return copy;
  }
  TokenRows up(const TokenRows& host) { return {up(host.rows), up(host.index)}; }
  template <class Out>
  LinearEpilogue<Out> up(const LinearEpilogue<Out>& host) {
    LinearEpilogue<Out> copy = host;
    copy.bias = up(host.bias);
    copy.addend = up(host.addend);
    copy.residual = up(host.residual);
    copy.gate = up(host.gate);
    return copy;
  }
  template <class T>
  AttentionTile<T> up(const AttentionTile<T>& host) {
    AttentionTile<T> copy = host;
    copy.q = up(host.q);
    copy.k = up(host.k);
    copy.v = up(host.v);
    copy.mask = up(host.mask);
    return copy;
  }

  /// Work in an arena of exactly so many bytes.
  template <class Fn>
  void within(std::size_t bytes, Fn&& work) {
    Arena arena(device, bytes);
    work(arena);
    if (arena.peak_bytes() != bytes) {
      throw std::logic_error("planned " + std::to_string(bytes) + " bytes, used " + std::to_string(arena.peak_bytes()));
    }
  }

 private:
  const std::byte* up(const std::byte* elements, std::int64_t count, DType dtype) {
    const std::int64_t bytes = count * static_cast<std::int64_t>(dtype_bytes(dtype));
    return up(TensorView<const std::byte, 1>(elements, {bytes})).data();
  }

  std::deque<Tensor<std::byte, 1>> buffers_;
};

}  // namespace ltxmem::test::on_device
