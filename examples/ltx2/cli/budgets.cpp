// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/budgets.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <string>

#include "cli/failure.hpp"
#include "runtime/size.hpp"
#include "sampler/latent_shape.hpp"

namespace ltx2 {
namespace {

using ltxmem::MemoryBudget;
using ltxmem::MemorySpace;

std::size_t resolve(const char* option, const std::string& text, std::size_t free_bytes) {
  try {
    const std::size_t bytes = parse_size(text).resolve(free_bytes);
    ltxmem::expects(bytes > 0, "size '", text, "': expected more than 0 bytes");
    return bytes;
  } catch (const ltxmem::ShapeError& error) {
    throw ltxmem::ShapeError(std::string(option) + ": " + error.what());
  }
}

/// What the process may still map under a limit of its address space (ulimit -v), if it has one.
std::optional<std::size_t> available_address_space() {
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  std::ifstream file("/proc/self/statm");
  std::size_t pages = 0;
  if (!(file >> pages)) throw ltxmem::IoError("/proc/self/statm: cannot be read");
  const std::size_t used = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

}  // namespace

std::size_t available_host_memory() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::string unit;
  std::size_t kibibytes = 0;
  while (file >> name >> kibibytes) {
    if (name == "MemAvailable:") return kibibytes << 10;
    std::getline(file, unit);
  }
  throw ltxmem::IoError("/proc/meminfo: no MemAvailable; state --memory-budget and --host-budget");
}

std::vector<MemoryBudget> stated_budgets(const ExecutionOptions& options, std::size_t device_free) {
  std::vector<MemoryBudget> budgets;
  if (!options.memory_budget.empty()) {
    budgets.push_back(
        {"device", {MemorySpace::device}, resolve("--memory-budget", options.memory_budget, device_free)});
  }
  if (!options.host_budget.empty()) {
    budgets.push_back({"host",
                       {MemorySpace::pinned, MemorySpace::host},
                       resolve("--host-budget", options.host_budget, available_host_memory())});
  }
  return budgets;
}

std::vector<MemoryBudget> budgets_on_cpu(const ExecutionOptions& options) {
  const bool states_both = !options.memory_budget.empty() && !options.host_budget.empty();
  const std::size_t available = states_both ? 0 : available_host_memory();
  std::vector<MemoryBudget> budgets = stated_budgets(options, available);
  if (options.memory_budget.empty()) {
    budgets.push_back({"device", {MemorySpace::device}, available, default_reserve_bytes});
  }
  if (options.host_budget.empty()) {
    budgets.push_back(
        {"host", {MemorySpace::device, MemorySpace::pinned, MemorySpace::host}, available, default_reserve_bytes});
  }
  if (const std::optional<std::size_t> space = available_address_space()) {
    budgets.push_back({"address space",
                       {MemorySpace::device, MemorySpace::pinned, MemorySpace::host},
                       *space,
                       default_reserve_bytes});
  }
  return budgets;
}

void expect_plannable(const GenerateRequest& request) {
  // Per token: three coordinates and three rows of their tables, mask, timestep and its index, and on the way the
  // coordinates of an axis in order, with an index that doubles as it grows.
  constexpr std::int64_t bytes_per_token = 3 * 4 + 3 * 4 + 4 + 4 + 2 * 4 + 4;
  const std::int64_t tokens = video_grid(request.frames, request.height, request.width).tokens();
  const std::size_t available = available_host_memory();
  if (static_cast<std::size_t>(tokens * bytes_per_token) <= available) return;
  throw Failure(ExitCode::does_not_fit, "the positions of " + std::to_string(tokens) + " video tokens (" +
                                            std::to_string(request.width) + " x " + std::to_string(request.height) +
                                            ", " + std::to_string(request.frames) + " frames) need " +
                                            format_bytes(static_cast<std::uint64_t>(tokens * bytes_per_token)) +
                                            " of host memory, " + format_bytes(available) + " are available");
}

MemoryLimits limits_of(const std::vector<MemoryBudget>& budgets) {
  MemoryLimits limits;
  for (const MemoryBudget& budget : budgets) {
    if (budget.reserve_bytes == 0) (budget.name == "device" ? limits.device : limits.host) = budget.bytes;
  }
  return limits;
}

}  // namespace ltx2
