// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "config/transformer_config.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/arena.hpp"

/// Rotary embeddings of the transformer and of the connectors: the frequency grid, the positions of tokens with every
/// coordinate stored once, and the angle tables made from both.
///
/// Numerics  the grid is rounded to fp32 once; a coordinate becomes u = 2 (midpoint / max_position) - 1 and an angle
///           frequency * u in fp32. The highest frequency is 15708, so another order of operations is visible
/// Source    transformer.md 5 of the format description

namespace ltx2 {

/// Which angles a rotary embedding turns by.
struct RotaryGrid {
  std::int64_t width = 0;             ///< all heads together
  std::vector<double> max_positions;  ///< one per axis: the midpoint that becomes u = 1
  double theta = 10000;
  bool double_precision = false;  ///< evaluate the frequencies in double before rounding them
  RopeType type = RopeType::split;

  std::int64_t axes() const noexcept { return static_cast<std::int64_t>(max_positions.size()); }
  std::int64_t frequencies() const noexcept { return width / (2 * axes()); }
  std::int64_t identity_slots() const noexcept { return width / 2 - frequencies() * axes(); }

  friend bool operator==(const RotaryGrid&, const RotaryGrid&) = default;
};

/// pi/2 * theta^(i / (n - 1)) for i in [0, n), as fp32.
inline std::vector<float> rotary_frequencies(std::int64_t count, double theta, bool double_precision) {
  constexpr double half_pi = 1.5707963267948966;
  std::vector<float> frequencies(static_cast<std::size_t>(count));
  const double last = static_cast<double>(std::max<std::int64_t>(count - 1, 1));
  for (std::int64_t i = 0; i < count; ++i) {
    const double exponent = static_cast<double>(i) / last;
    frequencies[static_cast<std::size_t>(i)] =
        double_precision
            ? static_cast<float>(std::pow(theta, exponent) * half_pi)
            : std::pow(static_cast<float>(theta), static_cast<float>(exponent)) * static_cast<float>(half_pi);
  }
  return frequencies;
}

/// Where tokens are: per axis the distinct midpoints, and for every token and axis which of them it has.
///
/// Rows count through all axes: the midpoints of axis 0 are rows [0, n0), those of axis 1 rows [n0, n0 + n1) and so on.
struct TokenPositions {
  std::vector<std::vector<float>> midpoints;  ///< [axes][distinct], ascending
  std::vector<std::int32_t> rows;             ///< [tokens, axes]

  std::int64_t axes() const noexcept { return static_cast<std::int64_t>(midpoints.size()); }
  std::int64_t tokens() const noexcept {
    return midpoints.empty() ? 0 : static_cast<std::int64_t>(rows.size()) / axes();
  }
};

/// From the midpoint of every token on every axis, [tokens, axes].
inline TokenPositions distinct_positions(ltxmem::TensorView<const float, 2> midpoints) {
  const std::int64_t tokens = midpoints.extent(0);
  const std::int64_t axes = midpoints.extent(1);
  TokenPositions positions;
  positions.rows.resize(static_cast<std::size_t>(tokens * axes));
  std::int32_t first_row = 0;
  for (std::int64_t axis = 0; axis < axes; ++axis) {
    std::vector<float> values(static_cast<std::size_t>(tokens));
    for (std::int64_t token = 0; token < tokens; ++token) {
      ltxmem::expects(std::isfinite(midpoints(token, axis)), "positions: token ", token, " axis ", axis,
                      " is not finite");
      values[static_cast<std::size_t>(token)] = midpoints(token, axis);
    }
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    for (std::int64_t token = 0; token < tokens; ++token) {
      const auto found = std::lower_bound(values.begin(), values.end(), midpoints(token, axis));
      positions.rows[static_cast<std::size_t>(token * axes + axis)] =
          first_row + static_cast<std::int32_t>(found - values.begin());
    }
    first_row += static_cast<std::int32_t>(values.size());
    positions.midpoints.push_back(std::move(values));
  }
  return positions;
}

/// Positions 0, 1, ... of a text of this length, on one axis.
inline TokenPositions sequence_positions(std::int64_t tokens) {
  TokenPositions positions;
  positions.midpoints.resize(1);
  for (std::int64_t token = 0; token < tokens; ++token) {
    positions.midpoints[0].push_back(static_cast<float>(token));
    positions.rows.push_back(static_cast<std::int32_t>(token));
  }
  return positions;
}

/// A host vector as one row, to be copied into a buffer.
template <class T>
ltxmem::TensorView<const T, 2> as_row(const std::vector<T>& values) {
  return {values.data(), {1, static_cast<std::int64_t>(values.size())}};
}

/// The rows of some tokens where the backend can read them, [count, axes], in the arena.
template <class Backend>
ltxmem::TensorView<const std::int32_t, 2> upload_rows(Backend& backend, const TokenPositions& positions,
                                                      std::int64_t begin, std::int64_t count, ltxmem::Arena& arena) {
  const ltxmem::TensorView<const std::int32_t, 2> all(positions.rows.data(), {positions.tokens(), positions.axes()});
  const auto rows = arena.take<std::int32_t, 2>("position rows", {count, positions.axes()});
  backend.copy(all.rows(begin, count), rows);
  return rows;
}

/// The same for all tokens.
template <class Backend>
ltxmem::TensorView<const std::int32_t, 2> upload_rows(Backend& backend, const TokenPositions& positions,
                                                      ltxmem::Arena& arena) {
  return upload_rows(backend, positions, 0, positions.tokens(), arena);
}

namespace detail {

struct RotaryAngles {
  ltxmem::TensorView<const float, 2> frequency;   // [1, n]
  ltxmem::TensorView<const float, 2> coordinate;  // [1, rows]: u
  ltxmem::TensorView<float, 2> cosine;            // [rows, n]
  ltxmem::TensorView<float, 2> sine;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t i) const {
    const std::int64_t row = i / frequency.extent(1);
    const std::int64_t slot = i % frequency.extent(1);
    const float angle = frequency(0, slot) * coordinate(0, row);
    cosine(row, slot) = std::cos(angle);
    sine(row, slot) = std::sin(angle);
  }
};

}  // namespace detail

