// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "tests/support/plain_video.hpp"
#include "tests/support/video_example.hpp"

/// The video stages against a plain evaluation in double precision and in bf16.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using ltxmem::test::relative_error;

/// Checks an f32 run to fp32 rounding, and a bf16 run to twice the error that a plain bf16 evaluation makes.
template <class Stage, class Plain>
void check_errors(const Stage& stage, const Plain& plain) {
  const PlainVolume exact = plain(false);
  Runtime wide(case_settings());
  CHECK(relative_error(stage(wide).values, exact.values) < 1e-5);

  const PlainVolume rounded = plain(true);
  const double plain_error =
      relative_error(std::vector<float>(rounded.values.begin(), rounded.values.end()), exact.values);
  Runtime narrow(case_settings(ltxmem::DType::bf16));
  const double error = relative_error(stage(narrow).values, exact.values);
  INFO("error " << error << ", plain evaluation " << plain_error);
  CHECK(error < 2.0 * plain_error);
  CHECK(error > 1e-4);  // it did run in bf16
}

void check_decoder(const std::string& model, const ltxmem::Extents<3>& cells) {
  const GoldenCheckpoint checkpoint(model);
  const HostVolume latent({cells[0], cells[1], cells[2], (*checkpoint).config().video_vae->latent_channels}, 1);
  check_errors(
      [&](Runtime& runtime) { return run_decode(runtime, *checkpoint, latent); },
      [&](bool bf16) { return PlainVideo(*checkpoint, bf16).decode(PlainVolume(latent.extents, latent.values)); });
}

void check_encoder(const std::string& model, const ltxmem::Extents<3>& pixels) {
  const GoldenCheckpoint checkpoint(model);
  const HostVolume video({pixels[0], pixels[1], pixels[2], 3}, 2);
  check_errors(
      [&](Runtime& runtime) { return run_encode(runtime, *checkpoint, video); },
      [&](bool bf16) { return PlainVideo(*checkpoint, bf16).encode(PlainVolume(video.extents, video.values)); });
}

}  // namespace

TEST_CASE("The 2.0 decoder equals a plain evaluation, in bf16 too") {
  check_decoder("ltx20_tiny", {2, 3, 2});
}
TEST_CASE("The 2.3 decoder equals a plain evaluation, in bf16 too") {
  check_decoder("ltx23_tiny", {3, 1, 2});
}
TEST_CASE("The 2.0 encoder equals a plain evaluation, in bf16 too") {
  check_encoder("ltx20_tiny", {9, 32, 64});
}
TEST_CASE("The 2.3 encoder equals a plain evaluation, in bf16 too") {
  check_encoder("ltx23_tiny", {9, 96, 32});
}

TEST_CASE("The upsampler equals a plain evaluation, in bf16 too") {
  const GoldenCheckpoint model("ltx23_tiny");
  const GoldenCheckpoint upsampler("upscaler_tiny");
  const HostVolume latent({2, 3, 5, 6}, 3);
  check_errors([&](Runtime& runtime) { return run_upsample(runtime, *model, *upsampler, latent); },
               [&](bool bf16) {
                 return PlainVideo(*model, bf16).upsample(*upsampler, PlainVolume(latent.extents, latent.values));
               });
}
