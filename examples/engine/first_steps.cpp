// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

// A feed-forward network over memory that belongs to somebody else, 256 tokens at a time, with its workspace known
// first. begin first_steps
#include <ltxmem/ltxmem.hpp>
#include <vector>

int main() {
  constexpr std::int64_t tokens = 1000, width = 64, hidden = 256;
  std::vector<float> x(tokens * width, 0.5F), w1(hidden * width, 0.01F), w2(width * hidden, 0.02F), y(tokens * width);

  using Backend = ltxmem::CpuBackend<>;
  Backend backend({.threads = 2});
  const ltxmem::TensorView<const float, 2> up(w1.data(), {hidden, width}), down(w2.data(), {width, hidden});
  const ltxmem::ChunkedFFN<float, Backend> ffn(ltxmem::DenseLinear{up}, ltxmem::DenseLinear{down});

  ltxmem::HostResource memory;
  const ltxmem::ChunkedFfnOptions options{.token_chunk = 256};
  ltxmem::Arena arena(memory, ffn.workspace_bytes(backend, tokens, options));
  ffn(backend, {x.data(), {tokens, width}}, {}, {y.data(), {tokens, width}}, arena, options);
  return arena.peak_bytes() == arena.capacity_bytes() && y[0] > 0 ? 0 : 1;
}
// end first_steps
