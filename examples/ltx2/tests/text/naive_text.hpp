// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "model/rotary.hpp"
#include "text/gemma.hpp"

/// The text models written down as plainly as possible, in double, with a rounding applied wherever an evaluation step
/// by step in a narrow type would store a value. Without rounding this is the truth; with rounding to bf16 it says how
/// large the error of a plain bf16 evaluation is.

namespace ltx2::test {

using Row = std::vector<double>;
using Rows = std::vector<Row>;
using Rounding = double (*)(double);

inline double exact(double x) {
  return x;
}
inline double to_bf16(double x) {
  return static_cast<double>(static_cast<float>(ltxmem::bfloat16(static_cast<float>(x))));
}

inline double element(const ltxmem::WeightMatrix& weight, std::int64_t row, std::int64_t column) {
  return ltxmem::with_floating_type(weight.dtype, [&](auto* type) {
    const auto* data = reinterpret_cast<decltype(type)>(weight.data);
    return static_cast<double>(static_cast<float>(data[row * weight.row_stride + column]));
  });
}

class NaiveText {
 public:
  NaiveText(WeightScope weights, Rounding rounding) : weights_(std::move(weights)), round_(rounding) {}

 protected:
  Rows linear(const Rows& x, const std::string& name, std::int64_t outputs) const {
    const LinearWeights layer = weights_.linear(name, outputs, static_cast<std::int64_t>(x[0].size()));
    Rows y(x.size(), Row(static_cast<std::size_t>(outputs)));
    for (std::size_t n = 0; n < x.size(); ++n) {
      for (std::int64_t o = 0; o < outputs; ++o) {
        double sum = layer.bias.empty() ? 0.0 : static_cast<double>(layer.bias[o]);
        for (std::size_t i = 0; i < x[n].size(); ++i) {
          sum += x[n][i] * element(layer.weight, o, static_cast<std::int64_t>(i));
        }
        y[n][static_cast<std::size_t>(o)] = round_(sum);
      }
    }
    return y;
  }

  /// RMS norm of each group of this many channels; the weight, plus an offset, is that of one group or of the row.
  Rows norm(Rows x, std::size_t group, double eps, const ltxmem::WeightVector& weight = {}, double offset = 0) const {
    for (Row& row : x) {
      for (std::size_t begin = 0; begin < row.size(); begin += group) {
        double squares = 0;
        for (std::size_t i = begin; i < begin + group; ++i) squares += row[i] * row[i];
        const double factor = 1.0 / std::sqrt(squares / static_cast<double>(group) + eps);
        for (std::size_t i = begin; i < begin + group; ++i) {
          const auto place = static_cast<std::int64_t>(i) % std::max<std::int64_t>(weight.size, 1);
          const double w = weight.empty() ? 1.0 : offset + static_cast<double>(weight[place]);
          row[i] = round_(row[i] * factor * w);
        }
      }
    }
    return x;
  }

  /// Element r of a head turns with r + half; angle(position, head, r).
  template <class Angle>
  Rows rotate(const Rows& x, std::size_t heads, Angle&& angle) const {
    Rows y = x;
    const std::size_t head_dim = x[0].size() / heads;
    for (std::size_t n = 0; n < x.size(); ++n) {
      for (std::size_t h = 0; h < heads; ++h) {
        for (std::size_t r = 0; r < head_dim / 2; ++r) {
          const std::size_t low = h * head_dim + r;
          const std::size_t high = low + head_dim / 2;
          const double a = static_cast<double>(angle(n, h, r));
          y[n][low] = round_(x[n][low] * std::cos(a) - x[n][high] * std::sin(a));
          y[n][high] = round_(x[n][high] * std::cos(a) + x[n][low] * std::sin(a));
        }
      }
    }
    return y;
  }

