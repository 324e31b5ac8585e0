// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger.hpp"

#include "ltxmem/core/tensor.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/memory/limiting_resource.hpp"
#include "runtime/runtime.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

namespace {

using ltx2::Ledger;
using ltxmem::MemorySpace;
using Bytes = ltxmem::Tensor<std::byte, 1>;

struct Host {
  ltxmem::HostResource host;
  Ledger ledger{MemorySpace::host, host};
};

}  // namespace

TEST_CASE_METHOD(Host, "A ledger adds up what is in use under each name") {
  const Bytes first(ledger.named("latent"), {100});
  const Bytes second(ledger.named("latent"), {50});
  const Bytes noise(ledger.named("noise"), {1});
  CHECK(ledger.current_bytes() == 151);
  const auto held = ledger.held();
  REQUIRE(held.size() == 2);
  CHECK(held[0].name == "latent");
  CHECK(held[0].bytes == 150);
  CHECK(held[0].count == 2);
}

TEST_CASE_METHOD(Host, "A ledger remembers what was in use when most was, largest first") {
  { const Bytes small(ledger.named("small"), {10}), large(ledger.named("large"), {90}); }
  const Bytes later(ledger.named("later"), {20});
  CHECK(ledger.current_bytes() == 20);
  REQUIRE(ledger.peak().buffers.size() == 2);
  CHECK(ledger.peak().bytes == 100);
  CHECK(ledger.peak().buffers[0].name == "large");
  ledger.reset_peak();
  CHECK(ledger.peak().bytes == 20);
}

TEST_CASE_METHOD(Host, "At the peak a workspace shows its contents and their step") {
  const Bytes latent(ledger.named("latent"), {8});
  ltxmem::MemoryPeak contents{MemorySpace::host, 64, "block 0", {{"keys", 40, 1}, {"values", 24, 1}}};
  const Bytes workspace(ledger.workspace(contents), {64});
  CHECK(ledger.peak().step == "block 0");
  REQUIRE(ledger.peak().buffers.size() == 3);
  CHECK(ledger.peak().buffers[0].name == "keys");
  CHECK(ledger.held().size() == 1);
}

TEST_CASE_METHOD(Host, "A refusal names the buffer, its space and what is left, and counts nothing") {
  const Bytes latent(ledger.named("latent"), {100});
  const auto refusal = [&](ltxmem::ResourceRef memory, std::int64_t bytes) {
    return ltxmem::test::error_message<ltxmem::OutOfMemory>([&] { Bytes(memory, {bytes}); });
  };
  ltxmem::LimitingResource limited(host, 120);
  CHECK(refusal(ledger.named("noise", limited), 121) ==
        "noise in host memory: out of memory: asked for 121 bytes with 100 in use of 120");
  const std::string by_system = refusal(ledger.named("frames"), std::int64_t{1} << 60);
  CHECK_THAT(by_system,
             Catch::Matchers::StartsWith("frames in host memory: out of memory: asked for 1152921504606846976"
                                         " bytes with 100 in use of "));
  const std::size_t of = std::stoull(by_system.substr(by_system.rfind(' ')));
  CHECK(of > 100);
  CHECK(of < std::size_t{1} << 60);
  CHECK(ledger.current_bytes() == 100);
}

TEST_CASE("A dry runtime counts host tensors without having them, and skips work on them") {
  ltx2::Runtime runtime(ltx2::Settings{}, ltx2::Runtime::DryRun{});
  bool worked = false;
  {
    const ltx2::Stage stage(runtime, "a stage");
    const ltxmem::Tensor<float, 1> huge(runtime.host_memory("huge"), {std::int64_t{1} << 45});
    runtime.on_host([&] { worked = true; });
  }
  CHECK_FALSE(worked);
  const ltx2::StageReport& stage = runtime.report().stages.back();
  CHECK(stage.planned_peak[2] == std::size_t{1} << 47);
  CHECK(stage.at_peak[2].step == "a stage");
  CHECK(stage.measured_peak == ltx2::SpaceBytes());
}

TEST_CASE("Values that decide how much work there is are real in a dry run") {
  ltx2::Runtime runtime(ltx2::Settings{}, ltx2::Runtime::DryRun{});
  ltxmem::Tensor<float, 1> mask(runtime.host_work().values("mask"), {4});
  mask.view()(3) = 0.5F;
  CHECK(mask.view()(3) == 0.5F);
  const ltx2::Stage stage(runtime, "a stage");
  CHECK(runtime.report().stages.back().planned_peak[2] == 4 * sizeof(float));
}

TEST_CASE("A run never takes more than its limits") {
  ltx2::Runtime runtime(ltx2::Settings{}, {}, {.host = 1000});
  const Bytes most(runtime.host_memory(), {1000});
  CHECK_THROWS_AS(Bytes(runtime.host_memory("one more"), {1}), ltxmem::OutOfMemory);
}
