// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "audio/filters.hpp"
#include "checkpoint/checkpoint.hpp"
#include "config/audio_config.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/convolution.hpp"

namespace ltx2 {

/// Runs a functor once per row, at the cost of reading and writing that many floats.
template <class Backend, class Fn>
void for_each_row(Backend& backend, const char* name, std::int64_t rows, std::int64_t floats, Fn fn) {
  backend.for_each({.name = name, .flops = floats, .bytes = floats * std::int64_t{sizeof(float)}}, rows, fn);
}

/// A convolution along time of a signal [samples, channels], with the length unchanged.
template <class Backend>
class SignalConvolution {
 public:
  SignalConvolution(const WeightScope& weights, const std::string& name, std::int64_t outputs, std::int64_t inputs,
                    std::int64_t kernel, std::int64_t dilation = 1)
      : convolution_(weights.convolution(name, outputs, inputs, {kernel}), geometry(kernel, dilation)) {}

  void operator()(Backend& backend, ltxmem::TensorView<const float, 2> x, ltxmem::TensorView<float, 2> y,
                  ltxmem::Arena& arena) const {
    convolution_(backend, volume(x), volume(y), arena);
  }
  void add(Backend& backend, ltxmem::TensorView<const float, 2> x, ltxmem::TensorView<float, 2> y,
           ltxmem::Arena& arena) const {
    convolution_.add(backend, volume(x), volume(y), arena);
  }
  ReceptiveField field(const ReceptiveField& outputs) const { return convolution_.field(outputs, 2); }

 private:
  static ltxmem::ConvolutionGeometry geometry(std::int64_t kernel, std::int64_t dilation) {
    const std::int64_t side = dilation * (kernel - 1) / 2;
    return {
        .kernel = {1, 1, kernel}, .dilation = {1, 1, dilation}, .pad_before = {0, 0, side}, .pad_after = {0, 0, side}};
  }
  template <class T>
  static ltxmem::TensorView<T, 4> volume(ltxmem::TensorView<T, 2> x) {
    return x.reshape(ltxmem::Extents<4>{1, 1, x.extent(0), x.extent(1)});
  }

  Convolution<float, Backend> convolution_;
};

/// The activation of a generator: leaky ReLU (2.0), or the anti-aliased snake of the scope of that name (2.3).
class GeneratorActivation {
 public:
  static constexpr float slope = 0.1F;

  GeneratorActivation() = default;
  GeneratorActivation(const WeightScope& weights, std::int64_t channels)
      : snake_(SnakeWeights{weights.vector("act.alpha", channels), weights.vector("act.beta", channels),
                            flattened(weights.tensor("upsample.filter", {1, 1, AntiAliasedSnake::taps})),
                            flattened(weights.tensor("downsample.lowpass.filter", {1, 1, AntiAliasedSnake::taps}))}) {}

  template <class Backend>
  void operator()(Backend& backend, ltxmem::TensorView<const float, 2> x, ltxmem::TensorView<float, 2> y) const {
    if (!snake_) {
      for_each_row(backend, "leaky ReLU", x.extent(0), 2 * x.size(), LeakyRelu{x, y, slope});
      return;
    }
    const AntiAliasedSnake snake{x, y, *snake_};
    backend.for_each({.name = "snake", .flops = 80 * x.size(), .bytes = 2 * x.size() * std::int64_t{sizeof(float)}},
                     snake.calls(), snake);
  }
  ReceptiveField field(const ReceptiveField& outputs) const {
    return outputs.through_filter(snake_ ? AntiAliasedSnake::reach : 0);
  }

