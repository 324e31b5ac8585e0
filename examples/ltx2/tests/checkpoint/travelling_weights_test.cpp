// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/travelling_weights.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/lora_file.hpp"
#include "ltxmem/core/resource.hpp"
#include "model/head_share.hpp"
#include "plan/known_models.hpp"
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

namespace {

/// The same elements, wherever the rows lie.
bool same_elements(const ltxmem::WeightMatrix& a, const ltxmem::WeightMatrix& b) {
  if (a.dtype != b.dtype || a.rows != b.rows || a.columns != b.columns) return false;
  const std::size_t element = dtype_bytes(a.dtype);
  for (std::int64_t row = 0; row < a.rows; ++row) {
    if (std::memcmp(a.data + static_cast<std::size_t>(row * a.row_stride) * element,
                    b.data + static_cast<std::size_t>(row * b.row_stride) * element,
                    static_cast<std::size_t>(a.columns) * element) != 0)
      return false;
  }
  return true;
}

bool same_elements(const LinearWeights& a, const LinearWeights& b) {
  bool same = same_elements(a.weight, b.weight) && a.bias.size == b.bias.size && a.loras.size() == b.loras.size();
  for (std::int64_t i = 0; same && i < a.bias.size; ++i) same = a.bias[i] == b.bias[i];
  for (std::size_t i = 0; same && i < a.loras.size(); ++i) {
    same = same_elements(a.loras[i].a, b.loras[i].a) && same_elements(a.loras[i].b, b.loras[i].b);
  }
  return same;
}

/// Blocks with what a rank wants of them that shares the heads.
ModelBlocks blocks_of_rank(const Checkpoint& checkpoint, const ltxmem::Partition& heads, int rank) {
  return {checkpoint,
          transformer_prefixes(checkpoint),
          streamed,
          {},
          [part = HeadPart(heads, rank)](const StoredTensor& tensor) { return part.of_tensor(tensor); }};
}

/// Bytes of a block of LTX-2.3 on a rank with a whole share of so many, each tensor rounded up, all in bf16.
std::size_t block_bytes(const TransformerConfig& config, std::int64_t shares, bool is_last) {
  std::size_t sum = 0;
  const auto add = [&](std::int64_t rows, std::int64_t columns = 1) {
    sum += ltxmem::aligned_bytes(static_cast<std::size_t>(rows * columns) * 2);
  };
  const auto attention = [&](std::int64_t query, std::int64_t key, std::int64_t inner) {
    const std::int64_t own = inner / shares;
    add(own, query);
    add(own, key);
    add(own, key);
    for (int vector = 0; vector < 5; ++vector) add(own);  // three biases and two norms
    add(query, own);
    if (is_last) add(query);
    add(config.heads / shares, query);
    add(config.heads / shares);
  };
  const auto stream = [&](std::int64_t width, std::int64_t context) {
    attention(width, width, width);
    attention(width, context, width);
    add(4 * width / shares, width);
    add(4 * width / shares);
    add(width, 4 * width / shares);
    if (is_last) add(width);
    add(config.adaln_rows(), width);
    add(2, width);  // of the prompt
    add(5, width);  // cross-modal
  };
  stream(config.width(), config.cross_attention_dim);
  stream(config.audio_width(), config.audio_cross_attention_dim);
  attention(config.width(), config.audio_width(), config.audio_width());
  attention(config.audio_width(), config.width(), config.audio_width());
  return sum;
}

}  // namespace

