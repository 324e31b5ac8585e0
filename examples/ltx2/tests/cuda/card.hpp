// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "doubles/control.hpp"
#include "support/catch.hpp"
#include "tests/support/golden_case.hpp"

namespace ltx2::test {

/// Settings for small cases on a card.
inline Settings card_settings(ltxmem::DType dtype = ltxmem::DType::f32) {
  Settings settings = case_settings(dtype);
  settings.device.kind = ltxmem::DeviceKind::cuda;
  settings.weights.device_reads_files = false;
  return settings;
}

/// A machine of so many cards, and as prepare(settings) leaves the rest of it, for the length of a case.
class Cards {
 public:
  explicit Cards(int count, const std::function<void(doubles::Settings&)>& prepare = [](doubles::Settings&) {}) {
    doubles::Settings machine = doubles::settings_of_environment();
    machine.devices = count;
    prepare(machine);
    doubles::reset(machine);
  }
  Cards(const Cards&) = delete;
  Cards& operator=(const Cards&) = delete;
  ~Cards() { doubles::reset(doubles::settings_of_environment()); }
};

/// Everything that the card's double had to do was in order, and it has its memory back.
inline void expect_clean_card() {
  CHECK(doubles::findings() == std::vector<std::string>());
  CHECK(doubles::live_allocations() == 0);
}

}  // namespace ltx2::test
