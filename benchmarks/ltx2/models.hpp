// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "runtime/runtime.hpp"
#include "runtime/stage.hpp"
#include "synth/synthesise.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/scratch.hpp"

/// Models of the example's benchmarks, and how their stages are measured.

namespace ltx2::bench {

/// The model of models/NAME.json, or of a description of the reference data, opened. Its weights have the type that it
/// is run in, so that they are used where the file is mapped: converting them is no part of the time.
///
/// Written on first use into a folder that disappears, or found in the folder that LTXMEM_BENCHMARK_MODELS names, as
/// NAME_TYPE.safetensors or a folder NAME_TYPE: benchmarks/peers/models.py makes them once for many runs.
inline const Checkpoint& model(const std::string& name, ltxmem::DType dtype) {
  const std::string key = name + (dtype == ltxmem::DType::f32 ? "_f32" : "_bf16");
  static const test::ScratchFolder scratch;
  static ltxmem::HostResource resource;
  static std::map<std::string, std::unique_ptr<Checkpoint>> opened;
  std::unique_ptr<Checkpoint>& checkpoint = opened[key];
  if (checkpoint) return *checkpoint;

  const std::filesystem::path own = std::filesystem::path(LTXMEM_BENCHMARK_DESCRIPTIONS) / (name + ".json");
  Json json =
      read_json_file(std::filesystem::exists(own) ? own.string() : test::golden_path("configs/" + name + ".json"));
  json["dtype"] = dtype == ltxmem::DType::f32 ? "F32" : "BF16";
  const bool is_folder = json["kind"] == "gemma";
  const char* kept = std::getenv("LTXMEM_BENCHMARK_MODELS");
  const std::filesystem::path path =
      std::filesystem::path(kept != nullptr ? kept : scratch.path()) / (is_folder ? key : key + ".safetensors");
  if (kept == nullptr) {
    if (is_folder) {
      std::filesystem::create_directory(path);
      std::ofstream(path / "config.json") << json["config"];
    }
    synthesise(parse_description(json, name), is_folder ? path / "model.safetensors" : path);
  }
  checkpoint = std::make_unique<Checkpoint>(path, resource);
  return *checkpoint;
}

/// Times a stage, after a first run that is not counted, and says what it takes: flop/s, peak_bytes (planned, of the
/// device; it equals what was used, or the run had failed) and pinned_bytes. result_bytes, of what the caller has to
/// hold all of, are added to the first.
template <class Work>
void measure(benchmark::State& state, Runtime& runtime, std::size_t result_bytes, const Work& work) {
  const auto run = [&] {
    const Stage stage(runtime, "benchmark");
    work();
  };
  run();
  for ([[maybe_unused]] auto _ : state) run();
  const StageReport& stage = runtime.report().stages.back();
  state.counters["flop/s"] = benchmark::Counter(stage.operations.flops, benchmark::Counter::kIsIterationInvariantRate,
                                                benchmark::Counter::kIs1000);
  state.counters["peak_bytes"] = static_cast<double>(stage.planned_peak[0] + result_bytes);
  state.counters["pinned_bytes"] = static_cast<double>(stage.planned_peak[1]);
}

/// Registers a benchmark of a model that takes seconds, measured in the time of the whole process.
template <class Fn>
benchmark::internal::Benchmark* add(const std::string& name, const Fn& fn) {
  return benchmark::RegisterBenchmark(name.c_str(), fn)
      ->Unit(benchmark::kMillisecond)
      ->Iterations(1)
      ->MeasureProcessCPUTime()
      ->UseRealTime();
}

inline Settings settings_of(ltxmem::DType dtype, std::int64_t threads) {
  Settings settings;
  settings.dtype = dtype;
  settings.threads = static_cast<int>(threads);
  return settings;
}

}  // namespace ltx2::bench
