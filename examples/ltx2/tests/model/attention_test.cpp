// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "model/attention.hpp"

#include <cstring>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "support/catch.hpp"
#include "tests/support/transformer_example.hpp"

/// The steps of an attention layer; its numbers are checked with the whole transformer.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Backend = ltxmem::CpuBackend<>;
using Layer = Attention<float, Backend>;

constexpr std::int64_t width = 64;

/// The video self attention of a tiny model, with inputs.
struct Example {
  explicit Example(std::int64_t tokens, bool gated = true)
      : layer((*checkpoint).prefixed("model.diffusion_model.transformer_blocks.0.attn1."),
              {.heads = 4, .head_dim = 16, .query_inputs = width, .key_inputs = width, .gated = gated},
              whole_heads(alone, 4)),
        values(ltxmem::test::random_values<float>(tokens * width, 3)),
        x(values.data(), {tokens, width}) {}

  /// Attention of some queries over all tokens, added to zeros.
  std::vector<float> attend(std::int64_t begin, std::int64_t count) {
    const auto scope = arena.scope();
    const std::int64_t tokens = x.extent(0);
    const auto k = arena.take<float, 2>("keys", {tokens, width});
    const auto v = arena.take<float, 2>("values", {tokens, width});
    layer.keys(backend, x, {}, k, arena);
    layer.values(backend, x, v, arena);
    ltxmem::ResidentRowStore<float> keys(k);
    ltxmem::ResidentRowStore<float> kept(v);
    std::vector<float> y(static_cast<std::size_t>(count * width));
    layer.attend(backend, x.rows(begin, count), {}, keys, kept, {}, 256, {}, {y.data(), {count, width}}, arena);
    return y;
  }

  std::vector<float> pass_values(ltxmem::TensorView<const float, 2> input) {
    std::vector<float> y(static_cast<std::size_t>(input.size()));
    layer.pass_values(backend, input, {}, {y.data(), input.extents()}, arena);
    return y;
  }

  SynthesisedCheckpoint checkpoint{tiny_transformer("ltx23_tiny", 1)};
  ltxmem::SingleRank alone;
  Layer layer;
  std::vector<float> values;
  ltxmem::TensorView<const float, 2> x;
  Backend backend;
  ltxmem::HostResource resource;
  ltxmem::Arena arena{resource, 1 << 24};
};

}  // namespace

TEST_CASE("A tile of queries gets what it gets among all queries", "[attention]") {
  Example example(700);
  const std::vector<float> all = example.attend(0, 700);
  const std::vector<float> part = example.attend(256, 256);
  CHECK(std::memcmp(part.data(), all.data() + 256 * width, part.size() * sizeof(float)) == 0);
}

TEST_CASE("Gates lie between zero and two", "[attention]") {
  Example example(50);
  const auto gate = example.layer.gate(example.backend, example.x, example.arena);
  REQUIRE(gate.extents() == ltxmem::Extents<2>{50, 4});
  for (std::int64_t row = 0; row < 50; ++row) {
    for (std::int64_t head = 0; head < 4; ++head) {
      CHECK(gate(row, head) > 0.0F);
      CHECK(gate(row, head) < 2.0F);
    }
  }
}

TEST_CASE("A layer without gates makes none", "[attention]") {
  Example example(5, false);
  CHECK_FALSE(example.layer.gated());
  CHECK(example.layer.gate(example.backend, example.x, example.arena).empty());
}

TEST_CASE("One token attends to itself: attention passes its value on", "[attention]") {
  Example example(1);
  const std::vector<float> attended = example.attend(0, 1);
  const std::vector<float> passed = example.pass_values(example.x);
  for (std::size_t i = 0; i < attended.size(); ++i) CHECK(attended[i] == Approx(passed[i]).margin(1e-6));
}

TEST_CASE("With values passed on no token sees another", "[attention]") {
  Example example(300);
  const std::vector<float> all = example.pass_values(example.x);
  const std::vector<float> alone = example.pass_values(example.x.rows(256, 1));
  CHECK(std::memcmp(alone.data(), all.data() + 256 * width, alone.size() * sizeof(float)) == 0);
}

TEST_CASE("An attention layer leaves its arena as it was", "[attention]") {
  Example example(30);
  example.attend(0, 30);
  example.pass_values(example.x);
  CHECK(example.arena.used_bytes() == 0);
}
