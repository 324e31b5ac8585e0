// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/budgets.hpp"

#include <fstream>
#include <string>

#include "runtime/size.hpp"

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
  return budgets;
}

MemoryLimits limits_of(const std::vector<MemoryBudget>& budgets) {
  MemoryLimits limits;
  for (const MemoryBudget& budget : budgets) {
    if (budget.reserve_bytes == 0) (budget.name == "device" ? limits.device : limits.host) = budget.bytes;
  }
  return limits;
}

}  // namespace ltx2
