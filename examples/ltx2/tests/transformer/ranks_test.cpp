// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/rank_workspaces.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "tests/support/rank_case.hpp"
#include "tests/support/transformer_example.hpp"

/// The transformer on several ranks: the results of one, in planned memory, with planned messages, and an end when a
/// rank fails.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Catch::Matchers::Contains;
using ltxmem::test::same_bits;

}  // namespace

TEST_CASE("Every transformer case of the reference passes on any number of ranks", "[golden][ranks]") {
  for (const std::string stage : {"transformer", "lora"}) {
    for (const std::string& name : case_names(stage)) {
      check_case_on_ranks(stage, name, rank_settings(1), run_transformer_case);
      for (const RankLayout layout : rank_layouts) {
        for (const int ranks : rank_counts(layout)) {
          check_case_on_ranks(stage, name, rank_settings(ranks, layout), run_transformer_case);
        }
      }
    }
  }
}

TEST_CASE("Head groups go round one by one, whatever stays on the device", "[golden][ranks]") {
  for (const Scheme scheme : {Scheme::e2, Scheme::e3, Scheme::e4}) {
    for (const std::string name : {"v20_t2v", "v23_i2v", "v23_interleaved", "v23_attention_mask"}) {
      Settings settings = rank_settings(3);
      settings.scheme = scheme;
      check_case_on_ranks("transformer", name, settings, run_transformer_case);
    }
  }
}

TEST_CASE("Ranks give what one rank gives, whatever their shares, schemes and weights", "[ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 13, 17, 41);  // 663 tokens: two tiles on one rank of two
  input.video.condition_first(200, 0.1F);
  const std::vector<float> one = run_pass(input, *checkpoint, case_settings()).values;
  std::map<std::vector<double>, std::vector<float>> first;  // by weights: no bit depends on the rest
  for (const Scheme scheme : schemes) {
    for (const std::vector<double>& weights :
         {std::vector<double>{}, std::vector<double>{2, 1, 1}, std::vector<double>{0, 3, 1}}) {
      for (const bool streams : {false, true}) {
        Settings settings = rank_settings(3);
        settings.scheme = scheme;
        settings.ranks.weights = weights;
        settings.weights.stream = streams;
        INFO(scheme_name(scheme) << ", " << weights.size() << " weights, streamed " << streams);
        settings.query_tile = 256;  // several on a rank
        const std::vector<float> values = run_pass(input, *checkpoint, settings).values;
        CHECK(difference(values, one) < 2e-5);
        CHECK(same_bits(values, first.emplace(weights, values).first->second));
      }
    }
  }
}

TEST_CASE("There may be more ranks than tokens", "[ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 1, 2, 2, 3);
  const std::vector<float> one = run_pass(input, *checkpoint, case_settings()).values;
  for (const Scheme scheme : schemes) {
    Settings settings = rank_settings(7);
    settings.scheme = scheme;
    CHECK(difference(run_pass(input, *checkpoint, settings).values, one) < 2e-5);
  }
}

TEST_CASE("Ranks that share the audio give the bits of one rank", "[ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  for (const std::int64_t tokens : {3, 41}) {
    MadeUpInput input(checkpoint.config(), 1, 2, 2, tokens);
    input.without_video = true;
    const std::vector<float> one = run_pass(input, *checkpoint, case_settings()).values;
    for (const int ranks : {2, 3, 7}) {
      INFO(tokens << " tokens on " << ranks << " ranks");
      CHECK(same_bits(run_pass(input, *checkpoint, rank_settings(ranks)).values, one));
      Settings weighted = rank_settings(ranks);
      weighted.ranks.weights.assign(static_cast<std::size_t>(ranks), 1.0);
      weighted.ranks.weights.front() = 0;
      CHECK(same_bits(run_pass(input, *checkpoint, weighted).values, one));
    }
  }
}

