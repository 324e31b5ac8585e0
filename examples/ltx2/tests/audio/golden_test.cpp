// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden_case.hpp"

namespace {

void check_encode(const std::string& name) {
  ltx2::test::check_golden_case("audio_encode", name, ltx2::run_audio_encode_case);
}
void check_decode(const std::string& name) {
  ltx2::test::check_golden_case("audio_decode", name, ltx2::run_audio_decode_case);
}
void check_vocode(const std::string& name) {
  ltx2::test::check_golden_case("vocode", name, ltx2::run_vocode_case);
}

}  // namespace

TEST_CASE("The 2.0 audio encoder gives the reference's latent of a spectrogram", "[golden]") {
  check_encode("v20_mel_37");
}
TEST_CASE("The 2.0 audio encoder gives the reference's spectrogram and latent of a waveform", "[golden]") {
  check_encode("v20_waveform");
}
TEST_CASE("The 2.3 audio encoder gives the reference's latent of a spectrogram", "[golden]") {
  check_encode("v23_mel_29");
}
TEST_CASE("The 2.3 audio encoder gives the reference's spectrogram and latent of a waveform", "[golden]") {
  check_encode("v23_waveform");
}
TEST_CASE("The 2.0 audio decoder gives the reference's spectrogram", "[golden]") {
  check_decode("v20_5");
}
TEST_CASE("The 2.3 audio decoder gives the reference's spectrogram", "[golden]") {
  check_decode("v23_4");
}
TEST_CASE("The 2.0 vocoder gives the reference's waveform", "[golden]") {
  check_vocode("v20_11");
}
TEST_CASE("The 2.3 vocoder with bandwidth extension gives the reference's waveform", "[golden]") {
  check_vocode("v23_9");
}
