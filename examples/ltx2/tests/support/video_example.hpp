// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ltxmem/memory/host_resource.hpp"
#include "runtime/runtime.hpp"
#include "support/numbers.hpp"
#include "tests/support/golden_case.hpp"
#include "upsampler/upsampler.hpp"
#include "video_vae/video_vae.hpp"

/// Stages of the video autoencoder and the upsampler on made-up inputs.

namespace ltx2::test {

/// A model of the golden set, opened.
class GoldenCheckpoint {
 public:
  explicit GoldenCheckpoint(const std::string& name)
      : checkpoint_(golden_models() / (name + ".safetensors"), resource_) {}
  const Checkpoint& operator*() const noexcept { return checkpoint_; }

 private:
  ltxmem::HostResource resource_;
  Checkpoint checkpoint_;
};

/// A description of the true 2.3 autoencoder in bf16. No weights exist.
inline Checkpoint true_autoencoder() {
  Json json = read_json_file(golden_path("configs/ltx23_tiny.json"));
  json["components"] = Json::array({"vae"});
  json["dtype"] = "BF16";
  json["config"]["vae"]["latent_channels"] = 128;
  json["config"]["vae"]["encoder_base_channels"] = 128;
  json["config"]["vae"]["decoder_base_channels"] = 128;
  return Checkpoint(parse_description(json, "true autoencoder"));
}

/// A tensor [T, H, W, C] in host memory.
struct HostVolume {
  ltxmem::Extents<4> extents;
  std::vector<float> values;

  explicit HostVolume(const ltxmem::Extents<4>& e)
      : extents(e), values(static_cast<std::size_t>(ltxmem::element_count(e))) {}
  HostVolume(const ltxmem::Extents<4>& e, std::uint32_t seed)
      : extents(e), values(ltxmem::test::random_values<float>(ltxmem::element_count(e), seed)) {}

  ltxmem::TensorView<const float, 4> view() const { return {values.data(), extents}; }
  ltxmem::TensorView<float, 4> view() { return {values.data(), extents}; }
};

inline HostVolume run_decode(Runtime& runtime, const Checkpoint& checkpoint, const HostVolume& latent) {
  HostVolume frames({8 * latent.extents[0] - 7, 32 * latent.extents[1], 32 * latent.extents[2], 3});
  decode_video(runtime, checkpoint, latent.view(), frames.view());
  return frames;
}

inline HostVolume run_encode(Runtime& runtime, const Checkpoint& checkpoint, const HostVolume& video) {
  HostVolume latent({(video.extents[0] + 7) / 8, video.extents[1] / 32, video.extents[2] / 32,
                     checkpoint.config().video_vae->latent_channels});
  encode_video(runtime, checkpoint, video.view(), latent.view());
  return latent;
}

inline HostVolume run_upsample(Runtime& runtime, const Checkpoint& model, const Checkpoint& upsampler,
                               const HostVolume& latent) {
  HostVolume upsampled(upsampled_extents(upsampler, latent.extents));
  upsample_latent(runtime, model, upsampler, latent.view(), upsampled.view());
  return upsampled;
}

}  // namespace ltx2::test
