// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/support/video_example.hpp"
#include "video_vae/decoder.hpp"

/// A clip a few frames at a time against the same clip in one turn: equal bits, and memory that does not know how long
/// the clip is.

namespace {

using namespace ltx2;
using namespace ltx2::test;

/// Latent frames per turn: more than any clip here.
constexpr std::int64_t whole_clip = 100;

Settings in_turns(std::int64_t frames, ltxmem::DType dtype = ltxmem::DType::f32) {
  Settings settings = case_settings(dtype);
  settings.decode_frames = frames;
  return settings;
}

void check_decode(const std::string& model, const ltxmem::Extents<3>& cells, ltxmem::DType dtype) {
  const GoldenCheckpoint checkpoint(model);
  const HostVolume latent({cells[0], cells[1], cells[2], (*checkpoint).config().video_vae->latent_channels}, 1);
  Runtime whole(in_turns(whole_clip, dtype));
  const HostVolume expected = run_decode(whole, *checkpoint, latent);
  for (const std::int64_t frames : {1, 2, 3, 4}) {
    Runtime runtime(in_turns(frames, dtype));
    INFO(cells[0] << " latent frames, " << frames << " at a time");
    const bool equal = run_decode(runtime, *checkpoint, latent).values == expected.values;
    CHECK(equal);
  }
}

void check_encode(const std::string& model, const ltxmem::Extents<3>& pixels, ltxmem::DType dtype) {
  const GoldenCheckpoint checkpoint(model);
  const HostVolume video({pixels[0], pixels[1], pixels[2], 3}, 2);
  Runtime whole(in_turns(whole_clip, dtype));
  const HostVolume expected = run_encode(whole, *checkpoint, video);
  for (const std::int64_t frames : {1, 2, 3, 4}) {
    Runtime runtime(in_turns(frames, dtype));
    INFO(pixels[0] << " frames, " << frames << " latent frames at a time");
    const bool equal = run_encode(runtime, *checkpoint, video).values == expected.values;
    CHECK(equal);
  }
}

Runtime::Plan planned_decode(std::int64_t frames, const ltxmem::Extents<3>& cells) {
  const Checkpoint checkpoint = true_autoencoder();
  const Runtime runtime(in_turns(frames, ltxmem::DType::bf16));
  return plan_decode_video(runtime, checkpoint, {cells[0], cells[1], cells[2], 128});
}

Runtime::Plan planned_encode(std::int64_t frames, const ltxmem::Extents<3>& pixels) {
  const Checkpoint checkpoint = true_autoencoder();
  const Runtime runtime(in_turns(frames, ltxmem::DType::bf16));
  return plan_encode_video(runtime, checkpoint, {pixels[0], pixels[1], pixels[2], 3});
}

}  // namespace

TEST_CASE("Decoding a 2.0 clip in turns gives the bits of decoding it whole") {
  for (const std::int64_t frames : {1, 2, 5}) check_decode("ltx20_tiny", {frames, 3, 2}, ltxmem::DType::f32);
}
TEST_CASE("Decoding a 2.3 clip in turns gives the bits of decoding it whole") {
  for (const std::int64_t frames : {1, 2, 5}) check_decode("ltx23_tiny", {frames, 1, 3}, ltxmem::DType::f32);
}
TEST_CASE("Decoding in turns gives the same bits in bf16 as well, and for clips longer than the layers reach") {
  check_decode("ltx23_tiny", {19, 1, 1}, ltxmem::DType::bf16);
}
TEST_CASE("Encoding a 2.0 clip in turns gives the bits of encoding it whole") {
  for (const std::int64_t frames : {1, 9, 33}) check_encode("ltx20_tiny", {frames, 32, 64}, ltxmem::DType::f32);
}
TEST_CASE("Encoding a 2.3 clip in turns gives the bits of encoding it whole, in bf16 too") {
  check_encode("ltx23_tiny", {41, 32, 32}, ltxmem::DType::f32);
  check_encode("ltx23_tiny", {25, 64, 32}, ltxmem::DType::bf16);
}

TEST_CASE("Decoding in turns with a decoder that only looks back gives the bits of decoding whole") {
  const GoldenCheckpoint checkpoint("ltx20_tiny");
  const HostVolume latent({6, 2, 2, 4}, 7);
  VideoVaeConfig config = *(*checkpoint).config().video_vae;
  config.causal_decoder = true;
  const auto decode = [&](std::int64_t frames) {
    std::vector<float> values;
    Runtime runtime(in_turns(frames));
    runtime.run("causal decode", [&](auto& backend, ltxmem::Workspace& workspace) {
      using Backend = std::decay_t<decltype(backend)>;
      const VideoDecoder<float, Backend> decoder(config, (*checkpoint).prefixed("vae."));
      decoder(backend, latent.view(), {frames, 0}, workspace, [&](Backend&, ltxmem::TensorView<const float, 4> next) {
        if constexpr (std::is_same_v<Backend, HostBackend>) {
          values.insert(values.end(), next.data(), next.data() + next.size());
        }
      });
    });
    return values;
  };
  const std::vector<float> whole = decode(whole_clip);
  CHECK(whole.size() == std::size_t{41 * 64 * 64 * 3});
  for (const std::int64_t frames : {1, 2, 4}) {
    const bool equal = decode(frames) == whole;
    CHECK(equal);
  }
}

