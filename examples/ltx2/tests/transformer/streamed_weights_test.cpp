// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/lora_file.hpp"
#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/transformer_example.hpp"

/// Blocks whose weights visit the device: no bit changes, every byte is planned, and a run ends cleanly at any point.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using ltxmem::test::same_bits;

constexpr std::int64_t layers = 5;

std::string text_of(const WeightPlacement& placement) {
  return "stream " + std::to_string(placement.stream) + ", slots " + std::to_string(placement.slots) + ", resident " +
         std::to_string(placement.resident_blocks) + ", in place " + std::to_string(placement.device_reads_files);
}

std::vector<WeightPlacement> placements() {
  std::vector<WeightPlacement> all;
  for (const std::int64_t slots : {1, 2, 3}) {
    for (const std::int64_t resident : {0, 1, 3, 5}) {
      all.push_back({.stream = true, .slots = slots, .resident_blocks = resident});
    }
  }
  all.push_back({.stream = true, .page_cache_bytes = 0});
  all.push_back({.device_reads_files = false});
  all.push_back({.stream = true, .slots = 1, .device_reads_files = false});
  return all;
}

Settings settings_with(const WeightPlacement& weights, ltxmem::DType dtype = ltxmem::DType::f32) {
  Settings settings = case_settings(dtype);
  settings.weights = weights;
  return settings;
}

/// Two calls, the second with a perturbation.
PassesResult run(MadeUpInput& input, const Checkpoint& checkpoint, const Settings& settings) {
  return run_passes(input, checkpoint, settings, 2,
                    [&](int call) { input.skips.assign(static_cast<std::size_t>(layers), {.video_self = call == 1}); });
}

void check_placements(const Checkpoint& checkpoint, ltxmem::DType dtype) {
  MadeUpInput input(*checkpoint.config().transformer, 2, 6, 6, 20);
  const PassesResult in_place = run(input, checkpoint, settings_with({}, dtype));
  for (const WeightPlacement& placement : placements()) {
    INFO(text_of(placement));
    const PassesResult result = run(input, checkpoint, settings_with(placement, dtype));
    CHECK(same_bits(result.values, in_place.values));
    CHECK(result.measured == result.planned);
    CHECK(result.measured[0] > in_place.measured[0]);
    CHECK(result.measured[1] > 0);
  }
}

std::size_t planned_device_bytes(const Checkpoint& checkpoint, const WeightPlacement& placement) {
  MadeUpInput input(*checkpoint.config().transformer, 2, 6, 6, 20);
  Runtime runtime(settings_with(placement, ltxmem::DType::bf16));
  return TransformerModel(runtime, checkpoint).plan(input.input(), input.output()).peak[0];
}

}  // namespace

TEST_CASE("Velocities have the same bits wherever the blocks' weights are, in f32", "[stream]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  check_placements(*checkpoint, ltxmem::DType::f32);
}

TEST_CASE("Velocities have the same bits wherever the blocks' weights are, in bf16", "[stream]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx20_tiny", layers));
  check_placements(*checkpoint, ltxmem::DType::bf16);
}

TEST_CASE("fp8 weights travel with their factors and give the same bits", "[stream]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_fp8", layers));
  check_placements(*checkpoint, ltxmem::DType::bf16);
  // 8 bits travel, not 16: all blocks on the device take less than twice their activations' type would.
  SynthesisedCheckpoint wide(tiny_transformer("ltx23_tiny", layers));
  CHECK(planned_device_bytes(*checkpoint, {.device_reads_files = false}) <
        planned_device_bytes(*wide, {.device_reads_files = false}));
}

TEST_CASE("LoRAs travel with their blocks and give the same bits", "[stream]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  const ScratchFolder folder;
  synthesise(read_description(golden_path("configs/lora_tiny.json")), folder / "lora.safetensors");
  ltxmem::HostResource resource;
  const auto lora = std::make_shared<LoraFile>(folder / "lora.safetensors", resource);
  MadeUpInput input(checkpoint.config(), 2, 6, 6, 20);
  const std::vector<float> without = run(input, *checkpoint, settings_with({})).values;
  const std::size_t bytes_without = planned_device_bytes(*checkpoint, {.stream = true, .slots = 1});
  (*checkpoint).add_lora(lora, 0.7F);
  (*checkpoint).add_lora(lora, -0.2F);
  CHECK_FALSE(same_bits(run(input, *checkpoint, settings_with({})).values, without));
  check_placements(*checkpoint, ltxmem::DType::f32);
  CHECK(planned_device_bytes(*checkpoint, {.stream = true, .slots = 1}) > bytes_without);
}

TEST_CASE("A model keeps the LoRAs that its checkpoint had when it was made", "[stream]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  const ScratchFolder folder;
  synthesise(read_description(golden_path("configs/lora_tiny.json")), folder / "lora.safetensors");
  ltxmem::HostResource resource;
  (*checkpoint).add_lora(std::make_shared<LoraFile>(folder / "lora.safetensors", resource), 0.7F);
  MadeUpInput input(checkpoint.config(), 2, 6, 6, 20);
  for (const WeightPlacement& placement : {WeightPlacement{}, WeightPlacement{.stream = true}}) {
    Runtime runtime(settings_with(placement));
    TransformerModel model(runtime, *checkpoint);
    model.predict(input.input(), input.output());
    const auto view = input.output().video;
    const std::vector<float> before(view.data(), view.data() + view.size());
    (*checkpoint).clear_loras();
    model.predict(input.input(), input.output());
    CHECK(same_bits(before, std::vector<float>(view.data(), view.data() + view.size())));
    (*checkpoint).add_lora(std::make_shared<LoraFile>(folder / "lora.safetensors", resource), 0.7F);
  }
}

