// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "ltxmem/backend/operations.hpp"

/// The matrix product that a CpuBackend is built on: one thread, one tile of the output.
///
/// A CpuGemm g provides, for x [M, K] and w [N, K] with contiguous columns,
///   g.multiply(x, w, product, scratch)   product [M, N] (dense, float) = x w^T, accumulated in float
///   G::scratch_bytes<T>()                scratch that any such call may use; a bound, independent of M, N and K
///   G::dense_operands                    true when rows of x and w must follow one another without gaps
/// with M at most row_quantum and N at most gemm_columns. An element of the product depends on its row of x and its row
/// of w alone, to the bit: not on M, N, the row's position, or what other rows hold. Calls from several threads at once
/// are safe when product and scratch are distinct. scratch is aligned to buffer_alignment.

namespace ltxmem {

/// Most columns of one product call: with row_quantum rows the tile fills half a MiB, which stays in a core's cache.
inline constexpr std::int64_t gemm_columns = 512;

template <class G, class T>
concept CpuGemm = Element<T> && std::default_initializable<G> &&
    requires(const G& gemm, TensorView<const T, 2> x, TensorView<const T, 2> w, TensorView<float, 2> product,
             std::byte* scratch) {
  gemm.multiply(x, w, product, scratch);
  { G::template scratch_bytes<T>() } -> std::same_as<std::size_t>;
  { G::dense_operands } -> std::convertible_to<bool>;
};

}  // namespace ltxmem
