// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "ltxmem/backend/dry_run/device_profile.hpp"
#include "plan/job_plot.hpp"
#include "plan/known_models.hpp"
#include "plan/plan_job.hpp"
#include "support/catch.hpp"
#include "tests/support/xml.hpp"

/// The rows of docs/memory.md that are promised: long clips of the full 2.3 model in bf16 with streamed weights.

namespace {

using namespace ltx2;
using namespace ltx2::test;

constexpr std::size_t gibibyte = std::size_t{1} << 30;
constexpr std::size_t reserve = gibibyte / 2;  // of the card, for driver and code

JobPlan plan_of(std::int64_t width, std::int64_t height, std::int64_t frames, Scheme scheme) {
  GenerateRequest request;
  request.width = width;
  request.height = height;
  request.frames = frames;
  request.fps = 24;
  const PipelinePreset preset = pipeline_preset(request.pipeline, ModelVersion::v2_3);
  request.steps = preset.steps;
  request.guidance = preset.guidance;
  Settings settings;
  settings.device.kind = ltxmem::DeviceKind::cuda;
  settings.scheme = scheme;
  settings.weights.stream = true;
  settings.weights.device_reads_files = false;
  Models models(known_models(ModelVersion::v2_3));
  return plan_job(request, models, settings, {ltxmem::find_device_profile("rtx4090")});
}

}  // namespace

TEST_CASE("897 frames of 1920x1088 leave half a gibibyte of 12 free with keys and values on the device",
          "[plan][headline]") {
  const std::size_t peak = plan_of(1920, 1088, 897, Scheme::e1).report.planned_peak()[0];
  CAPTURE(peak);
  CHECK(peak <= 12 * gibibyte - reserve);
  CHECK(peak >= 3 * std::size_t{230'520} * 8192);  // x, keys and values are in it
}

TEST_CASE("1,001 frames of 1920x1088 leave half a gibibyte of 8 free", "[plan][headline]") {
  const std::size_t peak = plan_of(1920, 1088, 1001, Scheme::e3).report.planned_peak()[0];
  CAPTURE(peak);
  CHECK(peak <= 8 * gibibyte - reserve);
  CHECK(peak >= std::size_t{257'040} * 8192);
}

TEST_CASE("20 seconds of 3840x2176 leave half a gibibyte of 24 free with keys and values on the device",
          "[plan][headline]") {
  const std::size_t peak = plan_of(3840, 2176, 481, Scheme::e1).report.planned_peak()[0];
  CAPTURE(peak);
  CHECK(peak <= 24 * gibibyte - reserve);
  CHECK(peak >= 3 * std::size_t{497'760} * 8192);
}

TEST_CASE("The picture of a job holds the planned peak of every memory space to the byte", "[plan][plot]") {
  const JobPlan plan = plan_of(768, 512, 121, Scheme::e3);
  const MemoryPlot plot = job_plot(plan, "a job");
  const std::vector<MemoryLane> lanes = memory_lanes(plot);
  CHECK(lanes.size() == 3);
  for (const MemoryLane& lane : lanes) {
    CAPTURE(memory_space_name(lane.space));
    CHECK(lane.peak_bytes == plan.report.planned_peak()[static_cast<std::size_t>(lane.space)]);
    std::size_t sum = 0;
    for (const MemoryLane::Area& area : lane.areas) sum += area.bytes[lane.peak_column];
    CHECK(sum == lane.peak_bytes);
  }
  REQUIRE(plot.stages.size() == plan.report.stages.size());
  CHECK_NOTHROW(XmlReader::read(memory_svg(plot)));
}
