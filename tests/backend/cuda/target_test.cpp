// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <cstdint>

#include "ltxmem/backend/cuda/target.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/ffn/chunked_ffn.hpp"
#include "support/catch.hpp"

using namespace ltxmem;

namespace {

WeightMatrix described(DType dtype, std::int64_t rows, std::int64_t columns) {
  WeightMatrix weight;
  weight.dtype = dtype;
  weight.rows = rows;
  weight.columns = columns;
  weight.row_stride = columns;
  return weight;
}

constexpr std::size_t fixed = (std::size_t{4} << 20) + 256;  // the library's share and two factors

}  // namespace

TEST_CASE("the workspace of a product on a card is a tile of sums and, for another element type, a panel of weights") {
  const CudaTarget target;
  const auto bytes = [&](std::int64_t tokens, const WeightMatrix& weight) {
    return target.linear_workspace_bytes<bfloat16>(tokens, weight);
  };
  CHECK(bytes(0, described(DType::bf16, 64, 64)) == 0);
  CHECK(bytes(3, described(DType::bf16, 64, 64)) == fixed + 3 * 64 * 4);
  CHECK(bytes(1000000, described(DType::bf16, 16384, 4096)) == fixed + 1024 * 4096 * 4);
  CHECK(bytes(1000000, described(DType::f8_e4m3, 16384, 4096)) == fixed + 1024 * 4096 * 4 + 4096 * 4096 * 2);
  // 16384 inputs leave room for 1024 outputs in a panel; 2^24 for the narrowest panel alone.
  CHECK(bytes(1, described(DType::f8_e4m3, 4096, 16384)) == fixed + 1024 * 4 + 1024 * 16384 * 2);
  CHECK(bytes(1, described(DType::f8_e4m3, 4096, 1 << 24)) == fixed + 64 * 4 + 64 * (std::size_t{1} << 25));
}

TEST_CASE("the workspace of a convolution on a card is the weights that the matrix units take at a time") {
  const CudaTarget target;
  ConvolutionGeometry cube;
  cube.kernel = {3, 3, 3};
  const auto bytes = [&](std::int64_t outputs, std::int64_t channels) {
    return target.convolution_workspace_bytes<bfloat16>(described(DType::f8_e4m3, outputs, 27 * channels), cube);
  };
  CHECK(bytes(48, 128) == 48 * 27 * 128 * 2);
  CHECK(bytes(1000, 128) == 1000 * 27 * 128 * 2);
  CHECK(bytes(4096, 1024) == 512 * 27 * 1024 * 2);            // four tiles of outputs fit
  CHECK(bytes(4096, 1 << 20) == 128 * 27UL * (1 << 20) * 2);  // one tile, whatever it takes
  CHECK(bytes(48, 12) == 0);                                  // in fp32, as is every convolution of floats
  CHECK(target.convolution_workspace_bytes<float>(described(DType::bf16, 48, 27 * 128), cube) == 0);
  TransposedConvolutionArguments transposed;
  transposed.kernel = 4;
  transposed.weight = described(DType::bf16, 64, 32 * 4);
  CHECK(target.transposed_workspace_bytes<half>(transposed) == 64 * 32 * 4 * 2);
}

TEST_CASE("a plan for a card holds the card's workspaces") {
  const std::int64_t tokens = 5000, width = 128, hidden = 512;
  DryRunBackend<CudaTarget> backend;
  const ChunkedFFN<bfloat16, DryRunBackend<CudaTarget>> ffn(DenseLinear(described(DType::f8_e4m3, hidden, width)),
                                                            DenseLinear(described(DType::f8_e4m3, width, hidden)));
  Arena arena = Arena::make_virtual();
  const auto x = arena.take<bfloat16>("x", Extents<2>{tokens, width});
  const std::size_t before = arena.used_bytes();
  ffn(backend, TensorView<const bfloat16, 2>(x), LinearEpilogue<bfloat16>{}, x, arena, {.token_chunk = 1024});
  CHECK(arena.peak_bytes() - before == 1024 * 512 * 2 + fixed + 1024 * 512 * 4 + 512 * 128 * 2);
}
