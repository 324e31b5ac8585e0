// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"
#include "tests/support/store_case.hpp"
#include "tests/support/transformer_example.hpp"

/// The transformer with the memory of idle ranks in the place of the host's: the same bits, and every byte planned.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Catch::Matchers::Contains;
using ltxmem::MemorySpace;
using ltxmem::test::same_bits;
using Role = SharedPrefix::Role;

constexpr std::size_t any = StoreSettings::unlimited;
constexpr std::size_t mebibyte = std::size_t{1} << 20;
constexpr auto device = static_cast<std::size_t>(MemorySpace::device);
constexpr auto pinned = static_cast<std::size_t>(MemorySpace::pinned);

Settings scheme_settings(Scheme scheme, int working = 1) {
  Settings settings = rank_settings(working);
  settings.scheme = scheme;
  return settings;
}

std::vector<std::size_t> stored(const Ran& ran) {
  std::vector<std::size_t> bytes;
  for (const StoreReport& store : ran.stage.stores) bytes.push_back(store.measured_peak);
  return bytes;
}

/// Two calls of a model whose weights stream.
Ran run_twice(MadeUpInput& input, const Checkpoint& checkpoint, const Settings& settings) {
  Runtime runtime(settings);
  Ran ran;
  {
    const Stage stage(runtime, "passes");
    TransformerModel model(runtime, checkpoint);
    for (int call = 0; call < 2; ++call) {
      model.predict(input.input(), input.output());
      for (const auto& view : {input.output().video, input.output().audio}) {
        ran.values.insert(ran.values.end(), view.data(), view.data() + view.size());
      }
    }
  }
  CHECK(planning_defects(runtime.report()) == std::vector<std::string>{});
  ran.stage = runtime.report().stages.back();
  return ran;
}

}  // namespace

TEST_CASE("Every transformer case has the same bits with idle ranks for memory", "[golden][stores]") {
  for (const std::string stage : {"transformer", "lora"}) {
    for (const std::string& name : case_names(stage)) {
      for (const Scheme scheme : {Scheme::e3, Scheme::e4}) {
        check_case_on_stores(stage, name, scheme_settings(scheme), {any}, run_transformer_case);
        check_case_on_stores(stage, name, scheme_settings(scheme), {3 * mebibyte, mebibyte, 2 * mebibyte},
                             run_transformer_case);
      }
    }
  }
}

TEST_CASE("So it has on several working ranks, in every layout", "[golden][stores][ranks]") {
  for (const std::string name : {"v20_t2v", "v23_i2v", "v23_batch2", "v23_attention_mask"}) {
    for (const RankLayout layout : rank_layouts) {
      for (const Scheme scheme : {Scheme::e3, Scheme::e4}) {
        Settings settings = scheme_settings(scheme, layout == RankLayout::both ? 4 : 3);
        settings.ranks.layout = layout;
        check_case_on_stores("transformer", name, settings, {2 * mebibyte, 3 * mebibyte}, run_transformer_case);
        settings.ranks.idle_primary = true;
        check_case_on_stores("transformer", name, settings, {any, any}, run_transformer_case);
      }
    }
  }
}

TEST_CASE("Stores hold rows in proportion to what they have free, to the byte", "[stores]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  const TransformerConfig& config = checkpoint.config();
  MadeUpInput input(config, 4, 16, 18, 40);  // 1152 tokens: tiles of 256, cut at 288 and 864
  const std::int64_t rows[] = {288, 576, 288};
  for (const ltxmem::DType dtype : {ltxmem::DType::f32, ltxmem::DType::bf16}) {
    for (const Scheme scheme : schemes) {
      INFO(scheme_name(scheme));
      Settings settings = case_settings(dtype);
      settings.scheme = scheme;
      const Ran on_host = run_pass(input, *checkpoint, settings);
      const Ran ran =
          run_pass(input, *checkpoint, with_stores(settings, {10 * mebibyte, 20 * mebibyte, 10 * mebibyte}));
      CHECK(same_bits(ran.values, on_host.values));
      CHECK(ran.stage.measured_peak[device] == on_host.stage.measured_peak[device]);
      CHECK(ran.stage.measured_peak[pinned] == 0);
      const std::int64_t tensors = scheme == Scheme::e3 ? 2 : scheme == Scheme::e4 ? 3 : 0;
      REQUIRE(ran.stage.stores.size() == 3);
      REQUIRE(ran.stage.ranks.size() == 4);
      for (std::size_t i = 0; i < 3; ++i) {
        const std::int64_t bytes = tensors * rows[i] * config.width() * (dtype == ltxmem::DType::f32 ? 4 : 2);
        CHECK(ran.stage.stores[i].measured_peak == static_cast<std::size_t>(bytes));
        CHECK(ran.stage.ranks[i + 1].measured_peak == static_cast<std::size_t>(bytes));
        CHECK(ran.stage.ranks[i + 1].measured_message_bytes == 0);
      }
    }
  }
}

