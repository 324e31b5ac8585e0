// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <stop_token>
#include <vector>

#include "support/catch.hpp"
#include "support/numbers.hpp"
#include "tests/support/golden_case.hpp"
#include "text/encode_prompt.hpp"

/// The text models with weights that are not used where the file is mapped: no bit changes.
#include "text/tokenizer.hpp"

namespace {

using namespace ltx2;
using namespace ltx2::test;
using ltxmem::test::same_bits;

std::vector<WeightPlacement> placements() {
  std::vector<WeightPlacement> all;
  for (const std::int64_t slots : {1, 2, 3}) all.push_back({.stream = true, .slots = slots});
  all.push_back({.stream = true, .page_cache_bytes = 0});
  all.push_back({.device_reads_files = false});
  return all;
}

struct Models {
  ltxmem::HostResource resource;
  Checkpoint gemma{golden_models() / "gemma_tiny", resource};
  Checkpoint model{golden_models() / "ltx23_tiny.safetensors", resource};
};

Settings settings_with(const WeightPlacement& weights, ltxmem::DType dtype) {
  Settings settings = case_settings(dtype);
  settings.weights = weights;
  return settings;
}

struct Encoded {
  std::vector<float> video;
  std::vector<float> audio;
  StageReport stage;
};

Encoded encode(const Models& models, const Settings& settings, std::stop_token stop = {}) {
  Runtime runtime(settings, stop);
  const Tokenizer tokenizer(golden_path("models/gemma_tiny/tokenizer.model"));
  const std::int64_t length = 128;
  const std::int64_t video_width = models.model.config().video_connector->width();
  const std::int64_t audio_width = models.model.config().audio_connector->width();
  Encoded encoded;
  encoded.video.resize(static_cast<std::size_t>(length * video_width));
  encoded.audio.resize(static_cast<std::size_t>(length * audio_width));
  encode_prompt(runtime, tokenizer.encode("A quiet street in the rain at night.", length), models.gemma, models.model,
                {{encoded.video.data(), {length, video_width}}, {encoded.audio.data(), {length, audio_width}}});
  encoded.stage = runtime.report().stages.back();
  return encoded;
}

}  // namespace

TEST_CASE("a prompt has the same contexts wherever the weights of the text models are", "[stream]") {
  const Models models;
  for (const ltxmem::DType dtype : {ltxmem::DType::f32, ltxmem::DType::bf16}) {
    const Encoded in_place = encode(models, settings_with({}, dtype));
    CHECK(in_place.stage.measured_peak[1] == 0);
    for (const WeightPlacement& placement : placements()) {
      INFO("stream " << placement.stream << ", slots " << placement.slots);
      const Encoded encoded = encode(models, settings_with(placement, dtype));
      CHECK(same_bits(encoded.video, in_place.video));
      CHECK(same_bits(encoded.audio, in_place.audio));
      CHECK(encoded.stage.measured_peak == encoded.stage.planned_peak);
      CHECK(encoded.stage.measured_peak[0] > in_place.stage.measured_peak[0]);
      CHECK(encoded.stage.measured_peak[1] > 0);
    }
  }
}

TEST_CASE("hidden states have the same bits when Gemma's layers are streamed", "[stream]") {
  const Models models;
  const GemmaConfig& config = *models.gemma.config().gemma;
  const std::vector<std::int32_t> ids{2, 5, 9, 40, 41, 42, 7};
  const ltxmem::Extents<3> extents{config.layers + 1, 7, config.hidden_size};
  const auto run = [&](const WeightPlacement& placement) {
    std::vector<float> hidden(static_cast<std::size_t>(extents[0] * extents[1] * extents[2]));
    Runtime runtime(settings_with(placement, ltxmem::DType::f32));
    run_gemma(runtime, models.gemma, ids, {hidden.data(), extents});
    return hidden;
  };
  const std::vector<float> expected = run({});
  for (const WeightPlacement& placement : placements()) CHECK(same_bits(run(placement), expected));
}

TEST_CASE("a plan of encoding a prompt counts the slots, from descriptions alone", "[stream]") {
  const Checkpoint gemma(read_description(golden_path("configs/gemma_tiny.json")));
  const Checkpoint model(read_description(golden_path("configs/ltx23_tiny.json")));
  const auto planned = [&](const WeightPlacement& placement) {
    Runtime runtime(settings_with(placement, ltxmem::DType::bf16));
    return plan_encode_prompt(runtime, gemma, model, 20, 128);
  };
  const Runtime::Plan in_place = planned({});
  const Runtime::Plan one = planned({.stream = true, .slots = 1});
  const Runtime::Plan two = planned({.stream = true, .slots = 2});
  CHECK(in_place.operations.transfer_bytes == 0);
  CHECK(in_place.operations.disk_bytes == 0);
  CHECK(one.operations.transfer_bytes > 0);
  CHECK(two.operations.transfer_bytes == one.operations.transfer_bytes);
  CHECK(two.operations.disk_bytes == two.operations.transfer_bytes);
  CHECK(in_place.peak[0] < one.peak[0]);
  CHECK(one.peak[0] < two.peak[0]);
  CHECK(one.peak[1] > 0);
}

TEST_CASE("an interrupt ends a streamed prompt", "[stream]") {
  const Models models;
  std::stop_source stop;
  stop.request_stop();
  CHECK_THROWS_AS(encode(models, settings_with({.stream = true}, ltxmem::DType::f32), stop.get_token()),
                  ltxmem::Cancelled);
}
