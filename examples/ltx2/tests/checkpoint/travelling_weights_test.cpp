// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/travelling_weights.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/lora_file.hpp"
#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"

namespace {

using namespace ltx2;
using namespace ltx2::test;

constexpr WeightPlacement streamed{.stream = true};

/// A block of a model in memory of its own.
struct Copied {
  Copied(const ModelBlocks& blocks, std::int64_t block)
      : bytes(blocks.blocks()[static_cast<std::size_t>(block)].bytes()) {
    blocks.blocks()[static_cast<std::size_t>(block)].read(0, bytes);
  }
  bool holds(const void* data, std::size_t size) const {
    const auto* begin = static_cast<const std::byte*>(data);
    return begin >= bytes.data() && begin + size <= bytes.data() + bytes.size();
  }
  bool holds(const ltxmem::WeightMatrix& matrix) const {
    return holds(matrix.data, static_cast<std::size_t>(matrix.rows * matrix.columns) * dtype_bytes(matrix.dtype));
  }

  std::vector<std::byte> bytes;
};

bool same_bytes(const ltxmem::WeightMatrix& a, const ltxmem::WeightMatrix& b) {
  return a.dtype == b.dtype && a.rows == b.rows && a.columns == b.columns && a.row_stride == a.columns &&
         std::memcmp(a.data, b.data, static_cast<std::size_t>(a.rows * a.columns) * dtype_bytes(a.dtype)) == 0;
}

std::vector<std::string> transformer_prefixes(const Checkpoint& checkpoint) {
  return numbered_prefixes("model.diffusion_model.transformer_blocks.", checkpoint.config().transformer->layers);
}

}  // namespace

TEST_CASE("A scope of a copied block finds matrices, vectors, factors and LoRAs there and nowhere else", "[stream]") {
  ltxmem::HostResource resource;
  Checkpoint checkpoint(golden_models() / "ltx23_fp8.safetensors", resource);
  const ScratchFolder folder;
  synthesise(read_description(golden_path("configs/lora_tiny.json")), folder / "lora.safetensors");
  checkpoint.add_lora(std::make_shared<LoraFile>(folder / "lora.safetensors", resource), 0.5F);
  const ModelBlocks blocks(checkpoint, transformer_prefixes(checkpoint), streamed);
  const Copied copy(blocks, 0);
  const std::int64_t width = checkpoint.config().transformer->width();

  const WeightScope attention = blocks.at(0, copy.bytes.data()).scope("attn1");
  const WeightScope original = blocks.in_place(0).scope("attn1");
  const LinearWeights layer = attention.linear("to_q", width, width);
  const LinearWeights expected = original.linear("to_q", width, width);
  CHECK(layer.weight.dtype == ltxmem::DType::f8_e4m3);
  CHECK(copy.holds(layer.weight));
  CHECK(same_bytes(layer.weight, expected.weight));
  REQUIRE(layer.weight.scale != nullptr);
  CHECK(copy.holds(layer.weight.scale, sizeof(float)));
  CHECK(*layer.weight.scale == *expected.weight.scale);
  CHECK(copy.holds(layer.bias.data, static_cast<std::size_t>(layer.bias.size) * dtype_bytes(layer.bias.dtype)));
  REQUIRE(layer.loras.size() == 1);
  CHECK(copy.holds(layer.loras[0].a));
  CHECK(copy.holds(layer.loras[0].b));
  CHECK(same_bytes(layer.loras[0].b, expected.loras[0].b));
  const ltxmem::WeightVector norm = attention.vector("q_norm.weight", width);
  CHECK(copy.holds(norm.data, static_cast<std::size_t>(norm.size) * dtype_bytes(norm.dtype)));
  CHECK(norm[3] == original.vector("q_norm.weight", width)[3]);
  const ltxmem::WeightMatrix table =
      blocks.at(0, copy.bytes.data()).matrix("scale_shift_table", checkpoint.config().transformer->adaln_rows(), width);
  CHECK(copy.holds(table));
}

TEST_CASE("Tensors of a copied block are aligned like buffers", "[stream]") {
  ltxmem::HostResource resource;
  const Checkpoint checkpoint(golden_models() / "ltx23_tiny.safetensors", resource);
  const ModelBlocks blocks(checkpoint, transformer_prefixes(checkpoint), streamed);
  for (const ltxmem::WeightBlock& block : blocks.blocks()) {
    for (std::size_t i = 0; i < block.pieces(); ++i) CHECK(block.offset(i) % ltxmem::buffer_alignment == 0);
  }
}

TEST_CASE("A weight that its block lacks is an error, not a read of the file", "[stream]") {
  ltxmem::HostResource resource;
  const Checkpoint checkpoint(golden_models() / "ltx23_tiny.safetensors", resource);
  const std::int64_t width = checkpoint.config().transformer->width();
  const ModelBlocks blocks(checkpoint, {"model.diffusion_model.transformer_blocks."}, streamed, {"1."});
  const Copied copy(blocks, 0);
  const WeightScope all = blocks.at(0, copy.bytes.data());
  CHECK_NOTHROW(all.scope("0").scope("attn1").linear("to_q", width, width));
  CHECK_THROWS_AS(all.scope("1").scope("attn1").linear("to_q", width, width), ltxmem::Error);
}

TEST_CASE("Blocks without tensors are refused by name", "[stream]") {
  ltxmem::HostResource resource;
  const Checkpoint checkpoint(golden_models() / "ltx23_tiny.safetensors", resource);
  CHECK_THROWS_WITH(ModelBlocks(checkpoint, {"model.nowhere."}, streamed),
                    Catch::Matchers::Contains("no tensors below model.nowhere."));
}

TEST_CASE("Weights used in place are listed nowhere", "[stream]") {
  ltxmem::HostResource resource;
  const Checkpoint checkpoint(golden_models() / "ltx23_tiny.safetensors", resource);
  const ModelBlocks blocks(checkpoint, transformer_prefixes(checkpoint), {});
  CHECK(blocks.blocks().empty());
  CHECK(blocks.size() == checkpoint.config().transformer->layers);
}

TEST_CASE("The page cache plan of a model covers what is streamed", "[stream]") {
  ltxmem::HostResource resource;
  const Checkpoint checkpoint(golden_models() / "ltx23_tiny.safetensors", resource);
  const auto plan = [&](std::int64_t resident, std::size_t cache) {
    const WeightPlacement placement{.stream = true, .resident_blocks = resident, .page_cache_bytes = cache};
    return ModelBlocks(checkpoint, transformer_prefixes(checkpoint), placement).page_cache();
  };
  const std::int64_t layers = checkpoint.config().transformer->layers;
  const ltxmem::PageCachePlan all = plan(0, 0);
  CHECK(all.cached_blocks == 0);
  CHECK(all.first_pass_bytes == all.bytes_per_later_pass);
  CHECK(plan(0, all.first_pass_bytes).cached_blocks == layers);
  CHECK(plan(0, all.first_pass_bytes - 1).cached_blocks == layers - 1);
  CHECK(plan(1, 0).first_pass_bytes < all.first_pass_bytes);
}
