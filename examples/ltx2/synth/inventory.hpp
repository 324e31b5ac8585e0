// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "ltxmem/io/safetensors_writer.hpp"
#include "synth/description.hpp"

namespace ltx2 {

/// Every tensor that the file of a description holds, in the order of the file, with its type: the description's dtype,
/// or F8_E4M3 followed by an F32 scalar `<name>_scale` for the layers that fp8 releases quantize.
/// Source  docs/ltx2/transformer.md 3, docs/ltx2/text.md 2-4, docs/ltx2/vae.md 1-7
std::vector<ltxmem::TensorSpec> inventory(const Description& description);

/// The description's components one by one, without type and prefix; what inventory() is made of.
namespace tensors {

/// Names and shapes in the order of a file.
class List {
 public:
  explicit List(ltxmem::DType dtype) : dtype_(dtype) {}

  void add(std::string name, std::vector<std::int64_t> shape) {
    items_.push_back({prefix_ + std::move(name), dtype_, std::move(shape)});
  }
  void linear(const std::string& name, std::int64_t out, std::int64_t in, bool bias = true);
  void convolution(const std::string& name, std::int64_t out, std::int64_t in, const std::vector<std::int64_t>& kernel,
                   bool bias = true);

  /// Puts a prefix before all names added from now on.
  void set_prefix(std::string prefix) { prefix_ = std::move(prefix); }

  std::vector<ltxmem::TensorSpec> take() { return std::move(items_); }

 private:
  ltxmem::DType dtype_;
  std::string prefix_;
  std::vector<ltxmem::TensorSpec> items_;
};

void transformer(List& list, const TransformerConfig& config);
void connector(List& list, const ConnectorConfig& config);
void text_projection(List& list, const TransformerConfig& config, TextProjection kind, std::int64_t rows,
                     std::int64_t columns);
void video_encoder(List& list, const VideoVaeConfig& config);
void video_decoder(List& list, const VideoVaeConfig& config);
void audio_encoder(List& list, const AudioVaeConfig& config);
void audio_decoder(List& list, const AudioVaeConfig& config);
void statistics(List& list, std::int64_t channels);
void vocoder(List& list, const VocoderConfig& config);
void upsampler(List& list, const UpsamplerConfig& config);
void gemma(List& list, const GemmaConfig& config);

}  // namespace tensors

/// True for the layers that fp8 releases store as F8_E4M3 with a scale.
bool is_fp8_layer(std::string_view name) noexcept;

}  // namespace ltx2