TEST_CASE("A prefix is saved in shares", "[ranks][prefix]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 4));
  MadeUpInput input(checkpoint.config(), 1, 2, 3, 5);
  const auto run_steps = [&](Settings settings) {
    return run_passes(input, *checkpoint, settings, 2, [&](int pass) {
      input.prefix = {2, pass == 0 ? SharedPrefix::Role::save : SharedPrefix::Role::resume};
    });
  };
  for (const int ranks : {3, 7}) {  // with 7 a rank has no token
    const PassesResult whole = run_steps(rank_settings(ranks));
    for (const ltxmem::MemorySpace space : {ltxmem::MemorySpace::device, ltxmem::MemorySpace::pinned}) {
      Settings settings = rank_settings(ranks);
      settings.saved_prefix = space;
      const PassesResult saved = run_steps(settings);
      CHECK(same_bits(saved.values, whole.values));
      CHECK(saved.flops < whole.flops);
      CHECK(saved.planned == saved.measured);
    }
  }
}

TEST_CASE("A rank sends its shards of keys and values, what others attend to of its audio, and what that has seen", "[ranks]") {
  constexpr std::int64_t blocks = 3;
  constexpr std::int64_t ranks = 4;
  constexpr std::int64_t tokens = 12;  // on each rank
  constexpr std::int64_t audio = 5;    // on each rank
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", blocks));
  const TransformerConfig& config = checkpoint.config();
  MadeUpInput input(config, 2, 6, ranks * tokens / 12, ranks * audio);
  for (const ltxmem::DType dtype : {ltxmem::DType::f32, ltxmem::DType::bf16}) {
    const std::int64_t element = dtype == ltxmem::DType::f32 ? 4 : 2;
    const std::int64_t ring = (ranks - 1) * tokens * 2 * config.width() * element;
    const std::int64_t states = (ranks - 1) * audio * (config.audio_width() + 2 * config.heads) * 4;
    // Keys and values of self attention and of audio-to-video attention, queries of the other direction.
    const std::int64_t sound = (ranks - 1) * audio * 5 * config.audio_width() * element;
    for (const Scheme scheme : schemes) {
      Settings settings = rank_settings(static_cast<int>(ranks), dtype);
      settings.scheme = scheme;
      const Ran ran = run_pass(input, *checkpoint, settings);
      REQUIRE(ran.stage.ranks.size() == ranks);
      for (const RankReport& rank : ran.stage.ranks) {
        CHECK(rank.measured_message_bytes == blocks * (ring + states + sound));
      }
    }
  }
}

TEST_CASE("An idle primary takes no part in the transformer", "[ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 3, 5, 7, 11);
  Settings settings = rank_settings(3);
  settings.ranks.idle_primary = true;
  const Ran idle = run_pass(input, *checkpoint, settings);
  const Ran working = run_pass(input, *checkpoint, rank_settings(2));
  CHECK(same_bits(idle.values, working.values));
  REQUIRE(idle.stage.ranks.size() == 3);
  CHECK(idle.stage.ranks[0].measured_peak == 0);
  CHECK(idle.stage.ranks[0].measured_message_bytes == 0);
  CHECK(idle.stage.ranks[1].measured_peak == working.stage.ranks[0].measured_peak);
  CHECK(idle.stage.ranks[2].measured_peak == working.stage.ranks[1].measured_peak);

  settings.ranks.count = 2;  // one rank works, alone
  const Ran alone = run_pass(input, *checkpoint, settings);
  CHECK(same_bits(alone.values, run_pass(input, *checkpoint, case_settings()).values));
  CHECK(alone.stage.ranks[0].measured_peak == 0);
}