/// The tables for positions whose rows were uploaded; no rows: for tokens that place_tokens names later. A grid with
/// fewer axes than the positions uses their first ones: the cross-modal tables know time alone.
///
/// Memory    2 * 4 bytes per distinct coordinate and frequency, taken from the arena, and scratch freed again
template <ltxmem::HasForEach Backend>
ltxmem::RotaryTable rotary_table(Backend& backend, const RotaryGrid& grid, const TokenPositions& positions,
                                 ltxmem::TensorView<const std::int32_t, 2> rows, ltxmem::Arena& arena) {
  ltxmem::expects(grid.axes() <= positions.axes(), "rotary table: ", grid.axes(), " axes, positions have ",
                  positions.axes());
  std::vector<float> coordinates;
  for (std::size_t axis = 0; axis < grid.max_positions.size(); ++axis) {
    const auto max_position = static_cast<float>(grid.max_positions[axis]);
    for (const float midpoint : positions.midpoints[axis])
      coordinates.push_back(2.0F * (midpoint / max_position) - 1.0F);
  }
  const std::vector<float> frequencies = rotary_frequencies(grid.frequencies(), grid.theta, grid.double_precision);
  const ltxmem::Extents<2> extents{static_cast<std::int64_t>(coordinates.size()), grid.frequencies()};
  const auto cosine = arena.take<float>("rotary cosine", extents);
  const auto sine = arena.take<float>("rotary sine", extents);

  const auto scope = arena.scope();
  const auto u = arena.take<float, 2>("rotary coordinates", {1, extents[0]});
  const auto g = arena.take<float, 2>("rotary frequencies", {1, extents[1]});
  backend.copy(as_row(coordinates), u);
  backend.copy(as_row(frequencies), g);
  const std::int64_t count = extents[0] * extents[1];
  backend.for_each({"rotary table", 40 * count, 8 * count}, count, detail::RotaryAngles{g, u, cosine, sine});

  return {.cosine = cosine,
          .sine = sine,
          .coordinate = rows.columns(0, grid.axes()),
          .identity_slots = grid.identity_slots(),
          .layout = grid.type == RopeType::split ? ltxmem::RotaryLayout::split : ltxmem::RotaryLayout::interleaved};
}

/// The table for tokens whose rows were uploaded.
inline ltxmem::RotaryTable place_tokens(ltxmem::RotaryTable table, ltxmem::TensorView<const std::int32_t, 2> rows) {
  if (!table.empty()) table.coordinate = rows.columns(0, table.coordinate.extent(1));
  return table;
}

}  // namespace ltx2