TEST_CASE("What several ranks keep in a store adds up", "[stores][ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 2));
  MadeUpInput input(checkpoint.config(), 4, 16, 18, 40);
  const Settings settings = scheme_settings(Scheme::e4, 3);
  const Ran on_host = run_pass(input, *checkpoint, settings);
  const Ran ran = run_pass(input, *checkpoint, with_stores(settings, {any, any}));
  CHECK(same_bits(ran.values, on_host.values));
  const std::vector<std::size_t> bytes = stored(ran);
  CHECK(bytes[0] + bytes[1] == on_host.stage.measured_peak[pinned]);
  CHECK(bytes[0] == bytes[1]);
  for (std::size_t rank = 0; rank < 3; ++rank) {
    CHECK(ran.stage.ranks[rank].measured_peak == on_host.stage.ranks[rank].measured_peak);
    CHECK(ran.stage.ranks[rank].measured_message_bytes == on_host.stage.ranks[rank].measured_message_bytes);
  }
}

TEST_CASE("A prefix saved off the device lies in the stores", "[stores][prefix]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 4));
  MadeUpInput input(checkpoint.config(), 3, 13, 17, 40);
  const auto run_steps = [&](const Settings& settings) {
    return run_passes(input, *checkpoint, settings, 4, [&](int pass) {
      input.prefix = {2, pass % 2 == 0 ? Role::save : Role::resume};
    });
  };
  for (const Scheme scheme : {Scheme::e1, Scheme::e4}) {
    for (const int working : {1, 3}) {
      Settings settings = scheme_settings(scheme, working);
      settings.saved_prefix = MemorySpace::pinned;
      const PassesResult on_host = run_steps(settings);
      const PassesResult on_stores = run_steps(with_stores(settings, {3 * mebibyte, mebibyte}));
      CHECK(same_bits(on_stores.values, on_host.values));
      CHECK(on_host.measured[pinned] > 0);
      CHECK(on_stores.measured[pinned] == 0);
      CHECK(on_stores.planned == on_stores.measured);
    }
  }
}

TEST_CASE("Streamed weights that stay in stores give the same bits and take their bytes there", "[stores][stream]") {
  constexpr std::int64_t layers = 6;
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", layers));
  MadeUpInput input(checkpoint.config(), 2, 6, 6, 20);
  const std::vector<float> expected = run_twice(input, *checkpoint, case_settings()).values;
  for (const Scheme scheme : {Scheme::e1, Scheme::e4}) {
    for (const std::int64_t resident : {0, 1}) {
      std::vector<std::size_t> taken;
      for (const std::int64_t blocks : {0, 2, 3, 100}) {
        INFO(scheme_name(scheme) << ", " << resident << " resident, " << blocks << " stored");
        Settings settings = case_settings();
        settings.scheme = scheme;
        settings.weights = {.stream = true, .resident_blocks = resident, .stored_blocks = blocks};
        const Ran ran = run_twice(input, *checkpoint, with_stores(settings, {2 * mebibyte, mebibyte}));
        CHECK(same_bits(ran.values, expected));
        const std::vector<std::size_t> bytes = stored(ran);
        taken.push_back(bytes[0] + bytes[1]);
        CHECK((blocks == 0 && scheme == Scheme::e1) == (taken.back() == 0));
      }
      const std::size_t block = taken[2] - taken[1];
      CHECK(taken[1] == taken[0] + 2 * block);
      CHECK(taken[3] == taken[0] + static_cast<std::size_t>(layers - resident) * block);
    }
  }
}

TEST_CASE("Ranks that share heads store their parts of the blocks", "[stores][stream][ranks]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 4));
  MadeUpInput input(checkpoint.config(), 2, 6, 6, 20);
  Settings settings = rank_settings(2, RankLayout::tensor);
  settings.weights = {.stream = true, .slots = 1};
  const Ran on_host = run_twice(input, *checkpoint, settings);
  settings.weights.stored_blocks = 3;
  const Ran ran = run_twice(input, *checkpoint, with_stores(settings, {any}));
  CHECK(same_bits(ran.values, on_host.values));
  settings.ranks.layout = RankLayout::sequence;
  const Ran whole = run_twice(input, *checkpoint, with_stores(settings, {any}));
  CHECK(stored(ran)[0] < stored(whole)[0]);
  CHECK(stored(ran)[0] > stored(whole)[0] / 2 - 3 * 4096);
}

