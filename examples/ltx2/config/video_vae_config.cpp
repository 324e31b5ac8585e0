// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "config/video_vae_config.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace ltx2 {

namespace {

constexpr std::int64_t max_channels = 1 << 16;

std::int64_t product(const std::vector<VaeBlock>& blocks, std::int64_t VaeBlock::*factor) {
  std::int64_t result = 1;
  for (const VaeBlock& block : blocks) result *= block.*factor;
  return result;
}

/// A block's kind and options as the file lists them, before its channels are known.
struct Entry {
  std::string kind;
  Fields options;
};

std::vector<Entry> parse_entries(const Fields& vae, const char* key) {
  const Json& list = vae.at(key);
  if (!list.is_array() || list.empty() || list.size() > 64) {
    vae.fail(key, list.is_array() ? std::to_string(list.size()) + " entries" : "no list", "a list of 1 to 64 blocks");
  }
  std::vector<Entry> entries;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string name = vae.name() + "." + key + "[" + std::to_string(i) + "]";
    const Json& item = list[i];
    if (!item.is_array() || item.size() != 2 || !item[0].is_string()) {
      vae.fail(std::string(key) + "[" + std::to_string(i) + "]", "something else", "a kind and an object of options");
    }
    entries.push_back({item[0].get<std::string>(), Fields(item[1], name)});
  }
  return entries;
}

VaeBlock parse_residual(const Fields& options, std::int64_t channels) {
  options.require("inject_noise", false);
  VaeBlock block;
  block.layers = options.integer("num_layers", 1, 256);
  block.in_channels = block.out_channels = channels;
  return block;
}

/// A "compress_*" block; its factors from the kind, its channels not yet.
VaeBlock parse_resample(const Entry& entry, std::string_view suffix) {
  VaeBlock block;
  block.kind = VaeBlock::Kind::resample;
  const auto is = [&](std::string_view kind) { return entry.kind == std::string(kind) + std::string(suffix); };
  const bool all = is("compress_all");
  if (!all && !is("compress_time") && !is("compress_space")) {
    entry.options.fail("found block \"" + entry.kind + "\", expected \"res_x\" or \"compress_{all,time,space}" +
                       std::string(suffix) + "\"");
  }
  block.time = all || is("compress_time") ? 2 : 1;
  block.space = all || is("compress_space") ? 2 : 1;
  return block;
}

std::vector<VaeBlock> parse_encoder(const Fields& vae, std::int64_t channels) {
  std::vector<VaeBlock> blocks;
  for (const Entry& entry : parse_entries(vae, "encoder_blocks")) {
    if (entry.kind == "res_x") {
      blocks.push_back(parse_residual(entry.options, channels));
      continue;
    }
    VaeBlock block = parse_resample(entry, "_res");
    block.skip = true;
    block.in_channels = channels;
    block.out_channels = channels * entry.options.integer("multiplier", 1, 64, 2);
    if (block.out_channels % block.volume() != 0 || (channels * block.volume()) % block.out_channels != 0) {
      entry.options.fail(std::to_string(channels) + " to " + std::to_string(block.out_channels) +
                         " channels do not fit a reduction by " + std::to_string(block.volume()));
    }
    if (block.out_channels > max_channels)
      entry.options.fail("more than " + std::to_string(max_channels) + " channels");
    channels = block.out_channels;
    blocks.push_back(block);
  }
  return blocks;
}

std::vector<VaeBlock> parse_decoder(const Fields& vae, std::int64_t base_channels) {
  auto entries = parse_entries(vae, "decoder_blocks");
  std::reverse(entries.begin(), entries.end());  // the file lists the last one first
  std::int64_t channels = base_channels;
  for (const Entry& entry : entries) {
    if (entry.kind != "res_x") channels *= entry.options.integer("multiplier", 1, 64, 1);
    if (channels > max_channels) entry.options.fail("more than " + std::to_string(max_channels) + " channels");
  }
  std::vector<VaeBlock> blocks;
  for (const Entry& entry : entries) {
    if (entry.kind == "res_x") {
      blocks.push_back(parse_residual(entry.options, channels));
      continue;
    }
    VaeBlock block = parse_resample(entry, "");
    block.skip = entry.options.boolean("residual", false);
    if (block.skip && block.volume() != 8) entry.options.fail("residual", "true", "false for " + entry.kind);
    block.in_channels = channels;
    block.out_channels = channels / entry.options.integer("multiplier", 1, 64, 1);
    // The skip path spreads the input over the volume and repeats it up to the output's channels.
    if (block.skip && (channels % block.volume() != 0 || block.out_channels % (channels / block.volume()) != 0)) {
      entry.options.fail(std::to_string(channels) + " to " + std::to_string(block.out_channels) +
                         " channels do not fit a residual expansion by " + std::to_string(block.volume()));
    }
    channels = block.out_channels;
    blocks.push_back(block);
  }
  return blocks;
}

