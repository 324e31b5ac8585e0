// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "upsampler/upsampler.hpp"

#include <cstdint>
#include <type_traits>

#include "runtime/resident_weights.hpp"
#include "upsampler/latent_upsampler.hpp"

namespace ltx2 {

namespace {

const UpsamplerConfig& config_of(const Checkpoint& upsampler) {
  ltxmem::expects<ltxmem::IoError>(upsampler.config().upsampler.has_value(), upsampler.tensors().name(),
                                   ": not a latent upsampler");
  return *upsampler.config().upsampler;
}

template <class T>
auto upsample_body(const Runtime& runtime, const Checkpoint& model, const Checkpoint& upsampler,
                   ltxmem::TensorView<const float, 4> latent, ltxmem::TensorView<float, 4> upsampled) {
  return [&runtime, &model, &upsampler, latent, upsampled](auto& backend, ltxmem::Workspace& workspace) {
    const UpsamplerConfig& config = config_of(upsampler);
    ResidentWeights weights(backend, runtime, upsampler, "", {}, workspace);
    ResidentWeights statistics(backend, runtime, model, "vae.", {"encoder.", "decoder."}, workspace);
    const LatentUpsampler<T, std::decay_t<decltype(backend)>> upsample(
        config, weights.scope(), LatentStatistics::of(statistics.scope(), config.in_channels),
        runtime.settings().decode_frames);
    upsample(backend, latent, upsampled, workspace);
  };
}

}  // namespace

ltxmem::Extents<4> upsampled_extents(const Checkpoint& upsampler, const ltxmem::Extents<4>& latent) {
  return LatentUpsampler<float, HostBackend>::output_extents(config_of(upsampler), latent);
}

void upsample_latent(Runtime& runtime, const Checkpoint& model, const Checkpoint& upsampler,
                     ltxmem::TensorView<const float, 4> latent, ltxmem::TensorView<float, 4> upsampled) {
  runtime.with_element(
      [&]<class T>() { runtime.run("upsample", upsample_body<T>(runtime, model, upsampler, latent, upsampled)); });
}

Runtime::Plan plan_upsample_latent(const Runtime& runtime, const Checkpoint& model, const Checkpoint& upsampler,
                                   const ltxmem::Extents<4>& latent) {
  const ltxmem::Extents<4> upsampled = upsampled_extents(upsampler, latent);
  return runtime.with_element([&]<class T>() {
    return runtime.plan(upsample_body<T>(runtime, model, upsampler, {nullptr, latent}, {nullptr, upsampled}));
  });
}

}  // namespace ltx2
