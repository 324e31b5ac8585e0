// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "config/transformer_config.hpp"
#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/arena.hpp"

/// From the hidden states of the text model to the features that the connectors take.
/// Source  docs/ltx2/text.md 3

namespace ltx2 {

namespace detail {

/// Sum, least and greatest element of every row; item i is row i.
template <ltxmem::Element T>
struct RowExtremes {
  ltxmem::TensorView<const T, 2> x;
  ltxmem::TensorView<double, 2> rows;  // [N, 3]

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    double sum = 0;
    auto least = static_cast<float>(x(row, 0));
    float greatest = least;
    for (std::int64_t column = 0; column < x.extent(1); ++column) {
      const auto value = static_cast<float>(x(row, column));
      sum += static_cast<double>(value);
      least = value < least ? value : least;
      greatest = value > greatest ? value : greatest;
    }
    rows(row, 0) = sum;
    rows(row, 1) = static_cast<double>(least);
    rows(row, 2) = static_cast<double>(greatest);
  }
};

/// The mean of all rows and the factor 8 / range; a single item.
struct PromptStatistics {
  ltxmem::TensorView<const double, 2> rows;  // [N, 3]
  std::int64_t columns;
  ltxmem::TensorView<float, 2> result;  // [1, 2]

  LTXMEM_HOST_DEVICE void operator()(std::int64_t) const {
    double sum = 0;
    double least = rows(0, 1);
    double greatest = rows(0, 2);
    for (std::int64_t row = 0; row < rows.extent(0); ++row) {
      sum += rows(row, 0);
      least = rows(row, 1) < least ? rows(row, 1) : least;
      greatest = rows(row, 2) > greatest ? rows(row, 2) : greatest;
    }
    result(0, 0) = static_cast<float>(sum / (static_cast<double>(rows.extent(0) * columns) + 1e-6));
    result(0, 1) = static_cast<float>(8.0 / (greatest - least + 1e-6));
  }
};

/// y = (x - mean) * factor; item i is row i.
template <ltxmem::Element T>
struct NormalisePrompt {
  ltxmem::TensorView<const T, 2> x;
  ltxmem::TensorView<const float, 2> statistics;  // [1, 2]
  ltxmem::TensorView<T, 2> y;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t row) const {
    for (std::int64_t column = 0; column < x.extent(1); ++column) {
      y(row, column) = static_cast<T>((static_cast<float>(x(row, column)) - statistics(0, 0)) * statistics(0, 1));
    }
  }
};

/// panel(o, g * D + d) = weight(first_output + o, d * states + first_state + g): the columns that belong to a group of
/// hidden states, state after state. Item i is row i.
template <class Weight>
struct GatherColumns {
  const Weight* weight;  // from the first output
  std::int64_t row_stride;
  std::int64_t states;
  std::int64_t first_state;
  std::int64_t group;
  ltxmem::TensorView<Weight, 2> panel;

  LTXMEM_HOST_DEVICE void operator()(std::int64_t output) const {
    const std::int64_t width = panel.extent(1) / group;
    const Weight* from = weight + output * row_stride + first_state;
    Weight* to = panel.data() + output * panel.stride(0);
    for (std::int64_t d = 0; d < width; ++d) {
      for (std::int64_t g = 0; g < group; ++g) to[g * width + d] = from[d * states + g];
    }
  }
};

}  // namespace detail

/// The linear layers of the feature extractor: v1 has one for both modalities, v2 one for each.
struct FeatureWeights {
  TextProjection kind = TextProjection::v1;
  std::int64_t width = 0;             ///< of a hidden state
  std::int64_t states = 0;            ///< hidden states, the embeddings included
  std::vector<LinearWeights> layers;  ///< inputs: channel by channel, in each one state after the other

  std::int64_t outputs(std::size_t layer) const noexcept { return layers[layer].weight.rows; }
};

/// Those of a checkpoint that has a text projection, whose scope this is, and connectors.
inline FeatureWeights feature_weights(const WeightScope& scope, std::int64_t width, std::int64_t states) {
  const ModelConfig& config = scope.checkpoint().config();
  const std::int64_t inputs = width * states;
  FeatureWeights weights{config.text_projection.value(), width, states, {}};
  if (weights.kind == TextProjection::v1) {
    weights.layers.push_back(scope.linear("aggregate_embed", config.video_connector->width(), inputs));
  } else {
    weights.layers.push_back(scope.linear("video_aggregate_embed", config.video_connector->width(), inputs));
    weights.layers.push_back(scope.linear("audio_aggregate_embed", config.audio_connector->width(), inputs));
  }
  return weights;
}