TEST_CASE("Ranks that cannot work are refused", "[ranks]") {
  const auto message = [](const auto& change) {
    Settings settings = rank_settings(3);
    change(settings);
    try {
      const Runtime runtime(settings);
    } catch (const ltxmem::ShapeError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(message([](Settings&) {}).empty());
  CHECK_THAT(message([](Settings& s) { s.ranks.count = 0; }), Contains("0, expected at least 1"));
  CHECK_THAT(message([](Settings& s) { s.ranks = {.count = 1, .idle_primary = true}; }),
             Contains("1 with an idle primary, expected at least 2"));
  CHECK_THAT(message([](Settings& s) { s.ranks.weights = {1, 1}; }), Contains("2 weights for 3 working ranks"));
  CHECK_THAT(message([](Settings& s) { s.ranks.weights = {1, 1, -1}; }), Contains("weight -1"));
  CHECK_THAT(message([](Settings& s) { s.ranks.weights = {0, 0, 0}; }), Contains("all weights are 0"));
  CHECK_THAT(message([](Settings& s) { s.ranks.deadline = {}; }), Contains("deadline of 0 ms"));
}

TEST_CASE("A rank that fails or stalls ends the pass of all, with an error that names it", "[ranks][faults]") {
  using namespace std::chrono_literals;
  constexpr int ranks = 3;
  constexpr int layers = 3;
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  MadeUpInput input(checkpoint.config(), 2, 5, 7, 11);
  Settings settings = rank_settings(ranks);

  // How many steps a rank enters before the last block, after which nobody may notice that it stalls.
  std::atomic<int> steps = 0;
  {
    std::atomic<bool> is_last_block = false;
    Runtime runtime(settings);
    runtime.watch_ranks([&](int rank, const char* name, std::int64_t index) {
      if (rank != 0) return;
      if (std::string(name) == "block" && index == layers - 1) is_last_block = true;
      if (!is_last_block) ++steps;
    });
    input.run(runtime, *checkpoint);
  }
  REQUIRE(steps > 20);

  std::mt19937 random(7);
  for (int turn = 0; turn < 10; ++turn) {
    const int culprit = static_cast<int>(random() % ranks);
    const int point = static_cast<int>(random() % static_cast<unsigned>(steps));
    const bool stalls = turn % 2 == 1;
    settings.ranks.deadline = stalls ? 500ms : 60s;
    INFO("rank " << culprit << (stalls ? " stalls" : " fails") << " at step " << point);
    Runtime runtime(settings);
    int step = 0;
    runtime.watch_ranks([&](int rank, const char*, std::int64_t) {
      if (rank != culprit || step++ != point) return;
      if (stalls) {
        std::this_thread::sleep_for(1500ms);
      } else {
        throw ltxmem::IoError("made to fail");
      }
    });
    const auto start = std::chrono::steady_clock::now();
    try {
      input.run(runtime, *checkpoint);
      FAIL("the pass ended without an error");
    } catch (const ltxmem::RankError& error) {
      CHECK(error.rank() == culprit);
      CHECK_THAT(error.what(), Contains("rank " + std::to_string(culprit) +
                                        (stalls ? " did not come within 500 ms" : " failed in ")));
      if (stalls) CHECK_THAT(error.what(), Contains(" with rank ") && Contains(", in "));
      if (!stalls) CHECK_THAT(error.what(), Contains("made to fail"));
    }
    CHECK(std::chrono::steady_clock::now() - start < 10s);
  }
}

TEST_CASE("A thread rank that never returns does not keep the process", "[ranks][faults]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 1));
  MadeUpInput input(checkpoint.config(), 2, 5, 7, 11);
  Settings settings = rank_settings(3);
  settings.ranks.deadline = std::chrono::milliseconds(100);
  std::array<int, 2> messages{};
  REQUIRE(::pipe(messages.data()) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(messages[1], STDERR_FILENO);
    Runtime runtime(settings);
    runtime.watch_ranks([](int rank, const char*, std::int64_t) {
      while (rank == 1) std::this_thread::sleep_for(std::chrono::seconds(1));
    });
    input.run(runtime, *checkpoint);
    ::_exit(0);
  }
  ::close(messages[1]);
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t count = 1; (count = ::read(messages[0], buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  ::close(messages[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 4));
  CHECK_THAT(text, Catch::StartsWith("ltx2: error: ") && Contains("rank 1 did not come within 100 ms") &&
                       Contains(", in ") && Catch::EndsWith("\n"));
}
