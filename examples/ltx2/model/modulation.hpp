// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <type_traits>
#include <vector>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/arena.hpp"

/// Modulation rows: shift, scale and gate vectors that exist once per distinct timestep instead of once per token.

namespace ltx2 {

/// Values of tokens, each distinct one stored once.
struct DistinctValues {
  std::vector<float> values;
  std::vector<std::int32_t> index;  ///< [tokens]; empty when there is one value

  std::int64_t count() const noexcept { return static_cast<std::int64_t>(values.size()); }
};

/// In order of first appearance, so that equal inputs give equal rows.
inline DistinctValues distinct_values(ltxmem::TensorView<const float, 1> tokens) {
  DistinctValues distinct;
  std::map<float, std::int32_t> known;
  for (std::int64_t token = 0; token < tokens.extent(0); ++token) {
    const auto [entry, is_new] = known.try_emplace(tokens(token), static_cast<std::int32_t>(known.size()));
    if (is_new) distinct.values.push_back(tokens(token));
    distinct.index.push_back(entry->second);
  }
  if (distinct.count() == 1) distinct.index.clear();
  return distinct;
}

/// Several row vectors of one width per distinct value: vector i for token n is row i of index[n].
struct ModulationRows {
  ltxmem::TensorView<const float, 2> values;        ///< [distinct, vectors * width]
  ltxmem::TensorView<const std::int32_t, 1> index;  ///< [tokens] or empty
  std::int64_t width = 0;

  ltxmem::TokenRows operator[](std::int64_t vector) const { return {values.columns(vector * width, width), index}; }
};

namespace detail {

/// sum(u, c) = table[c] + addend(u, c mod addend columns)
template <class Weight>
struct AddTable {
  const Weight* table;
  ltxmem::TensorView<const float, 2> addend;
  ltxmem::TensorView<float, 2> sum;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t row = i / sum.extent(1);
    const std::int64_t column = i % sum.extent(1);
    sum(row, column) = static_cast<float>(table[column]) + addend(row, column % addend.extent(1));
  }
};

}  // namespace detail

/// sum [U, n * width] = a stored table [n, width], row after row, plus addend [U, n * width], or [U, width] that is
/// added to every row of the table.
template <ltxmem::HasForEach Backend>
void add_table(Backend& backend, const ltxmem::WeightMatrix& table, ltxmem::TensorView<const float, 2> addend,
               ltxmem::TensorView<float, 2> sum) {
  ltxmem::expects(table.row_stride == table.columns, "modulation: table with gaps between its rows");
  ltxmem::expects(sum.extent(1) == table.rows * table.columns && sum.extent(0) == addend.extent(0) &&
                      addend.extent(1) > 0 && sum.extent(1) % addend.extent(1) == 0,
                  "modulation: table ", table.rows, " x ", table.columns, " plus ", addend.extent(0), " x ",
                  addend.extent(1), " to ", sum.extent(0), " x ", sum.extent(1));
  ltxmem::with_floating_type(table.dtype, [&](auto* type) {
    backend.for_each({"modulation table", sum.size(), 12 * sum.size()}, sum.size(),
                     detail::AddTable<std::remove_cvref_t<decltype(*type)>>{
                         reinterpret_cast<decltype(type)>(table.data), addend, sum});
  });
}

}  // namespace ltx2