 private:
  std::optional<SnakeWeights> snake_;
};

/// A residual block of a generator, in place: for every dilation, x += conv2(act2(conv1(act1(x)))), conv1 dilated.
///
/// Memory    two more signals like x, handed in
template <class Backend>
class GeneratorBlock {
 public:
  GeneratorBlock(const WeightScope& weights, std::int64_t channels, std::int64_t kernel,
                 const std::vector<std::int64_t>& dilations, bool anti_aliased) {
    for (std::size_t i = 0; i < dilations.size(); ++i) {
      const std::string n = std::to_string(i);
      Layer layer{{},
                  {weights, "convs1." + n, channels, channels, kernel, dilations[i]},
                  {},
                  {weights, "convs2." + n, channels, channels, kernel}};
      if (anti_aliased) {
        layer.first_activation = GeneratorActivation(weights.scope("acts1." + n), channels);
        layer.second_activation = GeneratorActivation(weights.scope("acts2." + n), channels);
      }
      layers_.push_back(layer);
    }
  }

  void operator()(Backend& backend, ltxmem::TensorView<float, 2> x, ltxmem::TensorView<float, 2> active,
                  ltxmem::TensorView<float, 2> hidden, ltxmem::Arena& arena) const {
    for (const Layer& layer : layers_) {
      layer.first_activation(backend, x, active);
      layer.first(backend, active, hidden, arena);
      layer.second_activation(backend, hidden, active);
      layer.second.add(backend, active, x, arena);
    }
  }
  ReceptiveField field(ReceptiveField field) const {
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
      field = layer->second_activation.field(layer->second.field(field));
      field = layer->first_activation.field(layer->first.field(field));
    }
    return field;
  }

 private:
  struct Layer {
    GeneratorActivation first_activation;
    SignalConvolution<Backend> first;
    GeneratorActivation second_activation;
    SignalConvolution<Backend> second;
  };
  std::vector<Layer> layers_;
};

/// Waveform generator: HiFi-GAN (2.0) or BigVGAN with anti-aliased activations (2.3). fp32 throughout.
///
/// Computes  conv_pre; for every rate: (2.0: leaky ReLU,) transposed convolution, mean of the residual blocks;
///           activation; conv_post
/// Shapes    mel [frames, 128], samples [frames * factor, 2]; not limited to [-1, 1] yet
/// Memory    five signals of the widest stage and its input, plus the convolution's workspace
/// Source    docs/ltx2/vae.md 7; Kong et al., "HiFi-GAN", 2020; Lee et al., "BigVGAN", 2023
template <ltxmem::Backend<float> Backend>
class Generator {
 public:
  static constexpr std::int64_t mel_channels = 128;
  static constexpr std::int64_t wave_channels = 2;

  Generator(const GeneratorConfig& config, const WeightScope& weights)
      : config_(config),
        pre_(weights, "conv_pre", config.initial_channels, mel_channels, 7),
        post_(weights, "conv_post", wave_channels, config.final_channels(), 7) {
    std::int64_t channels = config.initial_channels;
    for (std::size_t i = 0; i < config.rates.size(); ++i, channels /= 2) {
      const std::string up = "ups." + std::to_string(i);
      const std::int64_t kernel = config.kernels[i];
      const std::int64_t rate = config.rates[i];
      Stage stage;
      stage.up = {.weight = weights.tensor(up + ".weight", {channels, channels / 2, kernel}),
                  .bias = weights.vector(up + ".bias", channels / 2),
                  .kernel = kernel,
                  .stride = rate,
                  .padding = (kernel - rate) / 2};
      const std::size_t blocks = config.residual_kernels.size();
      for (std::size_t j = 0; j < blocks; ++j) {
        stage.blocks.push_back({weights.scope("resblocks." + std::to_string(i * blocks + j)), channels / 2,
                                config.residual_kernels[j], config.dilations[j], config.anti_aliased});
      }
      stages_.push_back(std::move(stage));
    }
    if (config.anti_aliased) last_activation_ = GeneratorActivation(weights.scope("act_post"), channels);
  }

  std::int64_t samples(std::int64_t frames) const noexcept { return frames * config_.factor(); }

