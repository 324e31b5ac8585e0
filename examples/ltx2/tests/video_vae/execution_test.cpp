// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <string>

#include "tests/support/video_example.hpp"

/// How the video stages run: bits, memory, refusals.

namespace {

using namespace ltx2;
using namespace ltx2::test;

Settings with_threads(int threads, ltxmem::DType dtype) {
  Settings settings;
  settings.threads = threads;
  settings.dtype = dtype;
  return settings;
}

}  // namespace

TEST_CASE("Decoding gives the same bits for every thread count") {
  const GoldenCheckpoint checkpoint("ltx20_tiny");
  const HostVolume latent({2, 3, 3, 4}, 1);
  for (const ltxmem::DType dtype : {ltxmem::DType::f32, ltxmem::DType::bf16}) {
    Runtime one(with_threads(1, dtype));
    Runtime three(with_threads(3, dtype));
    CHECK(run_decode(one, *checkpoint, latent).values == run_decode(three, *checkpoint, latent).values);
  }
}

TEST_CASE("Encoding gives the same bits for every thread count") {
  const GoldenCheckpoint checkpoint("ltx23_tiny");
  const HostVolume video({9, 64, 32, 3}, 2);
  for (const ltxmem::DType dtype : {ltxmem::DType::f32, ltxmem::DType::bf16}) {
    Runtime one(with_threads(1, dtype));
    Runtime three(with_threads(3, dtype));
    CHECK(run_encode(one, *checkpoint, video).values == run_encode(three, *checkpoint, video).values);
  }
}

TEST_CASE("Upsampling gives the same bits for every thread count") {
  const GoldenCheckpoint model("ltx23_tiny");
  const GoldenCheckpoint upsampler("upscaler_tiny");
  const HostVolume latent({3, 6, 8, 6}, 3);
  Runtime one(with_threads(1, ltxmem::DType::f32));
  Runtime three(with_threads(3, ltxmem::DType::f32));
  CHECK(run_upsample(one, *model, *upsampler, latent).values == run_upsample(three, *model, *upsampler, latent).values);
}

TEST_CASE("Encoding is causal: later frames leave earlier latents alone") {
  const GoldenCheckpoint checkpoint("ltx23_tiny");
  Runtime runtime(case_settings());
  HostVolume video({17, 32, 32, 3}, 4);
  const HostVolume before = run_encode(runtime, *checkpoint, video);
  for (std::size_t i = 9 * 32 * 32 * 3; i < video.values.size(); ++i) video.values[i] = -video.values[i];
  const HostVolume after = run_encode(runtime, *checkpoint, video);
  CHECK(std::equal(before.values.begin(), before.values.begin() + 2 * 6, after.values.begin()));
  CHECK_FALSE(std::equal(before.values.begin() + 2 * 6, before.values.end(), after.values.begin() + 2 * 6));
}

TEST_CASE("One latent frame decodes to one frame of values between 0 and 1") {
  const GoldenCheckpoint checkpoint("ltx23_tiny");
  Runtime runtime(case_settings());
  const HostVolume image = run_decode(runtime, *checkpoint, HostVolume({1, 1, 2, 6}, 5));
  CHECK(image.extents == ltxmem::Extents<4>{1, 32, 64, 3});
  for (const float value : image.values) CHECK((value >= 0.0F && value <= 1.0F));
}

TEST_CASE("Decoding refuses latents and frames that do not fit, naming both") {
  const GoldenCheckpoint checkpoint("ltx23_tiny");
  Runtime runtime(case_settings());
  const HostVolume latent({2, 1, 1, 6});
  HostVolume frames({9, 32, 31, 3});
  CHECK_THROWS_WITH(decode_video(runtime, *checkpoint, latent.view(), frames.view()),
                    "video decode: frames 9 x 32 x 31 x 3, expected 9 x 32 x 32 x 3");
  CHECK_THROWS_WITH(run_decode(runtime, *checkpoint, HostVolume({2, 1, 1, 4})),
                    "video decode: latent 2 x 1 x 1 x 4, expected 6 channels");
}

TEST_CASE("Encoding refuses frames that do not fill latents") {
  const GoldenCheckpoint checkpoint("ltx23_tiny");
  Runtime runtime(case_settings());
  CHECK_THROWS_WITH(run_encode(runtime, *checkpoint, HostVolume({8, 32, 32, 3})),
                    "video encode: video 8 x 32 x 32 x 3, expected 1 + 8 k frames of 32 m x 32 n x 3");
  CHECK_THROWS_AS(run_encode(runtime, *checkpoint, HostVolume({9, 48, 32, 3})), ltxmem::ShapeError);
}

TEST_CASE("Mirrored padding refuses a latent of one row") {
  const GoldenCheckpoint checkpoint("ltx20_tiny");
  Runtime runtime(case_settings());
  CHECK_THROWS_WITH(run_decode(runtime, *checkpoint, HostVolume({1, 1, 2, 4})),
                    "convolution: extent 1 of axis 1 is too short to reflect 1");
}

TEST_CASE("A file without a video autoencoder is named") {
  const GoldenCheckpoint upsampler("upscaler_tiny");
  Runtime runtime(case_settings());
  HostVolume frames({1, 32, 32, 3});
  CHECK_THROWS_WITH(decode_video(runtime, *upsampler, HostVolume({1, 1, 1, 6}).view(), frames.view()),
                    Catch::Contains("upscaler_tiny.safetensors: no video autoencoder in this file"));
}