TEST_CASE("Frames come in order, in turns, and none is missing") {
  const GoldenCheckpoint checkpoint("ltx23_tiny");
  const HostVolume latent({7, 1, 1, 6}, 3);
  Runtime runtime(in_turns(2));
  std::vector<std::int64_t> turns;
  std::vector<float> values;
  decode_video(runtime, *checkpoint, latent.view(), [&](ltxmem::TensorView<const float, 4> frames) {
    turns.push_back(frames.extent(0));
    values.insert(values.end(), frames.data(), frames.data() + frames.size());
  });
  std::int64_t sum = 0;
  for (const std::int64_t frames : turns) {
    CHECK((frames >= 1 && frames <= 16));
    sum += frames;
  }
  CHECK(turns.size() >= 4);
  CHECK(sum == 49);
  const bool equal = values == run_decode(runtime, *checkpoint, latent).values;
  CHECK(equal);
}

TEST_CASE("What a consumer of frames throws ends the decoding") {
  const GoldenCheckpoint checkpoint("ltx23_tiny");
  const HostVolume latent({5, 1, 1, 6}, 3);
  Runtime runtime(in_turns(1));
  int calls = 0;
  const auto refuse = [&](ltxmem::TensorView<const float, 4>) {
    ++calls;
    throw ltxmem::IoError("disk full");
  };
  CHECK_THROWS_AS(decode_video(runtime, *checkpoint, latent.view(), refuse), ltxmem::IoError);
  CHECK(calls == 1);
}

TEST_CASE("The planned memory of decoding does not depend on the length of the clip") {
  const Runtime::Plan frames_9 = planned_decode(1, {2, 17, 30});
  CHECK(frames_9.peak == planned_decode(1, {5, 17, 30}).peak);
  CHECK(frames_9.peak == planned_decode(1, {17, 17, 30}).peak);
  CHECK(frames_9.peak == planned_decode(1, {1251, 17, 30}).peak);
  CHECK(planned_decode(3, {5, 17, 30}).peak == planned_decode(3, {400, 17, 30}).peak);
  CHECK(frames_9.peak[0] < planned_decode(3, {17, 17, 30}).peak[0]);
}

TEST_CASE("The planned memory of encoding does not depend on the length of the clip") {
  const Runtime::Plan frames_9 = planned_encode(1, {9, 544, 960});
  CHECK(frames_9.peak == planned_encode(1, {33, 544, 960}).peak);
  CHECK(frames_9.peak == planned_encode(1, {129, 544, 960}).peak);
  CHECK(frames_9.peak == planned_encode(1, {10001, 544, 960}).peak);
}

TEST_CASE("Decoding works the same whether the clip comes whole or in turns: no frame is computed twice") {
  for (const std::int64_t frames : {1, 2, 5}) {
    INFO(frames << " latent frames at a time");
    const double whole = static_cast<double>(planned_decode(whole_clip, {40, 4, 4}).operations.flops);
    const double turns = static_cast<double>(planned_decode(frames, {40, 4, 4}).operations.flops);
    CHECK(turns >= whole);
    CHECK(turns < 1.001 * whole);  // the norms see frames that are carried over again
  }
}

TEST_CASE("A clip in one turn needs three tensors of the finest stage and a little") {
  // 2.3 blocks with the tiny lists' order: the last stage has 128 channels at a quarter of the pixels' resolution.
  const std::size_t tensor = std::size_t{8 * 4 - 7} * (8 * 17) * (8 * 30) * 128 * sizeof(ltxmem::bfloat16);
  const std::size_t planned = planned_decode(4, {4, 17, 30}).peak[0];
  CHECK(planned > 3 * tensor);
  CHECK(planned < 3 * tensor + (std::size_t{48} << 20));  // the convolution's workspace does not grow with the clip
}

TEST_CASE("A long clip needs three tensors of one turn at the finest stage, and the frames carried over") {
  const std::size_t frame = std::size_t{8 * 17} * (8 * 30) * 128 * sizeof(ltxmem::bfloat16);
  const std::size_t planned = planned_decode(1, {1251, 17, 30}).peak[0];
  const std::size_t turn = 3 * (8 + 2) * frame;
  CHECK(planned > turn);
  CHECK(planned < turn + 40 * frame + (std::size_t{48} << 20));
}
