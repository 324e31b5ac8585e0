// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "transformer/inputs.hpp"

/// The transformer as its specification reads, one operation after the other on whole matrices: the yardstick for the
/// program that does the same in tiles. In double precision it is the truth; with rounding to bf16 after every
/// operation it shows the error that a plain bf16 evaluation has. Angles and the sinusoid are fp32 in both.
/// Source  docs/ltx2/transformer.md 5-11

namespace ltx2::test {

struct Matrix {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<double> values;

  Matrix() = default;
  Matrix(std::int64_t row_count, std::int64_t column_count)
      : rows(row_count), columns(column_count), values(static_cast<std::size_t>(row_count * column_count)) {}

  double& operator()(std::int64_t row, std::int64_t column) {
    return values[static_cast<std::size_t>(row * columns + column)];
  }
  double operator()(std::int64_t row, std::int64_t column) const {
    return values[static_cast<std::size_t>(row * columns + column)];
  }
};

class PlainTransformer {
 public:
  PlainTransformer(const Checkpoint& checkpoint, const TransformerConfig& config, bool round_to_bf16)
      : weights_(checkpoint.prefixed("model.diffusion_model.")), config_(config), bf16_(round_to_bf16) {}

  struct Velocities {
    Matrix video;
    Matrix audio;
  };

  Velocities operator()(const TransformerInput& input) const {
    Stream video;
    Stream audio;
    if (input.video) video = begin(*input.video, false, input.audio ? input.audio->sigma : 0.0F);
    if (input.audio) audio = begin(*input.audio, true, input.video ? input.video->sigma : 0.0F);
    for (std::int64_t i = 0; i < config_.layers; ++i) {
      const auto skips = input.skips.empty() ? BlockSkips{} : input.skips[static_cast<std::size_t>(i)];
      block(weights_.scope("transformer_blocks." + std::to_string(i)), video, audio, skips);
    }
    Velocities result;
    if (input.video) result.video = finish(video);
    if (input.audio) result.audio = finish(audio);
    return result;
  }

 private:
  struct Stream {
    bool audio = false;
    StreamInput input;
    Matrix x;
    Matrix modulation;  // [distinct, vectors * D], without a block's table; so are cross, gate and prompt
    Matrix embedding;   // [distinct, D]
    Matrix cross;
    Matrix gate;
    Matrix prompt;
    Matrix context;

    bool present() const { return x.rows > 0; }
    bool updated() const { return present() && input.enabled; }
    std::string prefix() const { return audio ? "audio_" : ""; }
    std::int64_t distinct(std::int64_t token) const {
      return input.timestep_index.empty() ? 0 : input.timestep_index(token);
    }
  };

  double rounded(double value) const {
    return bf16_ ? static_cast<double>(static_cast<float>(ltxmem::bfloat16(static_cast<float>(value)))) : value;
  }

  std::int64_t width(bool audio) const { return audio ? config_.audio_width() : config_.width(); }

  static Matrix stored(const ltxmem::WeightMatrix& weight) {
    Matrix matrix(weight.rows, weight.columns);
    const double scale = weight.scale != nullptr ? static_cast<double>(*weight.scale) : 1.0;
    ltxmem::with_floating_type(weight.dtype, [&](auto* type) {
      const auto* data = reinterpret_cast<decltype(type)>(weight.data);
      for (std::int64_t row = 0; row < weight.rows; ++row) {
        for (std::int64_t column = 0; column < weight.columns; ++column) {
          matrix(row, column) = scale * static_cast<double>(static_cast<float>(data[row * weight.row_stride + column]));
        }
      }
    });
    return matrix;
  }

  Matrix of_host(ltxmem::TensorView<const float, 2> view) const {
    Matrix matrix(view.extent(0), view.extent(1));
    for (std::int64_t row = 0; row < matrix.rows; ++row) {
      for (std::int64_t column = 0; column < matrix.columns; ++column) {
        matrix(row, column) = rounded(static_cast<double>(view(row, column)));
      }
    }
    return matrix;
  }

