// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/device_profiles.hpp"

#include <fstream>
#include <iterator>

#include "ltxmem/backend/dry_run/device_profile_json.hpp"
#include "ltxmem/core/error.hpp"

namespace ltx2 {

ltxmem::DeviceProfile read_device_profile(const std::string& name) {
  if (const ltxmem::DeviceProfile* known = ltxmem::find_device_profile(name)) return *known;
  std::ifstream file(name, std::ios::binary);
  if (!file) {
    std::string names;
    for (const auto& profile : ltxmem::built_in_device_profiles()) names += (names.empty() ? "" : ", ") + profile.name;
    throw ltxmem::IoError("--device-profile " + name + ": neither a readable file nor one of " + names);
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return ltxmem::parse_device_profile(text, name);
}

}  // namespace ltx2
