// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "config/audio_config.hpp"

#include <string>

namespace ltx2 {

namespace {

constexpr std::int64_t max_channels = 1 << 16;
constexpr std::int64_t max_rate = 1 << 20;
constexpr std::int64_t max_fft = 1 << 16;

/// The channels of a vocoder's input: two stereo channels of 64 mel bins.
constexpr std::int64_t mel_bins = 64;

GeneratorConfig parse_generator(const Fields& fields) {
  GeneratorConfig config;
  fields.require("stereo", true);
  const std::string block = fields.text("resblock", "1");
  if (block != "1" && block != "AMP1") fields.fail("resblock", "\"" + block + "\"", "\"1\" or \"AMP1\"");
  config.anti_aliased = block == "AMP1";
  if (config.anti_aliased) fields.require("activation", "snakebeta");
  config.final_bias = fields.boolean("use_bias_at_final", true);
  config.final_tanh = fields.boolean("use_tanh_at_final", true);
  config.initial_channels = fields.integer("upsample_initial_channel", 2, max_channels, config.initial_channels);
  config.rates = fields.integers("upsample_rates", 1, 64, config.rates);
  config.kernels = fields.integers("upsample_kernel_sizes", 1, 256, config.kernels);
  config.residual_kernels = fields.integers("resblock_kernel_sizes", 1, 255, config.residual_kernels);
  if (config.rates.size() != config.kernels.size()) {
    fields.fail("upsample_kernel_sizes", std::to_string(config.kernels.size()) + " entries",
                std::to_string(config.rates.size()) + " as in upsample_rates");
  }
  for (std::size_t i = 0; i < config.rates.size(); ++i) {
    if (config.kernels[i] < config.rates[i] || (config.kernels[i] - config.rates[i]) % 2 != 0) {
      fields.fail("upsample_kernel_sizes", std::to_string(config.kernels[i]),
                  "the rate " + std::to_string(config.rates[i]) + " plus an even number");
    }
  }
  for (const std::int64_t kernel : config.residual_kernels) {
    if (kernel % 2 == 0) fields.fail("resblock_kernel_sizes", std::to_string(kernel), "an odd number");
  }
  if (config.rates.size() > 16 || config.initial_channels % (std::int64_t{1} << config.rates.size()) != 0) {
    fields.fail("upsample_initial_channel", std::to_string(config.initial_channels),
                "a number that can be halved " + std::to_string(config.rates.size()) + " times");
  }
  if (fields.has("resblock_dilation_sizes")) {
    const Json& lists = fields.at("resblock_dilation_sizes");
    config.dilations.clear();
    if (!lists.is_array()) fields.fail("resblock_dilation_sizes", "no list", "a list of lists");
    for (const Json& list : lists) {
      const Json one = Json::object({{"resblock_dilation_sizes", list}});
      config.dilations.push_back(Fields(one, fields.name()).integers("resblock_dilation_sizes", 1, 256, {1}));
    }
  }
  if (config.dilations.size() != config.residual_kernels.size()) {
    fields.fail("resblock_dilation_sizes", std::to_string(config.dilations.size()) + " entries",
                std::to_string(config.residual_kernels.size()) + " as in resblock_kernel_sizes");
  }
  return config;
}

}  // namespace

AudioVaeConfig parse_audio_vae_config(const Fields& fields) {
  AudioVaeConfig config;
  const Fields params = fields.object("model").object("params");
  const Fields dd = params.object("ddconfig");
  dd.require("norm_type", "pixel");
  dd.require("causality_axis", "height");
  dd.require("double_z", true);
  dd.require("mid_block_add_attention", false);
  dd.require("attn_resolutions", Json::array());
  dd.require("resamp_with_conv", true);
  config.sampling_rate = params.integer("sampling_rate", 1, max_rate, config.sampling_rate);
  config.channels = dd.integer("ch", 1, max_channels, config.channels);
  config.multipliers = dd.integers("ch_mult", 1, 64, config.multipliers);
  config.residual_blocks = dd.integer("num_res_blocks", 1, 64, config.residual_blocks);
  config.latent_channels = dd.integer("z_channels", 1, max_channels, config.latent_channels);
  config.in_channels = dd.integer("in_channels", 2, 2, config.in_channels);
  config.out_channels = dd.integer("out_ch", 2, 2, config.out_channels);
  config.mel_bins = dd.integer("mel_bins", mel_bins, mel_bins, config.mel_bins);
  if (config.multipliers.size() > 7) dd.fail("ch_mult", "more than 7 levels", "1 to 7 levels (64 mel bins)");
  if (config.latent_channels * config.latent_bins() != config.channels) {  // the statistics are per latent feature
    dd.fail("ch", std::to_string(config.channels),
            std::to_string(config.latent_channels * config.latent_bins()) + " = z_channels x latent mel bins");
  }
  if (fields.has("preprocessing")) {
    const Fields preprocessing = fields.object("preprocessing");
    if (preprocessing.has("stft")) {
      const Fields stft = preprocessing.object("stft");
      config.fft_length = stft.integer("filter_length", 2, max_fft, config.fft_length);
      config.hop_length = stft.integer("hop_length", 1, max_fft, config.hop_length);
    }
    if (preprocessing.has("mel")) preprocessing.object("mel").require("n_mel_channels", config.mel_bins);
  }
  return config;
}

VocoderConfig parse_vocoder_config(const Fields& fields) {
  VocoderConfig config;
  if (!fields.has("bwe")) {
    config.generator = parse_generator(fields);
    config.out_rate = fields.integer("output_sampling_rate", 1, max_rate, config.out_rate);
    return config;
  }
  config.generator = parse_generator(fields.object("vocoder"));
  const Fields bwe = fields.object("bwe");
  BandwidthConfig& bandwidth = config.bandwidth.emplace();
  bandwidth.generator = parse_generator(bwe);
  bandwidth.fft_length = bwe.integer("n_fft", 2, max_fft, bandwidth.fft_length);
  bandwidth.hop_length = bwe.integer("hop_length", 1, bandwidth.fft_length, bandwidth.hop_length);
  bandwidth.mel_bins = bwe.integer("num_mels", mel_bins, mel_bins, bandwidth.mel_bins);
  bandwidth.in_rate = bwe.integer("input_sampling_rate", 1, max_rate, bandwidth.in_rate);
  config.out_rate = bwe.integer("output_sampling_rate", 1, max_rate, 48000);
  if (bandwidth.fft_length % 2 != 0) bwe.fail("n_fft", std::to_string(bandwidth.fft_length), "an even number");
  if (config.out_rate != 3 * bandwidth.in_rate) {
    bwe.fail("output_sampling_rate", std::to_string(config.out_rate), "three times input_sampling_rate");
  }
  // The reference pads a waveform to whole hops; with whole hops per mel frame there is nothing to pad.
  if (config.generator.factor() % bandwidth.hop_length != 0) {
    bwe.fail("hop_length", std::to_string(bandwidth.hop_length),
             "a divisor of the samples per mel frame, " + std::to_string(config.generator.factor()));
  }
  if (bandwidth.generator.factor() != 3 * bandwidth.hop_length) {
    bwe.fail("upsample_rates", "a product of " + std::to_string(bandwidth.generator.factor()),
             "three times hop_length " + std::to_string(bandwidth.hop_length));
  }
  return config;
}

}  // namespace ltx2
