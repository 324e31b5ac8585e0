// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/calibrate.hpp"

#include <cmath>

#include "ltxmem/backend/dry_run/device_profile_json.hpp"
#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"
#include "tests/support/program.hpp"
#include "tests/support/report.hpp"

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Catch::Matchers::Contains;

Calibration tiny(const std::string& folder) {
  Calibration calibration;
  calibration.seconds = 0;
  calibration.rows = 8;
  calibration.keys = 8;
  calibration.heads = 1;
  calibration.copy_bytes = calibration.file_bytes = 100'000;
  calibration.folder = folder;
  return calibration;
}

}  // namespace

TEST_CASE("A calibration measures every figure of a profile that can be read back", "[calibrate]") {
  const ScratchFolder folder;
  Calibration calibration = tiny(folder.path());
  std::vector<std::string> seen;
  calibration.began = [&](const std::string& what) { seen.push_back(what); };
  const CalibrationResult result = calibrate(calibration);
  CHECK(result.measurements.size() == calibration_measurements);
  REQUIRE(seen.size() == result.measurements.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CHECK(result.measurements[i].what == seen[i]);
    CHECK(std::isfinite(result.measurements[i].value));
    CHECK(result.measurements[i].value > 0);
  }
  const ltxmem::DeviceProfile again = ltxmem::parse_device_profile(ltxmem::device_profile_json(result.profile), "test");
  CHECK(again.bf16_attention_flops_per_s == result.profile.bf16_attention_flops_per_s);
  CHECK(again.name == "cpu");
  CHECK_THAT(again.source, Contains("measured") && Contains("network assumed"));
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("Every rate of a calibrated profile is the measurement of its kind", "[calibrate]") {
  const ScratchFolder folder;
  const CalibrationResult result = calibrate(tiny(folder.path()));
  const auto measured = [&](const std::string& what) {
    for (const Measurement& measurement : result.measurements) {
      if (measurement.what == what) return measurement.value;
    }
    return -1.0;
  };
  CHECK(result.profile.bf16_flops_per_s == measured("linear layer, bf16"));
  CHECK(result.profile.bf16_attention_flops_per_s == measured("attention, bf16"));
  CHECK(result.profile.f32_flops_per_s == measured("linear layer, f32"));
  CHECK(result.profile.f32_attention_flops_per_s == measured("attention, f32"));
  CHECK(result.profile.disk_bytes_per_s == measured("disk"));
}

TEST_CASE("A calibration can be stopped and leaves no file", "[calibrate]") {
  const ScratchFolder folder;
  std::stop_source stop;
  Calibration calibration = tiny(folder.path());
  calibration.stop = stop.get_token();
  calibration.began = [&](const std::string& what) {
    if (what == "disk") stop.request_stop();
  };
  CHECK_THROWS_AS(calibrate(calibration), ltxmem::Cancelled);
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("A full disk ends a calibration with an error and leaves no file", "[calibrate]") {
  const ScratchFolder folder;
  Calibration calibration = tiny(folder.path());
  const ScopedFileSizeLimit full(1000);
  CHECK_THROWS_AS(calibrate(calibration), ltxmem::IoError);
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("calibrate prints a table and writes a profile that is read back", "[calibrate][cli]") {
  const ScratchFolder folder;
  const Ended ended = run_ltx2({"calibrate", "--quick", "--folder", folder.path(), "--threads", "2", "--output",
                                folder / "mine.json", "--progress", "json"});
  CHECK(ended.code == 0);
  for (const char* text :
       {"measured with 2 threads", "linear layer, bf16", "attention, f32", "Gflop/s", "Gbyte/s", "us"}) {
    CHECK_THAT(ended.output, Contains(text));
  }
  CHECK_THAT(ended.output, Catch::Matchers::EndsWith(folder / "mine.json" + "\n"));
  CHECK_THAT(ended.messages, Contains("\"done\":10,\"total\":10"));
  const ltxmem::DeviceProfile profile = ltxmem::parse_device_profile(file_text(folder / "mine.json"), "mine.json");
  CHECK(profile.memory_bytes > 0);
  CHECK(folder.entry_count() == 1);
}

TEST_CASE("calibrate refuses places that it cannot write to before it measures", "[calibrate][cli]") {
  const ScratchFolder folder;
  for (const auto& words :
       {Words{"--output", folder / "no/mine.json"}, {"--output", folder.path()}, {"--folder", folder / "no"}}) {
    const Ended ended = run_ltx2(Words{"calibrate", "--quick"} + words);
    CHECK(ended.code == 2);
    CHECK_THAT(ended.messages, Contains("ltx2: error: ") && Contains(folder.path()));
    CHECK(ended.output.empty());
  }
  CHECK(run_ltx2({"calibrate", "--quik"}).code == 2);
}

TEST_CASE("A signal ends calibrate with 130 and leaves no file", "[calibrate][cli][interrupt]") {
  const ScratchFolder folder;
  const Ended ended = run_ltx2({"calibrate", "--folder", folder.path(), "--output", folder / "mine.json", "--progress",
                                "json", "--threads", "1"},
                               {.signal = SIGINT, .after = "\"event\":\"begin\"", .standard_output = ""});
  CHECK(ended.code == 130);
  CHECK_THAT(ended.messages, Contains("ltx2: error: interrupted"));
  CHECK(folder.entry_count() == 0);
}
