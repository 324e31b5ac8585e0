// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <ctime>
#include <stop_token>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/transformer_example.hpp"

/// One block with the true dimensions of 2.3, 1.6 GB of weights.

namespace {

using namespace ltx2;
using namespace ltx2::test;

/// Folder with real23.safetensors, written on first use.
std::string real_width_folder() {
  static const ScratchFolder folder;
  static const bool written = [] {
    synthesise(read_description(golden_path("configs/real23.json")), folder / "real23.safetensors");
    return true;
  }();
  (void)written;
  return folder.path();
}

}  // namespace

TEST_CASE("A block of true 2.3 width gives the reference's velocities", "[golden][long]") {
  const Case test = read_case(golden_path("cases/real_width/real23_t2v.safetensors"));
  Runtime runtime(case_settings());
  CaseModels models(real_width_folder(), {}, runtime.host_memory());
  const Difference difference = compare(test.expected, run_transformer_case(test, models, runtime));
  INFO(difference.tensor << " " << difference.reason);
  CHECK(difference.relative <= test.tolerance);
}

TEST_CASE("A step of 2,000 tokens at true width: planned memory, tiles without a trace, bf16 near f32", "[long]") {
  ltxmem::HostResource resource;
  const Checkpoint checkpoint(real_width_folder() + "/real23.safetensors", resource);
  MadeUpInput input(*checkpoint.config().transformer, 5, 20, 20, 126, 1024);
  const auto run = [&](ltxmem::DType dtype, std::int64_t tile) {
    Settings settings = case_settings(dtype);
    settings.query_tile = settings.key_tile = settings.ffn_chunk = tile;
    Runtime runtime(settings);
    std::vector<float> velocities;
    {
      const Stage stage(runtime, "step");
      velocities = input.run(runtime, checkpoint);
    }
    const StageReport& stage = runtime.report().stages.back();
    WARN((dtype == ltxmem::DType::f32 ? "f32" : "bf16")
         << ", tiles of " << tile << ": " << stage.seconds << " s, "
         << 1e-9 * static_cast<double>(stage.operations.flops) / stage.seconds << " Gflop/s, " << stage.measured_peak[0]
         << " bytes");
    CHECK(stage.planned_peak == stage.measured_peak);
    return velocities;
  };
  const std::vector<float> narrow = run(ltxmem::DType::bf16, 4096);
  CHECK(run(ltxmem::DType::bf16, 512) == narrow);
  const std::vector<float> wide = run(ltxmem::DType::f32, 1024);
  float worst = 0;
  float largest = 0;
  for (std::size_t i = 0; i < wide.size(); ++i) {
    worst = std::max(worst, std::abs(wide[i] - narrow[i]));
    largest = std::max(largest, std::abs(wide[i]));
  }
  CHECK(worst <= 0.01F * largest);
}

TEST_CASE("A stop request ends a step at true width within a second, wherever it is", "[long]") {
  ltxmem::HostResource resource;
  const Checkpoint checkpoint(real_width_folder() + "/real23.safetensors", resource);
  MadeUpInput input(*checkpoint.config().transformer, 5, 20, 20, 126, 1024);
  const auto work_s = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  for (const double after_s : {0.3, 1.0, 2.0, 4.0}) {
    Settings settings = case_settings(ltxmem::DType::f32);
    settings.threads = 1;
    std::stop_source source;
    Runtime runtime(settings, source.get_token());
    std::atomic<double> stopped_at = -1;
    const double start = work_s();
    const std::jthread watcher([&] {
      while (work_s() - start < after_s) std::this_thread::sleep_for(std::chrono::milliseconds(5));
      stopped_at = work_s();
      source.request_stop();
    });
    CHECK_THROWS_AS(input.run(runtime, checkpoint), ltxmem::Cancelled);
    REQUIRE(stopped_at >= 0);
    WARN("stopped after " << stopped_at - start << " s of work, ended " << work_s() - stopped_at << " s of work later");
    CHECK(work_s() - stopped_at < 1.0);
  }
}

TEST_CASE("2,000 to 8,000 tokens at true width under every scheme: one result, peaks on the planned line", "[long]") {
  ltxmem::HostResource resource;
  const Checkpoint checkpoint(real_width_folder() + "/real23.safetensors", resource);
  struct Bound {
    Scheme scheme;
    double units;
  };
  std::array<std::array<std::size_t, 3>, schemes.size()> peaks{};
  const std::array<std::int64_t, 3> frames{5, 10, 20};
  for (std::size_t length = 0; length < frames.size(); ++length) {
    MadeUpInput input(*checkpoint.config().transformer, frames[length], 20, 20, 126, 64);
    std::vector<float> plain;
    for (const Scheme scheme : schemes) {
      Settings settings = case_settings(ltxmem::DType::bf16);
      settings.threads = 2;
      settings.scheme = scheme;
      settings.query_tile = settings.key_tile = settings.ffn_chunk = 512;
      Runtime runtime(settings);
      std::vector<float> velocities;
      {
        const Stage stage(runtime, "step");
        velocities = input.run(runtime, checkpoint);
      }
      const StageReport& stage = runtime.report().stages.back();
      WARN(scheme_name(scheme) << ", " << 400 * frames[length] << " tokens: " << stage.measured_peak[0] << " device, "
                               << stage.measured_peak[1] << " pinned, " << stage.seconds << " s");
      CHECK(stage.planned_peak == stage.measured_peak);
      peaks[static_cast<std::size_t>(scheme)][length] = stage.measured_peak[0];
      if (scheme == Scheme::plain) plain = velocities;
      CHECK(velocities == plain);
    }
  }
  for (const Bound& bound :
       {Bound{Scheme::e1, 3.02}, Bound{Scheme::e2, 2.27}, Bound{Scheme::e3, 1.02}, Bound{Scheme::e4, 0.05}}) {
    const auto& peak = peaks[static_cast<std::size_t>(bound.scheme)];
    const double first = static_cast<double>(peak[1] - peak[0]) / (2000.0 * 8192);
    const double second = static_cast<double>(peak[2] - peak[1]) / (4000.0 * 8192);
    INFO(scheme_name(bound.scheme) << ": " << first << " and " << second << " units per token");
    CHECK(first <= bound.units);
    CHECK(second <= bound.units);
  }
}
