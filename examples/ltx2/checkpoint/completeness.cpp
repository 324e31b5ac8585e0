// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/completeness.hpp"

#include <cmath>
#include <string_view>

#include "checkpoint/model_files.hpp"
#include "ltxmem/core/error.hpp"
#include "synth/inventory.hpp"

namespace ltx2 {

using ltxmem::DType;
using ltxmem::IoError;

namespace {

constexpr std::string_view dit = "model.diffusion_model.";
constexpr std::string_view connectors[] = {"model.diffusion_model.video_embeddings_connector.",
                                           "model.diffusion_model.audio_embeddings_connector."};

[[noreturn]] void fail(const TensorSource& tensors, std::string_view name, const std::string& reason) {
  throw IoError(tensors.name() + ": tensor '" + std::string(name) + "': " + reason);
}

Components present_components(const TensorSource& tensors) {
  Components c{false, false, false, false, false, false};
  for (const StoredTensor& tensor : tensors.tensors()) {
    const std::string_view name = tensor.name;
    const bool connector = name.starts_with(connectors[0]) || name.starts_with(connectors[1]);
    c.connectors |= connector;
    c.transformer |= name.starts_with(dit) && !connector;
    c.text |= name.starts_with("text_embedding_projection.");
    c.video_vae |= name.starts_with("vae.");
    c.audio_vae |= name.starts_with("audio_vae.");
    c.vocoder |= name.starts_with("vocoder.");
  }
  return c;
}

/// The sizes of the text projection, which depend on the text model and so stand in no configuration.
void set_text_sizes(const TensorSource& tensors, Description& d) {
  const bool v1 = *d.config.text_projection == TextProjection::v1;
  const std::string name =
      std::string("text_embedding_projection.") + (v1 ? "aggregate_embed" : "video_aggregate_embed") + ".weight";
  const StoredTensor* weight = tensors.find(name);
  if (weight == nullptr) fail(tensors, name, "missing");
  if (weight->shape.size() != 2 || weight->bytes == 0) {
    fail(tensors, name, "shape " + ltxmem::shape_text(weight->shape) + ", expected two dimensions above zero");
  }
  d.text_rows = v1 ? d.config.video_connector->width() : d.config.transformer->width();
  d.text_columns = weight->shape[1];
  if (v1 && d.text_columns % d.text_rows != 0) {
    fail(tensors, name,
         std::to_string(d.text_columns) + " columns, expected a multiple of " + std::to_string(d.text_rows) +
             " (one part per hidden state of the text model)");
  }
}

/// What the connectors put out must be what the transformer takes.
void check_context_widths(const TensorSource& tensors, const ModelConfig& config) {
  const TransformerConfig& t = *config.transformer;
  const auto check = [&](const char* stream, std::int64_t found, std::int64_t expected) {
    if (found == expected) return;
    throw IoError(tensors.name() + ": config.transformer: the " + stream + " connector is " + std::to_string(found) +
                  " wide, the transformer takes a context of " + std::to_string(expected));
  };
  const bool own = t.caption_projection;
  check("video", config.video_connector->width(), own ? t.caption_channels : t.cross_attention_dim);
  check("audio", config.audio_connector->width(), own ? t.caption_channels : t.audio_cross_attention_dim);
}

void check_scales(const TensorSource& tensors, const std::vector<ltxmem::TensorSpec>& expected) {
  std::string_view with, without;  // an fp8 weight of either sort
  for (const ltxmem::TensorSpec& spec : expected) {
    const StoredTensor& weight = *tensors.find(spec.name);
    const float* scale = weight_matrix(tensors, weight).scale;
    if (scale != nullptr && !(std::isfinite(*scale) && *scale > 0)) {
      fail(tensors, spec.name + "_scale", "found " + std::to_string(*scale) + ", expected a finite number above zero");
    }
    if (weight.dtype == DType::f8_e4m3 && spec.shape.size() > 1) (scale != nullptr ? with : without) = spec.name;
  }
  if (!with.empty() && !without.empty()) {
    fail(tensors, std::string(without) + "_scale", "missing, other fp8 weights have a scale");
  }
}

void check_component(const TensorSource& tensors, const ExpectedComponent& component) {
  for (const ltxmem::TensorSpec& spec : component.tensors) {
    const StoredTensor* found = tensors.find(spec.name);
    if (found == nullptr) {
      fail(tensors, spec.name,
           "missing, the configuration of the " + component.name + " calls for it with shape " +
               ltxmem::shape_text(spec.shape));
    }
    if (found->shape != spec.shape) {
      fail(tensors, spec.name,
           "shape " + ltxmem::shape_text(found->shape) + ", expected " + ltxmem::shape_text(spec.shape));
    }
  }
  check_scales(tensors, component.tensors);
}

/// The parts of a single-file checkpoint that are there.
std::vector<ExpectedComponent> checkpoint_components(const TensorSource& tensors, const ModelConfig& config) {
  const Components present = present_components(tensors);
  std::vector<ExpectedComponent> components;
  const auto add = [&](const char* name, bool Components::*part, bool configured) {
    if (!(present.*part)) return;
    if (!configured) {
      throw IoError(tensors.name() + ": it has tensors of the " + name + ", but its config has no section for them");
    }
    Description d;
    d.config = config;
    d.components = {false, false, false, false, false, false};
    d.components.*part = true;
    if (d.components.text) set_text_sizes(tensors, d);
    components.push_back({name, inventory(d)});
  };
  const bool transformer = config.transformer.has_value();
  add("transformer", &Components::transformer, transformer);
  add("connectors", &Components::connectors, transformer);
  add("text projection", &Components::text, transformer);
  add("video VAE", &Components::video_vae, config.video_vae.has_value());
  add("audio VAE", &Components::audio_vae, config.audio_vae.has_value());
  add("vocoder", &Components::vocoder, config.vocoder.has_value());
  if (present.connectors && present.transformer) check_context_widths(tensors, config);
  return components;
}

}  // namespace

std::vector<ExpectedComponent> check_completeness(const TensorSource& tensors, const ModelConfig& config) {
  std::vector<ExpectedComponent> components;
  if (config.upsampler || config.gemma) {
    Description d;
    d.config = config;
    d.kind = config.upsampler ? ModelKind::upsampler : ModelKind::gemma;
    d.gemma_prefix = gemma_prefix(tensors);
    if (config.gemma && d.gemma_prefix.empty())
      fail(tensors, "embed_tokens.weight", "missing under every known prefix");
    components.push_back({config.upsampler ? "latent upsampler" : "Gemma text model", inventory(d)});
  } else {
    components = checkpoint_components(tensors, config);
  }
  if (components.empty()) throw IoError(tensors.name() + ": no tensor of any known part of a model");
  for (const ExpectedComponent& component : components) check_component(tensors, component);
  return components;
}

}  // namespace ltx2