  template <class Visible>
  Rows attention(const Rows& q, const Rows& k, const Rows& v, std::size_t heads, std::size_t kv_heads, double scale,
                 Visible&& visible) const {
    const std::size_t d = q[0].size() / heads;
    Rows out(q.size(), Row(q[0].size()));
    for (std::size_t n = 0; n < q.size(); ++n) {
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t kv = h / (heads / kv_heads) * d;
        double total = 0;
        Row sum(d);
        for (std::size_t m = 0; m < k.size(); ++m) {
          if (!visible(n, m)) continue;
          double logit = 0;
          for (std::size_t i = 0; i < d; ++i) logit += q[n][h * d + i] * k[m][kv + i];
          const double p = std::exp(logit * scale);
          total += p;
          for (std::size_t i = 0; i < d; ++i) sum[i] += p * v[m][kv + i];
        }
        for (std::size_t i = 0; i < d; ++i) out[n][h * d + i] = round_(sum[i] / total);
      }
    }
    return out;
  }

  template <class Fn>
  Rows map(Rows x, const Rows& y, Fn&& fn) const {
    for (std::size_t n = 0; n < x.size(); ++n) {
      for (std::size_t i = 0; i < x[n].size(); ++i) x[n][i] = round_(fn(x[n][i], y[n][i]));
    }
    return x;
  }
  static double gelu(double z) { return 0.5 * z * (1.0 + std::tanh(0.7978845608028654 * (z + 0.044715 * z * z * z))); }
  Rows sum(const Rows& x, const Rows& y) const {
    return map(x, y, [](double a, double b) { return a + b; });
  }
  Rows gelu(const Rows& x) const {
    return map(x, x, [](double a, double) { return gelu(a); });
  }

  WeightScope weights_;
  Rounding round_;
};

class NaiveGemma : NaiveText {
 public:
  NaiveGemma(const GemmaConfig& config, const WeightScope& weights, Rounding rounding)
      : NaiveText(weights, rounding), config_(config) {}

  std::vector<Rows> operator()(const std::vector<std::int32_t>& ids) const {
    const ltxmem::WeightMatrix table = weights_.matrix("embed_tokens.weight", config_.vocabulary, config_.hidden_size);
    const double scale = static_cast<double>(gemma_embedding_scale(config_.hidden_size, table.dtype));
    Rows h;
    for (const std::int32_t id : ids) {
      Row row;
      for (std::int64_t d = 0; d < config_.hidden_size; ++d) row.push_back(round_(element(table, id, d) * scale));
      h.push_back(row);
    }
    std::vector<Rows> states{h};
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
      const std::string name = "layers." + std::to_string(layer) + ".";
      const Rows a = weighted(h, name + "input_layernorm");
      h = sum(h, weighted(attend(a, name + "self_attn.", config_.full_attention[static_cast<std::size_t>(layer)]),
                          name + "post_attention_layernorm"));
      const Rows b = weighted(h, name + "pre_feedforward_layernorm");
      const Rows hidden =
          map(gelu(linear(b, name + "mlp.gate_proj", config_.intermediate_size)),
              linear(b, name + "mlp.up_proj", config_.intermediate_size), [](double x, double y) { return x * y; });
      h = sum(h, weighted(linear(hidden, name + "mlp.down_proj", config_.hidden_size),
                          name + "post_feedforward_layernorm"));
      states.push_back(h);
    }
    states.back() = weighted(h, "norm");
    return states;
  }

 private:
  Rows weighted(const Rows& x, const std::string& name) const {
    return norm(x, x[0].size(), config_.norm_eps, weights_.vector(name + ".weight", config_.hidden_size), 1.0);
  }

  Rows attend(const Rows& a, const std::string& name, bool full) const {
    const auto heads = static_cast<std::size_t>(config_.heads);
    const auto kv_heads = static_cast<std::size_t>(config_.kv_heads);
    const auto head_dim = static_cast<std::size_t>(config_.head_dim);
    const auto angle = [&](std::size_t position, std::size_t, std::size_t r) {
      const double exponent = -2.0 * static_cast<double>(r) / static_cast<double>(head_dim);
      const double frequency = full ? std::pow(config_.rope_theta, exponent) / config_.rope_factor
                                    : std::pow(config_.rope_local_theta, exponent);
      return frequency * static_cast<double>(position);
    };
    const auto project = [&](const std::string& what, std::size_t count) {
      const Rows x = linear(a, name + what + "_proj", static_cast<std::int64_t>(count) * config_.head_dim);
      const ltxmem::WeightVector weight = weights_.vector(name + what + "_norm.weight", config_.head_dim);
      return rotate(norm(x, head_dim, config_.norm_eps, weight, 1.0), count, angle);
    };
    const Rows v = linear(a, name + "v_proj", config_.kv_width());
    const auto window = static_cast<std::size_t>(config_.sliding_window);
    const Rows o =
        attention(project("q", heads), project("k", kv_heads), v, heads, kv_heads, 1.0 / std::sqrt(config_.query_scale),
                  [&](std::size_t query, std::size_t key) { return key <= query && (full || query - key < window); });
    return linear(o, name + "o_proj", config_.hidden_size);
  }

  GemmaConfig config_;
};

