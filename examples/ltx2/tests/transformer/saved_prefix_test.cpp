// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "transformer/saved_prefix.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/transformer_example.hpp"

/// Passes of guidance that share their first blocks: the same bits from fewer blocks, wherever the prefix is kept.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using ltxmem::MemorySpace;
using ltxmem::test::same_bits;
using Role = SharedPrefix::Role;

constexpr std::int64_t layers = 4;
constexpr std::int64_t shared = 2;

/// Two steps of three passes each: conditional, unconditional (here: with another skip), perturbed in the third block.
PassesResult run_steps(MadeUpInput& input, const Checkpoint& checkpoint, const Settings& settings) {
  return run_passes(input, checkpoint, settings, 6, [&](int pass) {
    const Role role = std::array{Role::save, Role::keep, Role::resume}[static_cast<std::size_t>(pass % 3)];
    input.prefix = {shared, role};
    input.skips.assign(static_cast<std::size_t>(layers), {.audio_to_video = role == Role::keep});
    input.skips[shared].video_self = role == Role::resume;
  });
}

Settings settings_with(std::optional<MemorySpace> saved_prefix, Scheme scheme, ltxmem::DType dtype) {
  Settings settings = case_settings(dtype);
  settings.scheme = scheme;
  settings.query_tile = settings.key_tile = 256;
  settings.saved_prefix = saved_prefix;
  return settings;
}

}  // namespace

TEST_CASE("A saved prefix changes no bit, saves its blocks, and takes the planned bytes", "[prefix]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  MadeUpInput input(checkpoint.config(), 3, 13, 17, 40);
  SECTION("both modalities") {}
  SECTION("video alone") {
    input.without_audio = true;
  }
  SECTION("audio alone") {
    input.without_video = true;
  }
  SECTION("video rests") {
    input.video.input().enabled = false;
  }
  for (const ltxmem::DType dtype : {ltxmem::DType::f32, ltxmem::DType::bf16}) {
    for (const Scheme scheme : schemes) {
      const PassesResult computed = run_steps(input, *checkpoint, settings_with({}, scheme, dtype));
      for (const MemorySpace space : {MemorySpace::device, MemorySpace::pinned}) {
        INFO(scheme_name(scheme) << ", saved in " << memory_space_name(space) << " memory");
        const PassesResult saved = run_steps(input, *checkpoint, settings_with(space, scheme, dtype));
        CHECK(same_bits(saved.values, computed.values));
        CHECK(saved.flops < computed.flops);
        CHECK(saved.planned == saved.measured);
      }
    }
  }
}

TEST_CASE("A saved prefix costs the elements of both streams, no more", "[prefix]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  const TransformerConfig& config = checkpoint.config();
  MadeUpInput input(config, 4, 16, 16, 256);
  const PassesResult computed = run_steps(input, *checkpoint, settings_with({}, Scheme::e1, ltxmem::DType::bf16));
  const PassesResult device =
      run_steps(input, *checkpoint, settings_with(MemorySpace::device, Scheme::e1, ltxmem::DType::bf16));
  const PassesResult pinned =
      run_steps(input, *checkpoint, settings_with(MemorySpace::pinned, Scheme::e1, ltxmem::DType::bf16));
  const auto bytes = static_cast<std::size_t>(2 * (1024 * config.width() + 256 * config.audio_width()));
  const auto slots = static_cast<std::size_t>(2 * 2 * 256 * (config.width() + config.audio_width()));
  CHECK(device.planned[0] == computed.planned[0] + bytes);
  CHECK(device.planned[1] == computed.planned[1]);
  CHECK(pinned.planned[0] == computed.planned[0] + slots);
  CHECK(pinned.planned[1] == computed.planned[1] + bytes);
}

TEST_CASE("A saved prefix gives the same bits with streamed weights", "[prefix]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  MadeUpInput input(checkpoint.config(), 2, 6, 6, 20);
  Settings settings = settings_with({}, Scheme::e1, ltxmem::DType::bf16);
  const PassesResult computed = run_steps(input, *checkpoint, settings);
  settings.saved_prefix = MemorySpace::device;
  for (const std::int64_t resident : {0, 1, 3}) {
    settings.weights = {.stream = true, .slots = 2, .resident_blocks = resident};
    const PassesResult saved = run_steps(input, *checkpoint, settings);
    CHECK(same_bits(saved.values, computed.values));
    CHECK(saved.planned == saved.measured);
  }
}

TEST_CASE("A prefix that was not saved, or for other tokens, cannot be resumed", "[prefix]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  MadeUpInput input(checkpoint.config(), 2, 6, 6, 20);
  MadeUpInput longer(checkpoint.config(), 3, 6, 6, 20);
  Runtime runtime(settings_with(MemorySpace::device, Scheme::e1, ltxmem::DType::f32));
  TransformerModel model(runtime, *checkpoint);
  input.prefix = longer.prefix = {shared, Role::resume};
  CHECK_THROWS_WITH(model.predict(input.input(), input.output()), Catch::Matchers::Contains("no pass has saved"));
  input.prefix.role = Role::save;
  model.predict(input.input(), input.output());
  CHECK_THROWS_WITH(model.predict(longer.input(), longer.output()), Catch::Matchers::Contains("no pass has saved"));
}

TEST_CASE("A shared prefix is shorter than the transformer", "[prefix]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  MadeUpInput input(checkpoint.config(), 2, 6, 6, 20);
  Runtime runtime(settings_with({}, Scheme::e1, ltxmem::DType::f32));
  TransformerModel model(runtime, *checkpoint);
  input.prefix = {layers, Role::keep};
  CHECK_THROWS_WITH(model.predict(input.input(), input.output()),
                    Catch::Matchers::Contains("shared prefix of 4 blocks of 4"));
}
