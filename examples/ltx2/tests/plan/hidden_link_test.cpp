// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/hidden_link.hpp"

#include "plan/known_models.hpp"
#include "plan/plan_job.hpp"
#include "support/catch.hpp"

/// The rule that plans print, against the replay of the second stage.

namespace {

using namespace ltx2;

/// The share of the second stage's predicted time in which nothing happens but copying to the device.
double waiting_share(Scheme scheme, std::int64_t query_tile, const ltxmem::DeviceProfile& profile) {
  GenerateRequest request;
  request.width = 1920;
  request.height = 1088;
  request.frames = 897;
  Settings settings;
  settings.scheme = scheme;
  settings.query_tile = query_tile;
  Models models(known_models(ModelVersion::v2_3));
  const StageReport stage = plan_job(request, models, settings, {&profile}).report.stages.at(3);
  return stage.planned_seconds[static_cast<std::size_t>(ltxmem::Bound::copy_in)] / stage.predicted_seconds();
}

}  // namespace

TEST_CASE("From the printed query tile on the replay hides the link, and with a quarter less it does not", "[plan]") {
  for (const char* name : {"rtx4090", "a100"}) {
    const ltxmem::DeviceProfile& profile = *ltxmem::find_device_profile(name);
    const std::int64_t tile = hiding_query_tile(profile, ltxmem::DType::bf16);
    for (const Scheme scheme : {Scheme::e3, Scheme::e4}) {
      CAPTURE(name, tile, scheme_name(scheme));
      CHECK(waiting_share(scheme, tile, profile) < 0.06);
      CHECK(waiting_share(scheme, tile * 3 / 4 / 256 * 256, profile) > 0.15);
    }
  }
}

TEST_CASE("The query tile that hides the link is that of the table in the documentation, in whole quanta") {
  CHECK(hiding_query_tile(*ltxmem::find_device_profile("rtx3060"), ltxmem::DType::bf16) == 768);
  CHECK(hiding_query_tile(*ltxmem::find_device_profile("h100"), ltxmem::DType::bf16) == 13824);
  CHECK(hiding_query_tile(*ltxmem::find_device_profile("h100"), ltxmem::DType::f32) == 2048);
}
