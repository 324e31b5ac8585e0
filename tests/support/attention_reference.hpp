// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/dtype.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

/// Attention written down as its formula, in double precision, and problems to try it on.

namespace ltxmem::test {

template <class T>
struct AttentionProblem {
  std::int64_t queries = 1;
  std::int64_t keys = 1;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 1;
  float scale = 1.0F;
  bool causal = false;
  std::int64_t window = 0;
  std::int64_t query_begin = 0;
  std::int64_t key_begin = 0;
  std::vector<T> q{};
  std::vector<T> k{};
  std::vector<T> v{};
  std::vector<float> mask{};  ///< [queries, keys] or empty

  /// Fills the operands; logits spread over about +-3.
  AttentionProblem& randomise(std::uint32_t seed = 1) {
    q = random_values<T>(queries * heads * head_dim, seed);
    k = random_values<T>(keys * kv_heads * head_dim, seed + 1);
    v = random_values<T>(keys * kv_heads * head_dim, seed + 2);
    scale = 4.0F / std::sqrt(static_cast<float>(head_dim));
    return *this;
  }

  /// A mask that hides about a third of the pairs and shifts the others.
  AttentionProblem& randomise_mask(std::uint32_t seed) {
    mask = random_values<float>(queries * keys, seed);
    for (float& value : mask) value = value < -0.3F ? -std::numeric_limits<float>::infinity() : 2.0F * value;
    return *this;
  }

  bool visible(std::int64_t query, std::int64_t key) const {
    const std::int64_t distance = query_begin + query - key_begin - key;
    return !causal || (distance >= 0 && (window == 0 || distance < window));
  }
};

/// The whole problem as one tile.
template <class T>
AttentionTile<T> tile_of(const AttentionProblem<T>& p) {
  AttentionTile<T> tile;
  tile.q = TensorView<const T, 2>(p.q.data(), {p.queries, p.heads * p.head_dim});
  tile.k = TensorView<const T, 2>(p.k.data(), {p.keys, p.kv_heads * p.head_dim});
  tile.v = TensorView<const T, 2>(p.v.data(), {p.keys, p.kv_heads * p.head_dim});
  tile.heads = p.heads;
  tile.kv_heads = p.kv_heads;
  tile.scale = p.scale;
  tile.query_begin = p.query_begin;
  tile.key_begin = p.key_begin;
  tile.causal = p.causal;
  tile.window = p.window;
  if (!p.mask.empty()) tile.mask = TensorView<const float, 2>(p.mask.data(), {p.queries, p.keys});
  return tile;
}

template <class T>
struct AttentionOutput {
  std::vector<T> out;
  std::vector<float> lse;
};

template <class T>
bool same_bits(const AttentionOutput<T>& a, const AttentionOutput<T>& b) {
  return same_bits(a.out, b.out) && same_bits(a.lse, b.lse);
}

struct AttentionResult {
  std::vector<double> out;  ///< [queries, heads * head_dim]
  std::vector<double> lse;  ///< [queries, heads]
};

/// softmax(scale q k^T + mask) v and its log-sum-exp; rows that see nothing give zeros and -infinity.
template <class T>
AttentionResult reference_attention(const AttentionProblem<T>& p) {
  const auto at = [](const std::vector<T>& values, std::int64_t i) {
    return as_double(values[static_cast<std::size_t>(i)]);
  };
  AttentionResult result;
  result.out.assign(static_cast<std::size_t>(p.queries * p.heads * p.head_dim), 0.0);
  result.lse.assign(static_cast<std::size_t>(p.queries * p.heads), -std::numeric_limits<double>::infinity());
  std::vector<double> logits(static_cast<std::size_t>(p.keys));
  for (std::int64_t n = 0; n < p.queries; ++n) {
    for (std::int64_t h = 0; h < p.heads; ++h) {
      const std::int64_t kv = h / (p.heads / p.kv_heads);
      double highest = -std::numeric_limits<double>::infinity();
      for (std::int64_t m = 0; m < p.keys; ++m) {
        double logit = 0.0;
        for (std::int64_t d = 0; d < p.head_dim; ++d) {
          logit += at(p.q, (n * p.heads + h) * p.head_dim + d) * at(p.k, (m * p.kv_heads + kv) * p.head_dim + d);
        }
        logit *= static_cast<double>(p.scale);
        if (!p.mask.empty()) logit += static_cast<double>(p.mask[static_cast<std::size_t>(n * p.keys + m)]);
        if (!p.visible(n, m)) logit = -std::numeric_limits<double>::infinity();
        logits[static_cast<std::size_t>(m)] = logit;
        highest = std::max(highest, logit);
      }
      if (std::isinf(highest)) continue;
      double sum = 0.0;
      for (double& logit : logits) {
        logit = std::exp(logit - highest);
        sum += logit;
      }
      for (std::int64_t m = 0; m < p.keys; ++m) {
        const double weight = logits[static_cast<std::size_t>(m)] / sum;
        for (std::int64_t d = 0; d < p.head_dim; ++d) {
          result.out[static_cast<std::size_t>((n * p.heads + h) * p.head_dim + d)] +=
              weight * at(p.v, (m * p.kv_heads + kv) * p.head_dim + d);
        }
      }
      result.lse[static_cast<std::size_t>(n * p.heads + h)] = highest + std::log(sum);
    }
  }
  return result;
}

/// Output and log-sum-exp against double precision. By itself: sums are fp32 and the result is rounded to T once.
template <class T>
void check_against_reference(const AttentionProblem<T>& p, const AttentionOutput<T>& got,
                             double tolerance = rounding<T> + 4e-6) {
  const AttentionResult expected = reference_attention(p);
  CHECK(relative_error(got.out, expected.out) < tolerance);
  for (std::size_t i = 0; i < expected.lse.size(); ++i) {
    if (std::isinf(expected.lse[i])) {
      CHECK(got.lse[i] == -std::numeric_limits<float>::infinity());
    } else {
      CHECK(static_cast<double>(got.lse[i]) == Approx(expected.lse[i]).epsilon(1e-5).margin(1e-5));
    }
  }
}

}  // namespace ltxmem::test