TEST_CASE("A rank that shares heads finds its parts of layers, fp8 and LoRAs, in a copy that holds no more",
          "[stream]") {
  ltxmem::HostResource resource;
  Checkpoint checkpoint(golden_models() / "ltx23_fp8.safetensors", resource);
  const ScratchFolder folder;
  synthesise(read_description(golden_path("configs/lora_tiny.json")), folder / "lora.safetensors");
  checkpoint.add_lora(std::make_shared<LoraFile>(folder / "lora.safetensors", resource), 0.5F);
  const TransformerConfig& config = *checkpoint.config().transformer;
  const std::int64_t width = config.width();
  const auto heads = ltxmem::Partition::even(config.heads, 3);  // one, one, two
  std::size_t loras = 0;
  for (int rank = 0; rank < heads.ranks(); ++rank) {
    const ModelBlocks blocks = blocks_of_rank(checkpoint, heads, rank);
    const Copied copy(blocks, 0);
    const HeadPart part(heads, rank);
    const WeightScope original = blocks.in_place(0);
    const WeightScope moved = blocks.at(0, copy.bytes.data());
    for (const std::string name : {"attn1", "audio_to_video_attn"}) {
      const std::int64_t inner = name == "attn1" ? width : config.audio_width();
      const LinearWeights out = moved.scope(name).linear_inputs("to_out.0", width, inner, part.of(inner));
      CHECK(same_elements(out, original.scope(name).linear_inputs("to_out.0", width, inner, part.of(inner))));
      CHECK(out.weight.row_stride == part.of(inner).count);
      CHECK(copy.holds(out.weight));
      CHECK(out.bias.empty() == (rank < 2));
      const LinearWeights q = moved.scope(name).linear_outputs("to_q", inner, width, part.of(inner));
      CHECK(same_elements(q, original.scope(name).linear_outputs("to_q", inner, width, part.of(inner))));
      CHECK(copy.holds(q.weight));
      loras += q.loras.size() + out.loras.size();
      const auto norm = moved.scope(name).vector_part("k_norm.weight", inner, part.of(inner));
      CHECK(norm[0] == original.scope(name).vector("k_norm.weight", inner)[part.of(inner).begin]);
    }
    const LinearWeights down = moved.scope("ff").linear_inputs("net.2", width, 4 * width, part.of(4 * width));
    CHECK(same_elements(down, original.scope("ff").linear_inputs("net.2", width, 4 * width, part.of(4 * width))));
    // What other ranks have is not there.
    CHECK_THROWS_AS(
        moved.scope("attn1").linear_outputs("to_q", width, width, HeadPart(heads, (rank + 1) % 3).of(width)),
        ltxmem::Error);
    CHECK_THROWS_AS(
        moved.scope("ff").linear_inputs("net.2", width, 4 * width, HeadPart(heads, (rank + 1) % 3).of(4 * width)),
        ltxmem::Error);
  }
  CHECK(loras == 6);
}

TEST_CASE("A part is read from any byte on", "[stream]") {
  ltxmem::HostResource resource;
  const Checkpoint checkpoint(golden_models() / "ltx23_tiny.safetensors", resource);
  const auto heads = ltxmem::Partition::even(checkpoint.config().transformer->heads, 4);
  const ModelBlocks blocks = blocks_of_rank(checkpoint, heads, 2);
  const Copied whole(blocks, 0);
  for (const std::size_t parcel : {std::size_t{1}, std::size_t{37}, std::size_t{1000}}) {
    std::vector<std::byte> bytes(whole.bytes.size());
    for (std::size_t begin = 0; begin < bytes.size(); begin += parcel) {
      blocks.blocks()[0].read(begin, std::span(bytes).subspan(begin, std::min(parcel, bytes.size() - begin)));
    }
    CHECK(bytes == whole.bytes);
  }
}

TEST_CASE("A block of LTX-2.3 is as large on a rank as its parts", "[stream]") {
  const Checkpoint checkpoint(known_models(ModelVersion::v2_3).model);
  const TransformerConfig& config = *checkpoint.config().transformer;
  const auto bytes = [&](const ltxmem::Partition& heads, int rank) {
    return ltxmem::aligned_bytes(blocks_of_rank(checkpoint, heads, rank).blocks()[0].bytes());
  };
  CHECK(bytes(ltxmem::Partition::even(32, 1), 0) == block_bytes(config, 1, true));
  for (const int ranks : {2, 8, 32}) {
    const auto heads = ltxmem::Partition::even(32, ranks);
    CHECK(bytes(heads, 0) == block_bytes(config, ranks, false));
    CHECK(bytes(heads, ranks - 1) == block_bytes(config, ranks, true));
  }
  // A rank without a head has the tables alone.
  const auto more = ltxmem::Partition::even(32, 64);
  CHECK(bytes(more, 0) < bytes(more, 1) / 10);
}
