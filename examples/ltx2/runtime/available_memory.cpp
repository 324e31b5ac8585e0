// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/available_memory.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "ltxmem/core/error.hpp"

namespace ltx2 {
namespace {

/// Empty for a file that is not there or holds a word: "max".
std::optional<std::size_t> number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::size_t number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

struct GroupFiles {
  const char* limit;
  const char* used;
  const char* cached_prefix;  ///< of the names in memory.stat that count groups below too
};
constexpr GroupFiles version_1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_"};
constexpr GroupFiles version_2{"memory.max", "memory.current", ""};

std::optional<std::size_t> left_in_group(const std::filesystem::path& group, const GroupFiles& files) {
  const std::optional<std::size_t> limit = number_in(group / files.limit);
  const std::optional<std::size_t> used = number_in(group / files.used);
  if (!limit || !used) return std::nullopt;
  std::size_t cached = 0;
  std::ifstream statistics(group / "memory.stat");
  std::string name;
  std::size_t bytes = 0;
  while (statistics >> name >> bytes) {
    for (const char* list : {"active_file", "inactive_file"}) {
      if (name == std::string(files.cached_prefix) + list) cached += bytes;
    }
  }
  const std::size_t held = *used - std::min(*used, cached);
  return *limit - std::min(*limit, held);
}

}  // namespace

std::optional<std::size_t> available_in_control_groups(const std::filesystem::path& membership,
                                                       const std::filesystem::path& mount) {
  constexpr std::size_t without_end = std::numeric_limits<std::size_t>::max();
  std::size_t least = without_end;
  std::ifstream file(membership);
  for (std::string line; std::getline(file, line);) {
    // hierarchy:controllers:path
    std::istringstream fields(line);
    std::string hierarchy;
    std::string controllers;
    std::string path;
    std::getline(std::getline(std::getline(fields, hierarchy, ':'), controllers, ':'), path);
    const bool is_version_1 = ("," + controllers + ",").find(",memory,") != std::string::npos;
    if (!is_version_1 && hierarchy != "0") continue;
    const std::filesystem::path root = is_version_1 ? mount / "memory" : mount;
    // In a container the path may be that outside of it; the container's own group is then the root.
    for (std::filesystem::path group = std::filesystem::path(path).relative_path();; group = group.parent_path()) {
      least = std::min(least, left_in_group(root / group, is_version_1 ? version_1 : version_2).value_or(without_end));
      if (group.empty()) break;
    }
  }
  if (least == without_end) return std::nullopt;
  return least;
}

std::size_t available_host_memory() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::string unit;
  std::size_t kibibytes = 0;
  while (file >> name >> kibibytes) {
    if (name == "MemAvailable:")
      return std::min(kibibytes << 10, available_in_control_groups().value_or(kibibytes << 10));
    std::getline(file, unit);
  }
  throw ltxmem::IoError("/proc/meminfo: no MemAvailable; state --memory-budget and --host-budget");
}

std::optional<std::size_t> available_address_space() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  std::ifstream file("/proc/self/statm");
  std::size_t pages = 0;
  if (!(file >> pages)) throw ltxmem::IoError("/proc/self/statm: cannot be read");
  const std::size_t used = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

}  // namespace ltx2
