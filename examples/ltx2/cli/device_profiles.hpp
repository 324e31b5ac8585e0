// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ltxmem/backend/dry_run/device_profile.hpp"

namespace ltx2 {

/// What --device-profile names: a built-in profile, or a JSON file such as `ltx2 calibrate` writes.
/// Throws IoError naming the file or the known names; what parse_device_profile throws
ltxmem::DeviceProfile read_device_profile(const std::string& name);

/// Whether the device is the CPU: it reads weights where their files are mapped.
inline bool is_cpu(const ltxmem::DeviceProfile& profile) {
  return profile.name.starts_with("cpu");
}

/// Lets devices reach each other's memory at the rate of the link to the host: those of one machine do.
inline void place_in_one_machine(ltxmem::DeviceProfile& profile) {
  profile.network_bytes_per_s = profile.bytes_per_s(ltxmem::WorkQueue::copy_in);
}

}  // namespace ltx2
