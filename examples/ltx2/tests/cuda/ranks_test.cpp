// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/cuda/card.hpp"
#include "tests/support/rank_case.hpp"

/// Ranks with a card each, here test doubles: the reference's answers in planned memory with planned messages, and an
/// end when a card or a rank fails.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using namespace std::chrono_literals;
using Catch::Matchers::Contains;

/// A machine of two cards, of which the second fails at a launch or at an allocation.
Cards failing_cards(int launch, int allocation) {
  return Cards(2, [&](doubles::Settings& machine) {
    machine.failing_device = 1;
    machine.failing_launch = launch;
    machine.failing_allocation = allocation;
  });
}

Settings settings_of(int ranks, RankLayout layout = RankLayout::sequence) {
  Settings settings = card_settings();
  settings.ranks.count = ranks;
  settings.ranks.layout = layout;
  return settings;
}

void check_on_cards(const std::string& stage, const std::string& name, const Settings& settings,
                    HostTensors (*run)(const Case&, CaseModels&, Runtime&)) {
  const Cards cards(settings.ranks.count);
  check_case_on_ranks(stage, name, settings, run);
  expect_clean_card();
}

/// A pass of a tiny model.
struct Pass {
  SynthesisedCheckpoint checkpoint{tiny_transformer("ltx23_tiny", 2)};
  MadeUpInput input{checkpoint.config(), 1, 3, 5, 4, 3};

  std::vector<float> run(const Settings& settings) {
    Runtime runtime(settings);
    return input.run(runtime, *checkpoint);
  }
};

/// Whom the error names that ends a pass.
template <class Fn>
std::string failure_of(int expected_rank, Fn&& fn) {
  try {
    fn();
  } catch (const ltxmem::RankError& error) {
    CHECK(error.rank() == expected_rank);
    return error.what();
  }
  return "the pass ended without an error";
}

}  // namespace

TEST_CASE("The transformer on several cards gives the reference's velocities in every layout",
          "[golden][cuda][ranks]") {
  check_on_cards("transformer", "v23_i2v", settings_of(2), run_transformer_case);
  check_on_cards("transformer", "v20_t2v", settings_of(3), run_transformer_case);
  check_on_cards("transformer", "v23_attention_mask", settings_of(2, RankLayout::tensor), run_transformer_case);
  check_on_cards("transformer", "v23_i2v", settings_of(3, RankLayout::tensor), run_transformer_case);
  check_on_cards("transformer", "v23_i2v", settings_of(4, RankLayout::both), run_transformer_case);
}

TEST_CASE("Cards trade tokens for heads, and the first may stay idle", "[golden][cuda][ranks]") {
  Settings settings = settings_of(3);
  settings.ranks.idle_primary = true;
  settings.ranks.ulysses_degree = 2;
  check_on_cards("transformer", "v23_i2v", settings, run_transformer_case);
}

TEST_CASE("Every memory scheme and streamed weights go with several cards", "[golden][cuda][ranks]") {
  for (const Scheme scheme : {Scheme::e2, Scheme::e3, Scheme::e4}) {
    Settings settings = settings_of(2, scheme == Scheme::e3 ? RankLayout::tensor : RankLayout::sequence);
    settings.scheme = scheme;
    settings.weights.stream = scheme != Scheme::e2;
    check_on_cards("transformer", "v23_i2v", settings, run_transformer_case);
  }
}

TEST_CASE("Cards of idle ranks hold what leaves those of the others", "[golden][cuda][ranks][stores]") {
  for (const Scheme scheme : {Scheme::e3, Scheme::e4}) {
    Settings settings = settings_of(4);
    settings.scheme = scheme;
    settings.ranks.stores = 2;
    settings.stores = {{ltxmem::DeviceKind::cpu, 2, 2000000}, {ltxmem::DeviceKind::cpu, 3, 1000000}};
    check_on_cards("transformer", "v23_i2v", settings, run_transformer_case);
  }
}

TEST_CASE("Sampling on several cards ends where the reference does", "[golden][cuda][ranks]") {
  check_on_cards("denoise", "v23_distilled_i2v", settings_of(2), run_denoise_case);
}

TEST_CASE("A card that fails ends the pass with the name of its rank", "[cuda][ranks][faults]") {
  Pass pass;
  for (const int launch : {1, 60}) {
    const Cards cards = failing_cards(launch, 0);
    INFO("launch " << launch);
    CHECK_THAT(failure_of(1, [&] { pass.run(settings_of(2)); }),
               Contains("rank 1 failed in ") && Contains("error 719 (cudaErrorLaunchFailure"));
  }
}

TEST_CASE("Memory of a card that runs out is that of its rank", "[cuda][ranks][faults]") {
  Pass pass;
  int failures = 0;
  for (; failures < 10; ++failures) {
    const Cards cards = failing_cards(0, failures + 1);
    INFO("allocation " << failures + 1);
    std::string said;
    try {
      pass.run(settings_of(2));
    } catch (const ltxmem::OutOfMemory& error) {
      said = error.what();
      CHECK_THAT(said, Contains("in device memory of rank 1: out of memory: asked for "));
    } catch (const ltxmem::RankError& error) {
      said = error.what();
      CHECK(error.rank() == 1);
      CHECK_THAT(said, Contains("out of memory"));
    }
    expect_clean_card();
    if (said.empty()) break;
  }
  CHECK(failures >= 2);
  CHECK(failures < 10);
}

TEST_CASE("A rank that fails or stalls on its card is named, and the others leave", "[cuda][ranks][faults]") {
  struct Fault {
    int rank;
    bool stalls;
  };
  Pass pass;
  for (const Fault& fault : {Fault{0, false}, Fault{2, false}, Fault{1, true}}) {
    const Cards cards(3);
    Settings settings = settings_of(3);
    settings.ranks.deadline = fault.stalls ? 10s : 60s;  // kernels on the doubles take their time
    INFO("rank " << fault.rank << (fault.stalls ? " stalls" : " fails"));
    const auto start = std::chrono::steady_clock::now();
    {
      Runtime runtime(settings);
      std::atomic<bool> struck = false;
      runtime.watch_ranks([&](int rank, const char* name, std::int64_t index) {
        if (rank != fault.rank || std::string(name) != "block" || index != 1 || struck.exchange(true)) return;
        if (!fault.stalls) throw ltxmem::IoError("made to fail");
        std::this_thread::sleep_for(14s);
      });
      CHECK_THAT(
          failure_of(fault.rank, [&] { pass.input.run(runtime, *pass.checkpoint); }),
          Contains("rank " + std::to_string(fault.rank) +
                   (fault.stalls ? " did not come within 10000 ms" : " failed in block 1, block: made to fail")));
    }
    CHECK(std::chrono::steady_clock::now() - start < 50s);
    expect_clean_card();
  }
}
