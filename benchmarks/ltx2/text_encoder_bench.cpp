// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Six layers of Gemma 3, 1,536 wide, on 1,024 tokens, with the hidden states of all of them.
///
/// Counters: flop/s, and peak_bytes with the hidden states.

#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "models.hpp"
#include "text/encode_prompt.hpp"

namespace {

using namespace ltx2;

/// Argument: threads.
void encode(benchmark::State& state, ltxmem::DType dtype) {
  Runtime runtime(bench::settings_of(dtype, state.range(0)));
  const Checkpoint& gemma = bench::model("text_encoder", dtype);
  const GemmaConfig& config = *gemma.config().gemma;
  std::vector<std::int32_t> ids(1024);
  std::iota(ids.begin(), ids.end(), 2);
  const ltxmem::Extents<3> extents{config.layers + 1, static_cast<std::int64_t>(ids.size()), config.hidden_size};
  std::vector<float> hidden(static_cast<std::size_t>(ltxmem::element_count(extents)));
  bench::measure(state, runtime, hidden.size() * sizeof(float), [&] {
    run_gemma(runtime, gemma, ids, {hidden.data(), extents});
  });
}

const bool registered = [] {
  for (const auto& [type, dtype] : {std::pair{"f32", ltxmem::DType::f32}, std::pair{"bf16", ltxmem::DType::bf16}}) {
    bench::add(std::string("text_encoder/") + type, [dtype = dtype](benchmark::State& state) { encode(state, dtype); })
        ->ArgNames({"threads"})
        ->Args({1})
        ->Args({2});
  }
  return true;
}();

}  // namespace
