// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden_case.hpp"

namespace {

void check_encode(const std::string& name) {
  ltx2::test::check_golden_case("video_encode", name, ltx2::run_video_encode_case);
}
void check_decode(const std::string& name) {
  ltx2::test::check_golden_case("video_decode", name, ltx2::run_video_decode_case);
}

}  // namespace

TEST_CASE("The 2.0 encoder gives the reference's latent of an image", "[golden]") {
  check_encode("v20_1x64x96");
}
TEST_CASE("The 2.0 encoder gives the reference's latent of a clip", "[golden]") {
  check_encode("v20_17x64x64");
}
TEST_CASE("The 2.3 encoder gives the reference's latent of an image", "[golden]") {
  check_encode("v23_1x96x64");
}
TEST_CASE("The 2.3 encoder gives the reference's latent of a clip", "[golden]") {
  check_encode("v23_9x64x96");
}
TEST_CASE("The 2.0 decoder gives the reference's image", "[golden]") {
  check_decode("v20_1x2x3");
}
TEST_CASE("The 2.0 decoder gives the reference's clip", "[golden]") {
  check_decode("v20_3x2x2");
}
TEST_CASE("The 2.3 decoder gives the reference's image", "[golden]") {
  check_decode("v23_1x3x2");
}
TEST_CASE("The 2.3 decoder gives the reference's clip", "[golden]") {
  check_decode("v23_2x2x3");
}