  /// In mel frames, from that of the samples.
  ReceptiveField field(const ReceptiveField& samples) const {
    ReceptiveField field = last_activation_.field(post_.field(samples));
    for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) {
      ReceptiveField raised = field;
      for (const GeneratorBlock<Backend>& block : stage->blocks) raised = either(raised, block.field(field));
      field = raised.through(stage->up);
    }
    return pre_.field(field);
  }

  void operator()(Backend& backend, ltxmem::TensorView<const float, 2> mel, ltxmem::TensorView<float, 2> wave,
                  ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto x = arena.take<float>("generator signal", signal_extents(stages_.size(), mel.extent(0)));
    run(backend, mel, stages_.size(), x, arena);
    const auto active = arena.take<float>("generator signal, activated", x.extents());
    if (config_.anti_aliased) {
      last_activation_(backend, x, active);
    } else {
      // The reference leaves this slope at its framework's default.
      for_each_row(backend, "leaky ReLU", x.extent(0), 2 * x.size(), LeakyRelu{x, active, 0.01F});
    }
    post_(backend, active, wave, arena);
  }

 private:
  struct Stage {
    ltxmem::TransposedConvolutionArguments up;
    std::vector<GeneratorBlock<Backend>> blocks;
  };

  /// Extents of the signal after the first count stages.
  ltxmem::Extents<2> signal_extents(std::size_t count, std::int64_t frames) const {
    std::int64_t samples = frames;
    for (std::size_t i = 0; i < count; ++i) samples *= config_.rates[i];
    return {samples, config_.initial_channels >> count};
  }

  /// y = the signal after the first count stages. A stage takes its input inside a scope, after its result, so that the
  /// arena frees it with the stage.
  void run(Backend& backend, ltxmem::TensorView<const float, 2> mel, std::size_t count, ltxmem::TensorView<float, 2> y,
           ltxmem::Arena& arena) const {
    if (count == 0) {
      pre_(backend, mel, y, arena);
      return;
    }
    const auto scope = arena.scope();
    const auto raised = arena.take<float>("generator stage, raised", y.extents());
    {
      const auto input_scope = arena.scope();
      const auto x = arena.take<float>("generator stage, input", signal_extents(count - 1, mel.extent(0)));
      run(backend, mel, count - 1, x, arena);
      if (!config_.anti_aliased) {
        for_each_row(backend, "leaky ReLU", x.extent(0), 2 * x.size(), LeakyRelu{x, x, GeneratorActivation::slope});
      }
      backend.convolve_transposed(ltxmem::TensorView<const float, 2>(x), stages_[count - 1].up, raised, arena);
    }
    const ltxmem::Step step(backend, "generator stage", static_cast<std::int64_t>(count - 1));
    run_blocks(backend, stages_[count - 1], raised, y, arena);
  }

  /// y = mean over the blocks of block(x)
  void run_blocks(Backend& backend, const Stage& stage, ltxmem::TensorView<const float, 2> x,
                  ltxmem::TensorView<float, 2> y, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto branch = arena.take<float>("generator block", x.extents());
    const auto active = arena.take<float>("generator block, activated", x.extents());
    const auto hidden = arena.take<float>("generator block, hidden", x.extents());
    for (std::size_t j = 0; j < stage.blocks.size(); ++j) {
      backend.copy(x, branch);
      stage.blocks[j](backend, branch, active, hidden, arena);
      const bool last = j + 1 == stage.blocks.size();
      const float divisor = last ? static_cast<float>(stage.blocks.size()) : 1.0F;
      for_each_row(backend, "sum of blocks", x.extent(0), 3 * x.size(), Accumulate{branch, y, j == 0, divisor});
    }
  }

  GeneratorConfig config_;
  SignalConvolution<Backend> pre_;
  std::vector<Stage> stages_;
  GeneratorActivation last_activation_;
  SignalConvolution<Backend> post_;
};

}  // namespace ltx2
