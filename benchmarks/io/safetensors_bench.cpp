// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// Reading weights: opening a header with as many tensors as the LTX-2.3 transformer has, and reading the two matrices
/// of its feed-forward network where the file is mapped, beside copying them to memory first.
///
/// The files are in the page cache. Counters: bytes/s, tensors/s, peak_bytes (everything that went through the
/// resource: nothing where weights are used in place).

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "ltxmem/core/tensor.hpp"
#include "ltxmem/io/safetensors.hpp"
#include "ltxmem/io/safetensors_writer.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "shapes.hpp"

namespace {

using namespace ltxmem;

/// A file of these tensors, every byte 1, that disappears with the object.
class TemporaryWeights {
 public:
  explicit TemporaryWeights(const std::vector<TensorSpec>& tensors)
      : path_(std::filesystem::temp_directory_path() /
              ("ltxmem-bench-" + std::to_string(::getpid()) + ".safetensors")) {
    SafetensorsWriter writer(path_, tensors);
    for (const TensorSpec& tensor : tensors) writer.write(std::vector<std::byte>(tensor.bytes(), std::byte{1}));
    writer.commit();
  }
  TemporaryWeights(const TemporaryWeights&) = delete;
  TemporaryWeights& operator=(const TemporaryWeights&) = delete;
  ~TemporaryWeights() { ::unlink(path_.c_str()); }

  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

/// Every byte of a tensor is looked at, as a product would.
std::uint64_t sum(const std::byte* data, std::size_t bytes) {
  std::uint64_t total = 0;
  for (std::size_t at = 0; at + sizeof total <= bytes; at += sizeof total) {
    std::uint64_t word;
    std::memcpy(&word, data + at, sizeof word);
    total += word;
  }
  return total;
}

void open_header(benchmark::State& state) {
  constexpr int blocks = 48;
  constexpr int tensors_of_a_block = 90;
  std::vector<TensorSpec> tensors;
  for (int block = 0; block < blocks; ++block) {
    for (int i = 0; i < tensors_of_a_block; ++i) {
      tensors.push_back({"model.diffusion_model.transformer_blocks." + std::to_string(block) + ".audio_to_video_attn." +
                             std::to_string(i) + ".weight",
                         DType::bf16,
                         {1, 64}});
    }
  }
  const TemporaryWeights weights(tensors);
  for ([[maybe_unused]] auto _ : state) {
    const SafetensorsFile file(weights.path());
    benchmark::DoNotOptimize(file.tensors().data());
  }
  state.counters["tensors/s"] =
      benchmark::Counter(static_cast<double>(tensors.size()), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(open_header)->Name("safetensors/open/ltx2_transformer")->Unit(benchmark::kMillisecond)->UseRealTime();

enum class Use { mapped, copied };

void read_weights(benchmark::State& state, Use use) {
  const bench::Shape& shape = bench::ltx2_video;
  const TemporaryWeights weights(
      {{"up", DType::bf16, {shape.hidden, shape.width}}, {"down", DType::bf16, {shape.width, shape.hidden}}});
  HostResource host;
  CountingResource counting(host);
  std::size_t bytes = 0;
  for ([[maybe_unused]] auto _ : state) {
    const SafetensorsFile file(weights.path());
    bytes = file.data_bytes();
    if (use == Use::mapped) {
      for (const TensorInfo& info : file.tensors()) benchmark::DoNotOptimize(sum(file.data(info), info.bytes));
      continue;
    }
    Tensor<std::byte, 1> copy(counting, {static_cast<std::int64_t>(bytes)});
    std::byte* to = copy.view().data();
    for (const TensorInfo& info : file.tensors()) {
      std::memcpy(to, file.data(info), info.bytes);
      benchmark::DoNotOptimize(sum(to, info.bytes));
      to += info.bytes;
    }
  }
  state.counters["bytes/s"] = benchmark::Counter(
      static_cast<double>(bytes), benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1024);
  state.counters["peak_bytes"] = static_cast<double>(counting.peak_bytes());
}

const bool registered = [] {
  for (const auto& [name, use] : {std::pair{"mapped", Use::mapped}, {"copied", Use::copied}}) {
    benchmark::RegisterBenchmark((std::string("safetensors/read/ltx2_video_ffn/") + name).c_str(),
                                 [use = use](benchmark::State& state) { read_weights(state, use); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime()
        ->Iterations(5);
  }
  return true;
}();

}  // namespace
