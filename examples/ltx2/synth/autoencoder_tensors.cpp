// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "synth/inventory.hpp"

namespace ltx2::tensors {

void List::convolution(const std::string& name, std::int64_t out, std::int64_t in,
                       const std::vector<std::int64_t>& kernel, bool bias) {
  std::vector<std::int64_t> shape{out, in};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  add(name + ".weight", std::move(shape));
  if (bias) add(name + ".bias", {out});
}

namespace {

void conv3(List& list, const std::string& p, std::int64_t out, std::int64_t in) {
  list.convolution(p + ".conv", out, in, {3, 3, 3});
}

void conv2(List& list, const std::string& p, std::int64_t out, std::int64_t in, std::int64_t kernel = 3) {
  list.convolution(p + ".conv", out, in, {kernel, kernel});
}

void residual_stack(List& list, const std::string& p, const VaeBlock& block) {
  for (std::int64_t j = 0; j < block.layers; ++j) {
    const std::string name = p + ".res_blocks." + std::to_string(j);
    conv3(list, name + ".conv1", block.in_channels, block.in_channels);
    conv3(list, name + ".conv2", block.in_channels, block.in_channels);
  }
}

void audio_residual(List& list, const std::string& p, std::int64_t in, std::int64_t out) {
  conv2(list, p + ".conv1", out, in);
  conv2(list, p + ".conv2", out, out);
  if (in != out) conv2(list, p + ".nin_shortcut", out, in, 1);
}

void audio_middle(List& list, std::int64_t channels) {
  audio_residual(list, "mid.block_1", channels, channels);
  audio_residual(list, "mid.block_2", channels, channels);
}

void snake_activation(List& list, const std::string& p, std::int64_t channels) {
  list.add(p + ".act.alpha", {channels});
  list.add(p + ".act.beta", {channels});
  list.add(p + ".upsample.filter", {1, 1, 12});
  list.add(p + ".downsample.lowpass.filter", {1, 1, 12});
}

void generator(List& list, const std::string& p, const GeneratorConfig& c) {
  std::int64_t channels = c.initial_channels;
  list.convolution(p + "conv_pre", channels, 128, {7});
  for (std::size_t i = 0; i < c.kernels.size(); ++i) {
    const std::string up = p + "ups." + std::to_string(i);
    list.add(up + ".weight", {channels, channels / 2, c.kernels[i]});  // transposed: [in, out, kernel]
    list.add(up + ".bias", {channels / 2});
    channels /= 2;
    for (std::size_t j = 0; j < c.residual_kernels.size(); ++j) {
      const std::string block = p + "resblocks." + std::to_string(i * c.residual_kernels.size() + j);
      for (std::size_t n = 0; n < c.dilations[j].size(); ++n) {
        const std::string index = "." + std::to_string(n);
        list.convolution(block + ".convs1" + index, channels, channels, {c.residual_kernels[j]});
        list.convolution(block + ".convs2" + index, channels, channels, {c.residual_kernels[j]});
        if (!c.anti_aliased) continue;
        snake_activation(list, block + ".acts1" + index, channels);
        snake_activation(list, block + ".acts2" + index, channels);
      }
    }
  }
  if (c.anti_aliased) snake_activation(list, p + "act_post", channels);
  list.convolution(p + "conv_post", 2, channels, {7}, c.final_bias);
}

}  // namespace

void video_encoder(List& list, const VideoVaeConfig& c) {
  conv3(list, "conv_in", c.encoder_in(), c.patch_channels());
  for (std::size_t i = 0; i < c.encoder_blocks.size(); ++i) {
    const VaeBlock& block = c.encoder_blocks[i];
    const std::string p = "down_blocks." + std::to_string(i);
    if (block.kind == VaeBlock::Kind::residual) {
      residual_stack(list, p, block);
    } else {
      conv3(list, p + ".conv", block.out_channels / block.volume(), block.in_channels);
    }
  }
  conv3(list, "conv_out", c.latent_channels + 1, c.encoder_out());
}

void video_decoder(List& list, const VideoVaeConfig& c) {
  conv3(list, "conv_in", c.decoder_in(), c.latent_channels);
  for (std::size_t i = 0; i < c.decoder_blocks.size(); ++i) {
    const VaeBlock& block = c.decoder_blocks[i];
    const std::string p = "up_blocks." + std::to_string(i);
    if (block.kind == VaeBlock::Kind::residual) {
      residual_stack(list, p, block);
    } else {
      conv3(list, p + ".conv", block.out_channels * block.volume(), block.in_channels);
    }
  }
  conv3(list, "conv_out", c.patch_channels(), c.decoder_out());
}

void audio_encoder(List& list, const AudioVaeConfig& c) {
  std::int64_t channels = c.channels;
  conv2(list, "conv_in", channels, c.in_channels);
  for (std::size_t level = 0; level < c.multipliers.size(); ++level) {
    const std::string p = "down." + std::to_string(level);
    for (std::int64_t b = 0; b < c.residual_blocks; ++b) {
      audio_residual(list, p + ".block." + std::to_string(b), channels, c.channels * c.multipliers[level]);
      channels = c.channels * c.multipliers[level];
    }
    if (level + 1 < c.multipliers.size()) conv2(list, p + ".downsample", channels, channels);
  }
  audio_middle(list, channels);
  conv2(list, "conv_out", 2 * c.latent_channels, channels);
}

void audio_decoder(List& list, const AudioVaeConfig& c) {
  std::int64_t channels = c.channels * c.multipliers.back();
  conv2(list, "conv_in", channels, c.latent_channels);
  audio_middle(list, channels);
  for (std::size_t level = c.multipliers.size(); level-- > 0;) {
    const std::string p = "up." + std::to_string(level);
    const std::int64_t out = c.channels * c.multipliers[level];
    for (std::int64_t b = 0; b < c.residual_blocks + 1; ++b) {
      audio_residual(list, p + ".block." + std::to_string(b), channels, out);
      channels = out;
    }
    if (level > 0) conv2(list, p + ".upsample.conv", channels, channels);
  }
  conv2(list, "conv_out", c.out_channels, channels);
}

void statistics(List& list, std::int64_t channels) {
  list.add("per_channel_statistics.mean-of-means", {channels});
  list.add("per_channel_statistics.std-of-means", {channels});
}

void vocoder(List& list, const VocoderConfig& c) {
  if (!c.bandwidth) {
    generator(list, "", c.generator);
    return;
  }
  generator(list, "vocoder.", c.generator);
  generator(list, "bwe_generator.", c.bandwidth->generator);
  const std::int64_t n = c.bandwidth->fft_length;
  list.add("mel_stft.mel_basis", {c.bandwidth->mel_bins, n / 2 + 1});
  list.add("mel_stft.stft_fn.forward_basis", {n + 2, 1, n});
  list.add("mel_stft.stft_fn.inverse_basis", {n + 2, 1, n});
}

void upsampler(List& list, const UpsamplerConfig& c) {
  const std::int64_t mid = c.mid_channels;
  const auto norm = [&](const std::string& p) {
    list.add(p + ".weight", {mid});
    list.add(p + ".bias", {mid});
  };
  const auto blocks = [&](const std::string& p) {
    for (std::int64_t i = 0; i < c.blocks_per_stage; ++i) {
      for (const char* k : {"1", "2"}) {
        const std::string block = p + "." + std::to_string(i);
        list.convolution(block + ".conv" + k, mid, mid, {3, 3, 3});
        norm(block + ".norm" + k);
      }
    }
  };
  list.convolution("initial_conv", mid, c.in_channels, {3, 3, 3});
  norm("initial_norm");
  blocks("res_blocks");
  list.convolution(c.rational ? "upsampler.conv" : "upsampler.0", c.numerator * c.numerator * mid, mid, {3, 3});
  if (c.rational) list.add("upsampler.blur_down.kernel", {1, 1, 5, 5});
  blocks("post_upsample_res_blocks");
  list.convolution("final_conv", c.in_channels, mid, {3, 3, 3});
}

}  // namespace ltx2::tensors
