// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "config/json_fields.hpp"

/// What `config.vae` says about the video autoencoder, and the flat `config` of the latent upsampler's own file.
/// Source  docs/ltx2/vae.md 1-3 and 5

namespace ltx2 {

enum class SpatialPadding : std::uint8_t { zeros, reflect };

/// One entry of a block list: a stack of residual blocks, or a change of resolution.
struct VaeBlock {
  enum class Kind : std::uint8_t { residual, resample };

  Kind kind = Kind::residual;
  std::int64_t layers = 0;  ///< residual: number of blocks
  std::int64_t time = 1;    ///< resample: factor along time
  std::int64_t space = 1;   ///< resample: factor along height and along width
  bool skip = false;        ///< resample: adds the resampled input (always in the encoder)
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;

  /// Pixels of the block's fine side per pixel of its coarse side.
  std::int64_t volume() const noexcept { return time * space * space; }
};

struct VideoVaeConfig {
  std::int64_t latent_channels = 128;
  std::int64_t patch_size = 4;
  std::vector<VaeBlock> encoder_blocks;  ///< in order of execution
  std::vector<VaeBlock> decoder_blocks;  ///< in order of execution: `up_blocks.{i}`, the reverse of the file's list
  SpatialPadding encoder_padding = SpatialPadding::zeros;
  SpatialPadding decoder_padding = SpatialPadding::reflect;
  bool causal_decoder = false;

  std::int64_t patch_channels() const noexcept { return 3 * patch_size * patch_size; }
  std::int64_t encoder_in() const noexcept { return latent_channels; }  ///< channels after the encoder's conv_in
  std::int64_t encoder_out() const noexcept;                            ///< channels before the encoder's conv_out
  std::int64_t decoder_in() const noexcept;                             ///< channels after the decoder's conv_in
  std::int64_t decoder_out() const noexcept;                            ///< channels before the decoder's conv_out
  std::int64_t temporal_factor() const noexcept;                        ///< frames per latent frame (8)
  std::int64_t spatial_factor() const noexcept;                         ///< pixels per latent cell and axis (32)
};

struct UpsamplerConfig {
  std::int64_t in_channels = 128;
  std::int64_t mid_channels = 512;
  std::int64_t blocks_per_stage = 4;
  bool rational = false;         ///< `upsampler.conv` and a blur, instead of `upsampler.0`
  std::int64_t numerator = 2;    ///< pixel shuffle factor
  std::int64_t denominator = 1;  ///< stride of the blur (1: no blur)
};

/// IoError naming source, key, found and expected for anything missing, malformed or not supported.
VideoVaeConfig parse_video_vae_config(const Fields& vae);
UpsamplerConfig parse_upsampler_config(const Fields& config);

}  // namespace ltx2