class NaiveConnector : NaiveText {
 public:
  NaiveConnector(const ConnectorConfig& config, const WeightScope& weights, Rounding rounding)
      : NaiveText(weights, rounding), config_(config) {}

  Rows operator()(const Rows& features, std::int64_t length) const {
    const auto width = static_cast<std::size_t>(config_.width());
    const ltxmem::WeightMatrix registers = weights_.matrix("learnable_registers", config_.registers, config_.width());
    Rows h = features;
    for (Row& row : h) {
      for (double& x : row) x = round_(x);
    }
    while (static_cast<std::int64_t>(h.size()) < length) {
      const std::int64_t row = static_cast<std::int64_t>(h.size()) % config_.registers;
      h.emplace_back();
      for (std::int64_t d = 0; d < config_.width(); ++d) h.back().push_back(round_(element(registers, row, d)));
    }
    for (std::int64_t block = 0; block < config_.layers; ++block) {
      const std::string name = "transformer_1d_blocks." + std::to_string(block) + ".";
      h = sum(h, attend(norm(h, width, config_.norm_eps), name + "attn1."));
      const Rows b = norm(h, width, config_.norm_eps);
      h = sum(h,
              linear(gelu(linear(b, name + "ff.net.0.proj", 4 * config_.width())), name + "ff.net.2", config_.width()));
    }
    return norm(h, width, config_.norm_eps);
  }

 private:
  Rows attend(const Rows& a, const std::string& name) const {
    const auto heads = static_cast<std::size_t>(config_.heads);
    const auto half = static_cast<std::size_t>(config_.head_dim) / 2;
    const std::vector<float> frequencies =
        rotary_frequencies(config_.width() / 2, config_.rope_theta, config_.rope_double);
    const auto angle = [&](std::size_t position, std::size_t head, std::size_t r) {
      const float u = 2.0F * (static_cast<float>(position) / static_cast<float>(config_.max_position)) - 1.0F;
      return frequencies[head * half + r] * u;
    };
    const auto project = [&](const std::string& what) {
      const Rows x = linear(a, name + "to_" + what, config_.width());
      const ltxmem::WeightVector weight = weights_.vector(name + what + "_norm.weight", config_.width());
      return rotate(norm(x, x[0].size(), config_.norm_eps, weight), heads, angle);
    };
    Rows o = attention(project("q"), project("k"), linear(a, name + "to_v", config_.width()), heads, heads,
                       1.0 / std::sqrt(static_cast<double>(config_.head_dim)),
                       [](std::size_t, std::size_t) { return true; });
    if (config_.gated_attention) {
      const Rows logits = linear(a, name + "to_gate_logits", config_.heads);
      for (std::size_t n = 0; n < o.size(); ++n) {
        for (std::size_t i = 0; i < o[n].size(); ++i) {
          o[n][i] = round_(o[n][i] * round_(2.0 / (1.0 + std::exp(-logits[n][i / (2 * half)]))));
        }
      }
    }
    return linear(o, name + "to_out.0", config_.width());
  }

  ConnectorConfig config_;
};

}  // namespace ltx2::test
