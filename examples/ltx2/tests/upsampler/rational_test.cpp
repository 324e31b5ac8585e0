// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "synth/synthesise.hpp"
#include "tests/support/plain_video.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/video_example.hpp"
#include "upsampler/latent_upsampler.hpp"

/// Upsamplers with a blur behind the shuffle, which no reference case covers.

namespace {

using namespace ltx2;
using namespace ltx2::test;

/// The tiny upsampler with another scale, written to a file and opened.
class RationalUpsampler {
 public:
  explicit RationalUpsampler(double scale) : checkpoint_(write(scale), resource_) {}
  const Checkpoint& operator*() const noexcept { return checkpoint_; }

 private:
  std::filesystem::path write(double scale) {
    Json json = read_json_file(golden_path("configs/upscaler_tiny.json"));
    json["config"]["rational_resampler"] = true;
    json["config"]["spatial_scale"] = scale;
    const std::filesystem::path path = folder_ / "upscaler.safetensors";
    synthesise(parse_description(json, "rational upscaler"), path);
    return path;
  }

  ScratchFolder folder_;
  ltxmem::HostResource resource_;
  Checkpoint checkpoint_;
};

}  // namespace

TEST_CASE("A blur filters every channel and keeps each second position, zeros around") {
  const HostVolume x({2, 6, 9, 5}, 1);
  std::vector<float> kernel = ltxmem::test::random_values<float>(25, 2);
  HostVolume y({2, 3, 5, 5});
  const BlurDown<float> blur{x.view(), y.view(), ltxmem::TensorView<const float, 1>(kernel.data(), {25}), 2};
  ltxmem::CpuBackend<> backend({.threads = 2});
  for_each_pixel(backend, "blur", x.view(), y.view(), blur);
  std::vector<double> expected;
  for (std::int64_t t = 0; t < 2; ++t) {
    for (std::int64_t h = 0; h < 3; ++h) {
      for (std::int64_t w = 0; w < 5; ++w) {
        for (std::int64_t c = 0; c < 5; ++c) {
          double sum = 0.0;
          for (std::int64_t i = -2; i <= 2; ++i) {
            for (std::int64_t j = -2; j <= 2; ++j) {
              if (2 * h + i < 0 || 2 * h + i >= 6 || 2 * w + j < 0 || 2 * w + j >= 9) continue;
              sum += static_cast<double>(kernel[static_cast<std::size_t>((i + 2) * 5 + j + 2)]) *
                     static_cast<double>(x.view()(t, 2 * h + i, 2 * w + j, c));
            }
          }
          expected.push_back(sum);
        }
      }
    }
  }
  CHECK(ltxmem::test::relative_error(y.values, expected) < 1e-6);
}

TEST_CASE("A rational factor of two equals a plain evaluation without blur") {
  const GoldenCheckpoint model("ltx23_tiny");
  const RationalUpsampler upsampler(2.0);
  const HostVolume latent({2, 2, 3, 6}, 3);
  Runtime runtime(case_settings());
  const PlainVolume exact = PlainVideo(*model, false).upsample(*upsampler, PlainVolume(latent.extents, latent.values));
  CHECK(ltxmem::test::relative_error(run_upsample(runtime, *model, *upsampler, latent).values, exact.values) < 1e-5);
}

TEST_CASE("A factor of one and a half equals a plain evaluation, rounding odd extents up") {
  const GoldenCheckpoint model("ltx23_tiny");
  const RationalUpsampler upsampler(1.5);
  const HostVolume latent({2, 2, 3, 6}, 4);
  Runtime runtime(case_settings());
  const HostVolume y = run_upsample(runtime, *model, *upsampler, latent);
  CHECK(y.extents == ltxmem::Extents<4>{2, 3, 5, 6});
  const PlainVolume exact = PlainVideo(*model, false).upsample(*upsampler, PlainVolume(latent.extents, latent.values));
  CHECK(ltxmem::test::relative_error(y.values, exact.values) < 1e-5);
}

TEST_CASE("A file that is no upsampler is named") {
  const GoldenCheckpoint model("ltx23_tiny");
  CHECK_THROWS_WITH(upsampled_extents(*model, {1, 2, 2, 6}),
                    Catch::Contains("ltx23_tiny.safetensors: not a latent upsampler"));
}