/// Takes hidden states one by one and adds up their share of the features, so that the concatenation of all of them
/// (49 * 3840 wide in the released models) never exists.
///
/// Computes  features = sum over states l of N_l W_l^T + bias, W_l the columns d * states + l;
///           v1: N_l = 8 (E_l - mean) / (range + 1e-6) over the whole prompt;
///           v2: N_l = E_l / rms(E_l) per token, times sqrt(outputs / width)
/// Shapes    E_l [N, D], features [N, outputs] in fp32
/// Memory    kept from the constructor on: N * outputs floats per layer and N * group * D elements; while a group of
///           states is added: a panel of panel_outputs * group * D weights
/// Cost      reads every weight ceil(states / group) times, since the columns of a state lie far apart
/// Numerics  statistics and sums in fp32 or better; N_l is rounded to T
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class FeatureAccumulator {
 public:
  static constexpr std::int64_t states_per_group = 8;
  static constexpr std::int64_t panel_outputs = 512;

  FeatureAccumulator(const FeatureWeights& weights, std::int64_t tokens, ltxmem::Arena& arena)
      : weights_(weights),
        group_(arena.take<T, 2>("normalised states",
                                {tokens, std::min(states_per_group, weights.states) * weights.width})) {
    ltxmem::expects(tokens > 0, "text features: a prompt without tokens");
    for (std::size_t layer = 0; layer < weights.layers.size(); ++layer) {
      features_.push_back(arena.take<float, 2>("text features", {tokens, weights.outputs(layer)}));
    }
  }

  /// States come in order, 0 to states - 1.
  void add(Backend& backend, std::int64_t state, ltxmem::TensorView<const T, 2> hidden, ltxmem::Arena& arena) {
    ltxmem::expects(
        state < weights_.states && hidden.extent(0) == group_.extent(0) && hidden.extent(1) == weights_.width,
        "text features: hidden state ", state, " of ", hidden.extent(0), " x ", hidden.extent(1), ", expected ",
        weights_.states, " of ", group_.extent(0), " x ", weights_.width);
    const std::int64_t place = state % states_per_group;
    normalise(backend, hidden, group_.columns(place * weights_.width, weights_.width), arena);
    if (place + 1 < states_per_group && state + 1 < weights_.states) return;
    for (std::size_t layer = 0; layer < weights_.layers.size(); ++layer) {
      add_group(backend, layer, state - place, place + 1, arena);
    }
  }

  ltxmem::TensorView<const float, 2> video() const noexcept { return features_.front(); }
  ltxmem::TensorView<const float, 2> audio() const noexcept { return features_.back(); }

 private:
  void normalise(Backend& backend, ltxmem::TensorView<const T, 2> hidden, ltxmem::TensorView<T, 2> normalised,
                 ltxmem::Arena& arena) {
    if (weights_.kind == TextProjection::v2) {
      backend.norm(hidden, ltxmem::NormArguments<T>{}, normalised);
      return;
    }
    const auto scope = arena.scope();
    const std::int64_t tokens = hidden.extent(0);
    const std::int64_t bytes = hidden.size() * static_cast<std::int64_t>(sizeof(T));
    const auto rows = arena.take<double, 2>("row statistics", {tokens, 3});
    const auto statistics = arena.take<float, 2>("prompt statistics", {1, 2});
    backend.for_each({"row statistics", 3 * hidden.size(), bytes}, tokens, detail::RowExtremes<T>{hidden, rows});
    backend.for_each({"prompt statistics", 3 * tokens, 24 * tokens}, 1,
                     detail::PromptStatistics{rows, hidden.extent(1), statistics});
    backend.for_each({"normalise prompt", 2 * hidden.size(), 2 * bytes}, tokens,
                     detail::NormalisePrompt<T>{hidden, statistics, normalised});
  }

  void add_group(Backend& backend, std::size_t layer, std::int64_t first_state, std::int64_t count,
                 ltxmem::Arena& arena) {
    const ltxmem::WeightMatrix& weight = weights_.layers[layer].weight;
    const ltxmem::WeightVector& bias = weights_.layers[layer].bias;
    const std::int64_t inputs = count * weights_.width;
    const float strength = weights_.kind == TextProjection::v1
                               ? 1.0F
                               : std::sqrt(static_cast<float>(weight.rows) / static_cast<float>(weights_.width));
    ltxmem::for_each_tile(backend, weight.rows, panel_outputs, [&](std::int64_t begin, std::int64_t outputs) {
      const auto scope = arena.scope();
      const ltxmem::WeightMatrix panel = gather(backend, weight.row_slice(begin, outputs), first_state, count, arena);
      const ltxmem::TensorView<float, 2> sum = features_[layer].columns(begin, outputs);
      ltxmem::LinearEpilogue<float> epilogue;
      if (first_state > 0) {
        epilogue.addend = sum;
      } else if (!bias.empty()) {
        epilogue.bias = bias.slice(begin, outputs);
      }
      const ltxmem::LinearTerm<T> term{group_.columns(0, inputs), panel, strength};
      backend.linear(std::span<const ltxmem::LinearTerm<T>>(&term, 1), epilogue, sum, arena);
    });
  }

  /// The weights of a group of states side by side, in the type they are stored in.
  ltxmem::WeightMatrix gather(Backend& backend, const ltxmem::WeightMatrix& weight, std::int64_t first_state,
                              std::int64_t count, ltxmem::Arena& arena) {
    return ltxmem::with_floating_type(weight.dtype, [&](auto* type) {
      using Weight = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
      const auto panel = arena.take<Weight, 2>("feature panel", {weight.rows, count * weights_.width});
      const std::int64_t bytes = panel.size() * static_cast<std::int64_t>(sizeof(Weight));
      backend.for_each({"gather columns", 0, 2 * bytes}, weight.rows,
                       detail::GatherColumns<Weight>{reinterpret_cast<const Weight*>(weight.data), weight.row_stride,
                                                     weights_.states, first_state, count, panel});
      return ltxmem::WeightMatrix(ltxmem::TensorView<const Weight, 2>(panel), weight.scale);
    });
  }

  const FeatureWeights& weights_;
  ltxmem::TensorView<T, 2> group_;  // [N, states_per_group * D]
  std::vector<ltxmem::TensorView<float, 2>> features_;
};

}  // namespace ltx2