TEST_CASE("A plan has stored blocks and rows on the link to other devices", "[stores]") {
  const Checkpoint checkpoint(tiny_transformer("ltx23_tiny", 8));
  MadeUpInput input(*checkpoint.config().transformer, 4, 16, 18, 40);
  const auto plan = [&](Settings settings, bool has_stores) {
    settings.weights.page_cache_bytes = 0;
    if (has_stores) settings = with_stores(settings, {3, 1});
    Runtime runtime(settings, Runtime::DryRun{ltxmem::find_device_profile("rtx4090")});
    return TransformerModel(runtime, checkpoint).plan(input.input(), input.output());
  };
  const auto busy = [](const Runtime::Plan& made, ltxmem::WorkQueue queue) {
    return made.work->replay.queue(queue).busy_seconds;
  };
  Settings settings = scheme_settings(Scheme::e4);
  settings.weights.stream = true;
  const Runtime::Plan host = plan(settings, false);
  CHECK(busy(host, ltxmem::WorkQueue::peer_in) == 0);
  const Runtime::Plan rows = plan(settings, true);
  CHECK(busy(rows, ltxmem::WorkQueue::peer_in) > 0);
  CHECK(busy(rows, ltxmem::WorkQueue::peer_out) > 0);
  CHECK(busy(rows, ltxmem::WorkQueue::copy_out) == 0);
  CHECK(rows.operations.transfer_bytes == host.operations.transfer_bytes);
  CHECK(rows.operations.disk_bytes == host.operations.disk_bytes);
  settings.weights.stored_blocks = 4;
  const Runtime::Plan both = plan(settings, true);
  CHECK(both.operations.transfer_bytes == host.operations.transfer_bytes);
  CHECK(both.operations.disk_bytes == host.operations.disk_bytes / 2);
  CHECK(busy(both, ltxmem::WorkQueue::copy_in) < busy(rows, ltxmem::WorkQueue::copy_in));
  REQUIRE(both.stores.size() == 2);
  CHECK(both.stores[0].bytes > 2 * both.stores[1].bytes);
  std::vector<std::string> names;
  for (const ltxmem::BufferSum& buffer : both.stores[0].buffers) names.push_back(buffer.name);
  for (const char* name : {"tokens", "keys", "values", "stored weights"}) {
    CHECK(std::count(names.begin(), names.end(), name) == 1);
  }
}

TEST_CASE("A store gives no more than it has free", "[stores]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 1));
  MadeUpInput input(checkpoint.config(), 2, 6, 6, 20);
  const Settings settings = with_stores(scheme_settings(Scheme::e4), {1000, 1000});
  const std::string message = message_of<ltxmem::OutOfMemory>([&] {
    Runtime runtime(settings);
    input.run(runtime, *checkpoint);
  });
  CHECK_THAT(message, Contains("workspace in device memory of store rank 1: out of memory: asked for ") &&
                          Contains(" of 1000"));
}

TEST_CASE("Stores that are not there, or not idle, are refused", "[stores]") {
  const auto message = [](const auto& change) {
    Settings settings = with_stores(rank_settings(2), {any, any});
    change(settings);
    return message_of<ltxmem::ShapeError>([&] { const Runtime runtime(settings); });
  };
  CHECK_NOTHROW(Runtime(with_stores(rank_settings(2), {any, any})));
  CHECK_THAT(message([](Settings& s) { s.stores[1].index = 2; }), Contains("rank 2 is named twice"));
  CHECK_THAT(message([](Settings& s) { s.stores[1].index = 4; }), Contains("there is no rank 4 of 4 ranks"));
  CHECK_THAT(message([](Settings& s) { s.stores[0].index = 0; }), Contains("rank 0 does what ranks do not share"));
  CHECK_THAT(message([](Settings& s) { s.stores[0].index = 1; }),
             Contains("rank 1 of 4 ranks, expected the last 2, from rank 2 on"));
  CHECK_THAT(message([](Settings& s) { s.stores[0].free_bytes = 0; }), Contains("rank 2 has 0 bytes free"));
  CHECK_THAT(message([](Settings& s) { s.ranks.idle_primary = true, s.ranks.count = 3; }),
             Contains("3 with an idle primary, of which 2 are stores, expected at least 4"));
  CHECK_THAT(message([](Settings& s) { s.stores[0].kind = ltxmem::DeviceKind::cuda; }),
             Contains("cuda:2 with --device cpu, expected a card that computes"));
  CHECK_THAT(message([](Settings& s) { s.ranks.stores = 0, s.stores.clear(), s.weights.stored_blocks = 3; }),
             Contains("--stored-blocks 3 without --store"));
}
