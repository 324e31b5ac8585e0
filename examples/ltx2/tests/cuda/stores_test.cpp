// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <utility>

#include "support/catch.hpp"
#include "tests/cuda/card.hpp"
#include "tests/support/store_case.hpp"
#include "tests/support/transformer_example.hpp"

/// The transformer on a CUDA device with the memory of other devices in the place of the host's, all test doubles.

namespace {

using namespace ltx2;
using namespace ltx2::test;
using ltxmem::test::same_bits;

}  // namespace

TEST_CASE("The transformer on a card has the same bits with other cards for memory", "[cuda][transformer][stores]") {
  SynthesisedCheckpoint checkpoint(tiny_transformer("ltx23_tiny", 3));
  MadeUpInput input(checkpoint.config(), 1, 2, 3, 2, 3);
  Settings settings = card_settings();
  settings.scheme = Scheme::e4;
  settings.weights = {.stream = true, .slots = 1, .device_reads_files = false};
  const auto run_twice = [&] {
    const PassesResult result = run_passes(input, *checkpoint, settings, 2, [](int) {});
    CHECK(result.measured == result.planned);
    expect_clean_card();
    return result;
  };
  constexpr auto pinned = static_cast<std::size_t>(ltxmem::MemorySpace::pinned);
  const PassesResult on_host = run_twice();
  settings.stores = {{ltxmem::DeviceKind::cuda, 1, std::size_t{3} << 20},
                     {ltxmem::DeviceKind::cuda, 2, std::size_t{2} << 20}};
  for (const auto& [apart, blocks] : {std::pair(false, 0), std::pair(false, 2), std::pair(true, 3)}) {
    const Cards cards(3, [&](auto& machine) { machine.devices_apart = apart; });
    settings.weights.stored_blocks = blocks;
    const PassesResult on_cards = run_twice();
    CHECK(same_bits(on_cards.values, on_host.values));
    CHECK(on_cards.measured[0] == on_host.measured[0]);
    CHECK(on_cards.measured[pinned] < on_host.measured[pinned]);
  }
}

TEST_CASE("Cases with known answers pass on a card with other cards for memory", "[golden][cuda][stores]") {
  const Cards cards(3);
  for (const Scheme scheme : {Scheme::e3, Scheme::e4}) {
    Settings settings = card_settings();
    settings.scheme = scheme;
    settings.stores = {{ltxmem::DeviceKind::cuda, 1, 2000000}, {ltxmem::DeviceKind::cuda, 2, 1000000}};
    check_golden_case("transformer", "v23_i2v", run_transformer_case, settings);
    expect_clean_card();
  }
}

TEST_CASE("A card that is not there, or computes, is no store", "[cuda][stores]") {
  const Cards cards(2);
  Settings settings = card_settings();
  settings.stores = {{ltxmem::DeviceKind::cuda, 2, 1000}};
  CHECK_THAT(message_of<ltxmem::DeviceError>([&] { const Runtime runtime(settings); }),
             Catch::Matchers::Contains("CUDA device 2 does not exist, there are 2"));
  settings.stores.front().index = 0;
  CHECK_THAT(message_of<ltxmem::ShapeError>([&] { const Runtime runtime(settings); }),
             Catch::Matchers::Contains("cuda:0: the card that computes"));
}