  Matrix linear(const WeightScope& weights, const std::string& module, const Matrix& x, std::int64_t outputs) const {
    const LinearWeights layer = weights.linear(module, outputs, x.columns);
    const Matrix weight = stored(layer.weight);
    Matrix y(x.rows, outputs);
    for (std::int64_t row = 0; row < x.rows; ++row) {
      for (std::int64_t output = 0; output < outputs; ++output) {
        double sum = layer.bias.empty() ? 0.0 : static_cast<double>(layer.bias[output]);
        for (std::int64_t i = 0; i < x.columns; ++i) sum += x(row, i) * weight(output, i);
        y(row, output) = rounded(sum);
      }
    }
    return y;
  }

  template <class Fn>
  Matrix mapped(Matrix x, Fn&& fn) const {
    for (double& value : x.values) value = rounded(fn(value));
    return x;
  }

  static double silu(double z) { return z / (1.0 + std::exp(-z)); }
  static double gelu(double z) {
    return 0.5 * z * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (z + 0.044715 * z * z * z)));
  }

  // -------------------------------------------------------------------------------------------------- conditioning

  /// The modulation of a timestep network for each tau; its embedding too, where wanted.
  Matrix modulate(const std::string& network, const std::vector<float>& tau, std::int64_t width, std::int64_t vectors,
                  Matrix* embedding = nullptr) const {
    Matrix e(static_cast<std::int64_t>(tau.size()), 256);
    for (std::int64_t row = 0; row < e.rows; ++row) {
      for (std::int64_t j = 0; j < 128; ++j) {
        const float frequency = std::exp(-9.210340371976184F * static_cast<float>(j) / 128.0F);
        const float angle = tau[static_cast<std::size_t>(row)] * frequency;
        e(row, j) = rounded(static_cast<double>(std::cos(angle)));
        e(row, 128 + j) = rounded(static_cast<double>(std::sin(angle)));
      }
    }
    const WeightScope weights = weights_.scope(network);
    const Matrix hidden = mapped(linear(weights, "emb.timestep_embedder.linear_1", e, width), silu);
    const Matrix emb = linear(weights, "emb.timestep_embedder.linear_2", hidden, width);
    if (embedding != nullptr) *embedding = emb;
    return linear(weights, "linear", mapped(emb, silu), vectors * width);
  }

  Stream begin(const StreamInput& input, bool audio, float other_sigma) const {
    Stream stream;
    stream.audio = audio;
    stream.input = input;
    const std::int64_t d = width(audio);
    const std::string prefix = stream.prefix();
    stream.x = linear(weights_, prefix + "patchify_proj", of_host(input.latent), d);
    std::vector<float> tau = input.timesteps;
    for (float& value : tau) value *= static_cast<float>(config_.timestep_scale);
    stream.modulation = modulate(prefix + "adaln_single", tau, d, config_.adaln_rows(), &stream.embedding);
    stream.cross =
        modulate(audio ? "av_ca_audio_scale_shift_adaln_single" : "av_ca_video_scale_shift_adaln_single", tau, d, 4);
    stream.gate = modulate(audio ? "av_ca_v2a_gate_adaln_single" : "av_ca_a2v_gate_adaln_single",
                           {static_cast<float>(config_.av_ca_timestep_scale) * other_sigma}, d, 1);
    if (config_.text_modulation) {
      stream.prompt =
          modulate(prefix + "prompt_adaln_single", {static_cast<float>(config_.timestep_scale) * input.sigma}, d, 2);
    }
    stream.context = of_host(input.context);
    if (config_.caption_projection) {
      const Matrix hidden = mapped(linear(weights_, prefix + "caption_projection.linear_1", stream.context, d), gelu);
      stream.context = linear(weights_, prefix + "caption_projection.linear_2", hidden, d);
    }
    return stream;
  }

  // ------------------------------------------------------------------------------------------------------- the block

  /// Vector i of a table plus the modulation of a row.
  double ada(const Matrix& table, const Matrix& modulation, std::int64_t row, std::int64_t i, std::int64_t column,
             std::int64_t first_row = 0) const {
    return rounded(table(first_row + i, column) + modulation(row, i * table.columns + column));
  }

  Matrix rms(const Matrix& x) const {
    Matrix y(x.rows, x.columns);
    for (std::int64_t row = 0; row < x.rows; ++row) {
      double sum = 0;
      for (std::int64_t i = 0; i < x.columns; ++i) sum += x(row, i) * x(row, i);
      const double factor = 1.0 / std::sqrt(sum / static_cast<double>(x.columns) + config_.norm_eps);
      for (std::int64_t i = 0; i < x.columns; ++i) y(row, i) = rounded(x(row, i) * factor);
    }
    return y;
  }

  /// n * (1 + scale) + shift with vectors of a table, modulated per token.
  Matrix modulated(const Stream& stream, Matrix n, const Matrix& table, const Matrix& modulation, std::int64_t scale,
                   std::int64_t shift) const {
    for (std::int64_t token = 0; token < n.rows; ++token) {
      const std::int64_t row = stream.distinct(token);
      for (std::int64_t i = 0; i < n.columns; ++i) {
        const double factor = rounded(1.0 + ada(table, modulation, row, scale, i));
        n(token, i) = rounded(rounded(n(token, i) * factor) + ada(table, modulation, row, shift, i));
      }
    }
    return n;
  }

  Matrix head_norm(Matrix x, const ltxmem::WeightVector& weight) const {
    for (std::int64_t row = 0; row < x.rows; ++row) {
      double sum = 0;
      for (std::int64_t i = 0; i < x.columns; ++i) sum += x(row, i) * x(row, i);
      const double factor = 1.0 / std::sqrt(sum / static_cast<double>(x.columns) + config_.norm_eps);
      for (std::int64_t i = 0; i < x.columns; ++i) {
        x(row, i) = rounded(x(row, i) * factor * static_cast<double>(weight[i]));
      }
    }
    return x;
  }

  /// Turns every pair of a matrix of queries or keys by the angles of its token's positions on the first axes.
  void rotate(Matrix& x, const TokenPositions& positions, const std::vector<double>& max_positions) const {
    const auto axes = static_cast<std::int64_t>(max_positions.size());
    const std::int64_t frequencies = x.columns / (2 * axes);
    const std::int64_t identity = x.columns / 2 - frequencies * axes;
    const std::int64_t half = x.columns / config_.heads / 2;
    for (std::int64_t token = 0; token < x.rows; ++token) {
      for (std::int64_t slot = identity; slot < x.columns / 2; ++slot) {
        const std::int64_t axis = (slot - identity) % axes;
        auto row = static_cast<std::size_t>(positions.rows[static_cast<std::size_t>(token * positions.axes() + axis)]);
        for (std::int64_t before = 0; before < axis; ++before) {
          row -= positions.midpoints[static_cast<std::size_t>(before)].size();
        }
        const float midpoint = positions.midpoints[static_cast<std::size_t>(axis)][row];
        const float u = 2.0F * (midpoint / static_cast<float>(max_positions[static_cast<std::size_t>(axis)])) - 1.0F;
        const double exponent = static_cast<double>((slot - identity) / axes) /
                                static_cast<double>(std::max<std::int64_t>(frequencies - 1, 1));
        const float angle = static_cast<float>(M_PI / 2 * std::pow(config_.rope_theta, exponent)) * u;
        const auto cosine = static_cast<double>(std::cos(angle));
        const auto sine = static_cast<double>(std::sin(angle));
        const std::int64_t head = slot / half * 2 * half;
        const bool split = config_.rope == RopeType::split;
        double& a = x(token, split ? head + slot % half : 2 * slot);
        double& b = x(token, split ? head + slot % half + half : 2 * slot + 1);
        const double turned = rounded(a * cosine - b * sine);
        b = rounded(b * cosine + a * sine);
        a = turned;
      }
    }
  }

  /// Positions and their scales for an attention; null means no rotation.
  struct Rope {
    const TokenPositions* queries = nullptr;
    const TokenPositions* keys = nullptr;
    std::vector<double> max_positions;
  };

  Matrix attend(const WeightScope& weights, const Matrix& input, const Matrix& context, std::int64_t inner,
                const Rope& rope, ltxmem::TensorView<const float, 2> mask, bool pass_values) const {
    Matrix attended = linear(weights, "to_v", context, inner);
    if (!pass_values) {
      Matrix q = head_norm(linear(weights, "to_q", input, inner), weights.vector("q_norm.weight", inner));
      Matrix k = head_norm(linear(weights, "to_k", context, inner), weights.vector("k_norm.weight", inner));
      if (rope.queries != nullptr) rotate(q, *rope.queries, rope.max_positions);
      if (rope.keys != nullptr) rotate(k, *rope.keys, rope.max_positions);
      attended = softmax(q, k, attended, mask);
    }
    if (config_.gated_attention) {
      const Matrix gate = mapped(linear(weights, "to_gate_logits", input, config_.heads),
                                 [](double z) { return 2.0 / (1.0 + std::exp(-z)); });
      for (std::int64_t row = 0; row < attended.rows; ++row) {
        for (std::int64_t i = 0; i < inner; ++i) {
          attended(row, i) = rounded(attended(row, i) * gate(row, i / (inner / config_.heads)));
        }
      }
    }
    return linear(weights, "to_out.0", attended, input.columns);
  }

  Matrix softmax(const Matrix& q, const Matrix& k, const Matrix& v, ltxmem::TensorView<const float, 2> mask) const {
    const std::int64_t dim = q.columns / config_.heads;
    Matrix out(q.rows, q.columns);
    std::vector<double> weight(static_cast<std::size_t>(k.rows));
    for (std::int64_t head = 0; head < config_.heads; ++head) {
      for (std::int64_t n = 0; n < q.rows; ++n) {
        double largest = -std::numeric_limits<double>::infinity();
        for (std::int64_t m = 0; m < k.rows; ++m) {
          double logit = 0;
          for (std::int64_t i = head * dim; i < (head + 1) * dim; ++i) logit += q(n, i) * k(m, i);
          logit /= std::sqrt(static_cast<double>(dim));
          if (!mask.empty()) logit += mask(n, m) > 0 ? std::log(static_cast<double>(mask(n, m))) : -1e300;
          weight[static_cast<std::size_t>(m)] = logit;
          largest = std::max(largest, logit);
        }
        double sum = 0;
        for (double& value : weight) sum += value = std::exp(value - largest);
        for (std::int64_t m = 0; m < k.rows; ++m) {
          const double share = weight[static_cast<std::size_t>(m)] / sum;
          for (std::int64_t i = head * dim; i < (head + 1) * dim; ++i) out(n, i) += share * v(m, i);
        }
      }
    }
    return mapped(std::move(out), [](double value) { return value; });
  }

  /// x += gate * update, the gate being vector i of a table; i < 0: no gate. per_token false: row 0 for every token.
  void add(const Stream& stream, Matrix& x, const Matrix& update, const Matrix& table, const Matrix& modulation,
           std::int64_t i, bool per_token = true, std::int64_t first_row = 0) const {
    for (std::int64_t token = 0; token < x.rows; ++token) {
      const std::int64_t row = per_token ? stream.distinct(token) : 0;
      for (std::int64_t column = 0; column < x.columns; ++column) {
        const double gate = i < 0 ? 1.0 : ada(table, modulation, row, i, column, first_row);
        x(token, column) = rounded(x(token, column) + rounded(gate * update(token, column)));
      }
    }
  }

  std::vector<double> own_scales(bool audio) const {
    if (audio) return {config_.audio_max_position};
    return {config_.max_positions.begin(), config_.max_positions.end()};
  }

  void attention_part(const WeightScope& block, Stream& stream, bool skip_self) const {
    const std::string prefix = stream.prefix();
    const std::int64_t d = width(stream.audio);
    const Matrix table = stored(block.matrix(prefix + "scale_shift_table", config_.adaln_rows(), d));
    const Matrix n = modulated(stream, rms(stream.x), table, stream.modulation, 1, 0);
    const Rope rope{stream.input.positions, stream.input.positions, own_scales(stream.audio)};
    add(stream, stream.x, attend(block.scope(prefix + "attn1"), n, n, d, rope, stream.input.attention_mask, skip_self),
        table, stream.modulation, 2);
    const WeightScope text = block.scope(prefix + "attn2");
    if (!config_.text_modulation) {
      add(stream, stream.x, attend(text, rms(stream.x), stream.context, d, {}, {}, false), table, stream.modulation,
          -1);
      return;
    }
    const Matrix prompt_table = stored(block.matrix(prefix + "prompt_scale_shift_table", 2, d));
    Stream shared;  // every row of the context uses row 0 of the modulation
    const Matrix context = modulated(shared, stream.context, prompt_table, stream.prompt, 1, 0);
    const Matrix input = modulated(stream, rms(stream.x), table, stream.modulation, 7, 6);
    add(stream, stream.x, attend(text, input, context, d, {}, {}, false), table, stream.modulation, 8);
  }

  void feed_forward(const WeightScope& block, Stream& stream) const {
    const std::string prefix = stream.prefix();
    const std::int64_t d = width(stream.audio);
    const Matrix table = stored(block.matrix(prefix + "scale_shift_table", config_.adaln_rows(), d));
    const Matrix n = modulated(stream, rms(stream.x), table, stream.modulation, 4, 3);
    const Matrix hidden = mapped(linear(block, prefix + "ff.net.0.proj", n, 4 * d), gelu);
    add(stream, stream.x, linear(block, prefix + "ff.net.2", hidden, d), table, stream.modulation, 5);
  }

  void block(const WeightScope& block, Stream& video, Stream& audio, const BlockSkips& skips) const {
    if (video.updated()) attention_part(block, video, skips.video_self);
    if (audio.updated()) attention_part(block, audio, skips.audio_self);
    if (video.present() && audio.present()) {
      const Matrix video_table = stored(block.matrix("scale_shift_table_a2v_ca_video", 5, width(false)));
      const Matrix audio_table = stored(block.matrix("scale_shift_table_a2v_ca_audio", 5, width(true)));
      const std::vector<double> time{std::max(config_.max_positions[0], config_.audio_max_position)};
      const std::int64_t inner = width(true);
      const Matrix x0 = rms(video.x);
      const Matrix y0 = rms(audio.x);
      if (video.updated() && !skips.audio_to_video) {
        const Matrix input = modulated(video, x0, video_table, video.cross, 0, 1);
        const Matrix context = modulated(audio, y0, audio_table, audio.cross, 0, 1);
        add(video, video.x,
            attend(block.scope("audio_to_video_attn"), input, context, inner,
                   {video.input.positions, audio.input.positions, time}, {}, false),
            video_table, video.gate, 0, false, 4);
      }
      if (audio.updated() && !skips.video_to_audio) {
        const Matrix input = modulated(audio, y0, audio_table, audio.cross, 2, 3);
        const Matrix context = modulated(video, x0, video_table, video.cross, 2, 3);
        add(audio, audio.x,
            attend(block.scope("video_to_audio_attn"), input, context, inner,
                   {audio.input.positions, video.input.positions, time}, {}, false),
            audio_table, audio.gate, 0, false, 4);
      }
    }
    if (video.updated()) feed_forward(block, video);
    if (audio.updated()) feed_forward(block, audio);
  }

  Matrix finish(const Stream& stream) const {
    const std::string prefix = stream.prefix();
    const std::int64_t d = width(stream.audio);
    const Matrix table = stored(weights_.matrix(prefix + "scale_shift_table", 2, d));
    Matrix n = stream.x;
    for (std::int64_t token = 0; token < n.rows; ++token) {
      double mean = 0;
      double variance = 0;
      for (std::int64_t i = 0; i < d; ++i) mean += n(token, i) / static_cast<double>(d);
      for (std::int64_t i = 0; i < d; ++i) variance += std::pow(n(token, i) - mean, 2) / static_cast<double>(d);
      for (std::int64_t i = 0; i < d; ++i) {
        const double normed = rounded((n(token, i) - mean) / std::sqrt(variance + config_.norm_eps));
        const double emb = stream.embedding(stream.distinct(token), i);
        const double factor = rounded(1.0 + rounded(table(1, i) + emb));
        n(token, i) = rounded(rounded(normed * factor) + rounded(table(0, i) + emb));
      }
    }
    return linear(weights_, prefix + "proj_out", n, stream.audio ? config_.audio_out_channels : config_.out_channels);
  }

  WeightScope weights_;
  TransformerConfig config_;
  bool bf16_;
};

}  // namespace ltx2::test
