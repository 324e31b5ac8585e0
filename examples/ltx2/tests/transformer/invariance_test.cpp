// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/transformer_example.hpp"

/// Tiles, chunks and threads are choices of execution: they change no bit.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using ltxmem::test::same_bits;

void check_invariance(MadeUpInput& input, const Checkpoint& checkpoint, ltxmem::DType dtype) {
  const std::vector<float> whole = run(input, checkpoint, dtype, {1 << 20, 1 << 20, 1 << 20, 1});
  for (const Execution& how : {Execution{256, 256, 256, 1}, Execution{512, 1024, 300, 2}, Execution{1, 1, 1, 3},
                               Execution{1024, 512, 4096, 2}, Execution{768, 4096, 512, 1}}) {
    INFO("query tile " << how.query_tile << ", key tile " << how.key_tile << ", chunk " << how.ffn_chunk << ", "
                       << how.threads << " threads");
    CHECK(same_bits(run(input, checkpoint, dtype, how), whole));
  }
}

}  // namespace

TEST_CASE("Two thousand tokens have the same velocities in f32, however they are cut", "[invariance]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 9, 15, 16, 600, 300);
  input.video.condition_first(240, 0.1F);
  check_invariance(input, *checkpoint, ltxmem::DType::f32);
}

TEST_CASE("Two thousand tokens have the same velocities in bf16, however they are cut", "[invariance]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 9, 15, 16, 600, 300);
  input.video.condition_first(240, 0.1F);
  check_invariance(input, *checkpoint, ltxmem::DType::bf16);
}

TEST_CASE("The 2.0 model in bf16 has the same velocities, however it is cut", "[invariance]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx20_tiny", 2));
  MadeUpInput input(checkpoint.config(), 5, 15, 16, 300);
  check_invariance(input, *checkpoint, ltxmem::DType::bf16);
}

TEST_CASE("An fp8 model with perturbations has the same velocities, however it is cut", "[invariance]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_fp8", 2));
  MadeUpInput input(checkpoint.config(), 3, 15, 16, 300);
  input.skips = {{.video_self = true}, {.audio_to_video = true}};
  check_invariance(input, *checkpoint, ltxmem::DType::f32);
}

TEST_CASE("A masked model has the same velocities, however it is cut", "[invariance]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 1));
  MadeUpInput input(checkpoint.config(), 3, 15, 16, 20);
  std::vector<float> mask = ltxmem::test::random_values<float>(720 * 720, 4);
  input.video.input().attention_mask = {mask.data(), {720, 720}};
  check_invariance(input, *checkpoint, ltxmem::DType::f32);
}

TEST_CASE("A second call gives the bits of the first", "[invariance]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 2, 10, 10, 30);
  Runtime runtime(case_settings());
  TransformerModel model(runtime, *checkpoint);
  model.predict(input.input(), input.output());
  const auto first = input.output().video;
  const std::vector<float> kept(first.data(), first.data() + first.size());
  input.skips = {{.video_self = true}, {}};  // another pass in between
  model.predict(input.input(), input.output());
  CHECK_FALSE(same_bits(kept, std::vector<float>(first.data(), first.data() + first.size())));
  input.skips = {};
  model.predict(input.input(), input.output());
  CHECK(same_bits(kept, std::vector<float>(first.data(), first.data() + first.size())));
}
