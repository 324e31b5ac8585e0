// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "upsampler/upsampler.hpp"

#include <type_traits>

#include "upsampler/latent_upsampler.hpp"

namespace ltx2 {

namespace {

const UpsamplerConfig& config_of(const Checkpoint& upsampler) {
  ltxmem::expects<ltxmem::IoError>(upsampler.config().upsampler.has_value(), upsampler.tensors().name(),
                                   ": not a latent upsampler");
  return *upsampler.config().upsampler;
}

}  // namespace

ltxmem::Extents<4> upsampled_extents(const Checkpoint& upsampler, const ltxmem::Extents<4>& latent) {
  return LatentUpsampler<float, HostBackend>::output_extents(config_of(upsampler), latent);
}

void upsample_latent(Runtime& runtime, const Checkpoint& model, const Checkpoint& upsampler,
                     ltxmem::TensorView<const float, 4> latent, ltxmem::TensorView<float, 4> upsampled) {
  const UpsamplerConfig& config = config_of(upsampler);
  const LatentStatistics statistics = LatentStatistics::of_video(model, config.in_channels);
  runtime.with_element([&]<class T>() {
    runtime.run("upsample", [&](auto& backend, ltxmem::Workspace& workspace) {
      const LatentUpsampler<T, std::decay_t<decltype(backend)>> upsample(config, upsampler, statistics);
      upsample(backend, latent, upsampled, workspace);
    });
  });
}

}  // namespace ltx2