TEST_CASE("On a device that does not read files all weights of the transformer are device bytes", "[stream]") {
  const Checkpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  std::size_t weights = 0;
  for (const StoredTensor& tensor : checkpoint.tensors().tensors()) weights += tensor.bytes;
  const std::size_t in_place = planned_device_bytes(checkpoint, {});
  const std::size_t resident = planned_device_bytes(checkpoint, {.device_reads_files = false});
  CHECK(resident >= in_place + weights);
  CHECK(resident < in_place + weights + 256 * checkpoint.tensors().tensors().size());
}

TEST_CASE("Each further resident block takes its bytes, and streaming less than all of them", "[stream]") {
  const Checkpoint checkpoint(tiny_transformer("ltx23_tiny", 8));
  std::size_t last = 0;
  std::optional<std::size_t> step;
  for (std::int64_t resident = 0; resident <= 5; ++resident) {
    const std::size_t bytes = planned_device_bytes(checkpoint, {.stream = true, .resident_blocks = resident});
    if (resident > 0) {
      if (step) CHECK(bytes - last == *step);
      step = bytes - last;
      CHECK(*step > 0);
    }
    last = bytes;
  }
  // Six of eight stay and two slots: all eight.
  CHECK(planned_device_bytes(checkpoint, {.stream = true, .resident_blocks = 6}) == last + *step);
}

TEST_CASE("A plan of one call transfers what is streamed, and reads from the disk what the page cache lacks",
          "[stream]") {
  const Checkpoint checkpoint(tiny_transformer("ltx23_tiny", 8));
  MadeUpInput input(*checkpoint.config().transformer, 2, 6, 6, 20);
  const auto plan = [&](const WeightPlacement& placement) {
    Runtime runtime(settings_with(placement));
    return TransformerModel(runtime, checkpoint).plan(input.input(), input.output()).operations;
  };
  const std::int64_t all = plan({.stream = true}).transfer_bytes;
  CHECK(all > 0);
  CHECK(plan({.stream = true, .resident_blocks = 4}).transfer_bytes == all / 2);
  CHECK(plan({.stream = true, .slots = 1}).transfer_bytes == all);
  CHECK(plan({}).transfer_bytes == 0);
  CHECK(plan({.device_reads_files = false}).transfer_bytes == 0);
  CHECK(plan({.stream = true}).disk_bytes == 0);  // room for everything
  CHECK(plan({.stream = true, .page_cache_bytes = 0}).disk_bytes == all);
  CHECK(plan({.stream = true, .page_cache_bytes = static_cast<std::size_t>(all) / 2}).disk_bytes == all / 2);
}

TEST_CASE("A file cut short during a run is an error of that run, and the next one is not harmed", "[stream]") {
  const ScratchFolder folder;
  const std::string path = folder / "model.safetensors";
  synthesise(tiny_transformer("ltx23_tiny", layers), path);
  ltxmem::HostResource resource;
  const Checkpoint checkpoint(path, resource);
  MadeUpInput input(*checkpoint.config().transformer, 2, 6, 6, 20);
  Runtime runtime(settings_with({.stream = true, .slots = 1, .device_reads_files = false}));
  TransformerModel model(runtime, checkpoint);
  const auto size = std::filesystem::file_size(path);
  const std::string whole = file_text(path);
  model.predict(input.input(), input.output());
  const auto view = input.output().video;
  const std::vector<float> before(view.data(), view.data() + view.size());
  std::filesystem::resize_file(path, size / 2);
  const std::string message = message_of<ltxmem::IoError>([&] {
    for (int call = 0; call < 2; ++call) model.predict(input.input(), input.output());
  });
  CHECK_THAT(message, Catch::Matchers::Contains(path) && Catch::Matchers::Contains("has become shorter"));
  write_text(path, whole);
  model.predict(input.input(), input.output());
  CHECK(same_bits(before, std::vector<float>(view.data(), view.data() + view.size())));
}

TEST_CASE("An interrupt ends a streamed pass at any point", "[stream]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  MadeUpInput input(checkpoint.config(), 2, 6, 6, 20);
  for (int delay = 0; delay < 12; ++delay) {
    std::stop_source stop;
    Runtime runtime(settings_with({.stream = true, .slots = 1 + delay % 2}), stop.get_token());
    TransformerModel model(runtime, *checkpoint);
    std::thread interrupt([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(300 * delay));
      stop.request_stop();
    });
    const auto calls = [&] {
      for (int call = 0; call < 1000; ++call) model.predict(input.input(), input.output());
    };
    CHECK_THROWS_AS(calls(), ltxmem::Cancelled);
    interrupt.join();
    CHECK_THROWS_AS(model.predict(input.input(), input.output()), ltxmem::Cancelled);
  }
}