SpatialPadding parse_padding(const Fields& vae, const char* key, SpatialPadding fallback) {
  if (!vae.has(key)) return fallback;
  const std::string mode = vae.text(key, "");
  if (mode == "zeros") return SpatialPadding::zeros;
  if (mode == "reflect") return SpatialPadding::reflect;
  vae.fail(key, "\"" + mode + "\"", "\"zeros\" or \"reflect\"");
}

}  // namespace

std::int64_t VideoVaeConfig::encoder_out() const noexcept {
  return encoder_blocks.back().out_channels;
}
std::int64_t VideoVaeConfig::decoder_in() const noexcept {
  return decoder_blocks.front().in_channels;
}
std::int64_t VideoVaeConfig::decoder_out() const noexcept {
  return decoder_blocks.back().out_channels;
}
std::int64_t VideoVaeConfig::temporal_factor() const noexcept {
  return product(decoder_blocks, &VaeBlock::time);
}
std::int64_t VideoVaeConfig::spatial_factor() const noexcept {
  return patch_size * product(decoder_blocks, &VaeBlock::space);
}

VideoVaeConfig parse_video_vae_config(const Fields& vae) {
  vae.require("dims", 3);
  vae.require("in_channels", 3);
  vae.require("out_channels", 3);
  vae.require("norm_layer", "pixel_norm");
  vae.require("latent_log_var", "uniform");
  if (vae.boolean("timestep_conditioning", true)) {  // the reference takes a missing key for true
    vae.fail("timestep_conditioning", vae.has("timestep_conditioning") ? "true" : "nothing, which means true",
             "false, the only one supported");
  }
  VideoVaeConfig config;
  config.latent_channels = vae.integer("latent_channels", 1, max_channels, config.latent_channels);
  config.patch_size = vae.integer("patch_size", 1, 16, config.patch_size);
  config.causal_decoder = vae.boolean("causal_decoder", false);
  config.encoder_blocks = parse_encoder(vae, config.encoder_in());
  config.decoder_blocks = parse_decoder(vae, vae.integer("decoder_base_channels", 1, max_channels, 128));
  if (product(config.encoder_blocks, &VaeBlock::time) != config.temporal_factor() ||
      config.patch_size * product(config.encoder_blocks, &VaeBlock::space) != config.spatial_factor()) {
    vae.fail("encoder_blocks and decoder_blocks change the resolution by different factors");
  }
  const auto encoder_padding = parse_padding(vae, "encoder_spatial_padding_mode", SpatialPadding::zeros);
  config.encoder_padding = parse_padding(vae, "spatial_padding_mode", encoder_padding);
  config.decoder_padding = parse_padding(vae, "spatial_padding_mode", SpatialPadding::reflect);
  return config;
}

UpsamplerConfig parse_upsampler_config(const Fields& fields) {
  fields.require("dims", 3);
  fields.require("spatial_upsample", true);
  fields.require("temporal_upsample", false);
  UpsamplerConfig config;
  config.in_channels = fields.integer("in_channels", 1, max_channels, config.in_channels);
  config.mid_channels = fields.integer("mid_channels", 32, max_channels, config.mid_channels);
  if (config.mid_channels % 32 != 0) {
    fields.fail("mid_channels", std::to_string(config.mid_channels), "a multiple of 32 (normalization groups)");
  }
  config.blocks_per_stage = fields.integer("num_blocks_per_stage", 1, 256, config.blocks_per_stage);
  config.rational = fields.boolean("rational_resampler", false);
  const double scale = fields.positive("spatial_scale", 2.0);
  if (scale == 1.5 && config.rational) {
    config.numerator = 3;
    config.denominator = 2;
  } else if (scale != 2.0) {
    fields.fail("spatial_scale", fields.at("spatial_scale").dump(),
                config.rational ? "2.0 or 1.5" : "2.0 (1.5 only with rational_resampler)");
  }
  return config;
}

}  // namespace ltx2
