// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/budgets.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>

#include "cli/failure.hpp"
#include "cli/shared_options.hpp"
#include "runtime/available_memory.hpp"
#include "runtime/size.hpp"
#include "sampler/latent_shape.hpp"

namespace ltx2 {
namespace {

using ltxmem::MemoryBudget;
using ltxmem::MemorySpace;

/// Address space that a thread reserves and hardly uses, with the GNU C library: 8 MiB of stack, 64 MiB of heap.
constexpr std::size_t reserve_per_thread_bytes = std::size_t{72} << 20;

std::size_t resolve(const char* option, const std::string& text, std::size_t free_bytes) {
  try {
    const std::size_t bytes = parse_size(text).resolve(free_bytes);
    ltxmem::expects(bytes > 0, "size '", text, "': expected more than 0 bytes");
    return bytes;
  } catch (const ltxmem::ShapeError& error) {
    throw ltxmem::ShapeError(std::string(option) + ": " + error.what());
  }
}

/// Null where there is none of that name.
const MemoryBudget* find_budget(const std::vector<MemoryBudget>& budgets, std::string_view name) {
  const auto found = std::find_if(budgets.begin(), budgets.end(), [&](const auto& b) { return b.name == name; });
  return found != budgets.end() ? &*found : nullptr;
}

}  // namespace

std::vector<MemoryBudget> stated_budgets(const ExecutionOptions& options, std::optional<std::size_t> card_bytes) {
  std::vector<MemoryBudget> budgets;
  if (!options.memory_budget.empty()) {
    const std::size_t free_bytes = card_bytes ? *card_bytes : available_host_memory();
    budgets.push_back({"device", {MemorySpace::device}, resolve("--memory-budget", options.memory_budget, free_bytes)});
  }
  if (!options.host_budget.empty()) {
    budgets.push_back({"host",
                       {MemorySpace::pinned, MemorySpace::host},
                       resolve("--host-budget", options.host_budget, available_host_memory())});
  }
  if (const std::optional<std::size_t> space = available_address_space(); space && !card_bytes) {
    const int threads = thread_count(options.threads) + options.ranks.value_or(1);
    budgets.push_back({"address space", host_spaces(ltxmem::DeviceKind::cpu), *space,
                       default_reserve_bytes + static_cast<std::size_t>(threads) * reserve_per_thread_bytes});
  }
  return budgets;
}

std::vector<MemoryBudget> budgets_of_run(const ExecutionOptions& options, std::optional<std::size_t> card_bytes) {
  std::vector<MemoryBudget> budgets = stated_budgets(options, card_bytes);
  if (options.memory_budget.empty()) {
    const std::size_t free_bytes = card_bytes ? *card_bytes : available_host_memory();
    budgets.push_back({"device", {MemorySpace::device}, free_bytes, default_reserve_bytes});
  }
  if (options.host_budget.empty()) {
    const auto kind = card_bytes ? ltxmem::DeviceKind::cuda : ltxmem::DeviceKind::cpu;
    budgets.push_back({"host", host_spaces(kind), available_host_memory(), default_reserve_bytes});
  }
  return budgets;
}

void free_stores(Settings& settings, const std::vector<MemoryBudget>& budgets,
                 std::optional<std::size_t> profile_bytes) {
  expect_stores(settings);
  const MemoryBudget* const device = find_budget(budgets, "device");
  for (StoreSettings& store : settings.stores) {
    std::size_t free_bytes = profile_bytes.value_or(StoreSettings::unlimited);
    if (store.kind == ltxmem::DeviceKind::cuda && !profile_bytes) {
      free_bytes = free_card_memory(store.index);  // also where it is stated: the card must be there
      free_bytes -= std::min(free_bytes, default_reserve_bytes);
    } else if (store.kind == ltxmem::DeviceKind::cpu && device != nullptr) {
      free_bytes = device->plannable_bytes();
    }
    if (store.free_bytes == StoreSettings::unlimited) store.free_bytes = free_bytes;
  }
  expect_stores(settings);
}

std::size_t host_bytes_of(const std::vector<MemoryBudget>& budgets) {
  const MemoryBudget* const host = find_budget(budgets, "host");
  return host != nullptr ? host->plannable_bytes() : std::numeric_limits<std::size_t>::max();
}

void expect_plannable(const GenerateRequest& request) {
  // Per token: three coordinates and three rows of their tables, mask, timestep and its index, and on the way the
  // coordinates of an axis in order, with an index that doubles as it grows.
  constexpr std::int64_t bytes_per_token = 3 * 4 + 3 * 4 + 4 + 4 + 2 * 4 + 4;
  const std::int64_t video_tokens = video_grid(request.frames, request.height, request.width).tokens();
  const std::int64_t audio_tokens = audio_latent_frames(request.frames, request.fps);
  const auto bytes = static_cast<std::size_t>((video_tokens + audio_tokens) * bytes_per_token);
  const std::size_t available =
      std::min(available_host_memory(), available_address_space().value_or(std::numeric_limits<std::size_t>::max()));
  if (bytes <= available) return;
  throw Failure(ExitCode::does_not_fit,
                "the positions of " + std::to_string(video_tokens) + " video tokens and " +
                    std::to_string(audio_tokens) + " audio tokens (" + std::to_string(request.width) + " x " +
                    std::to_string(request.height) + ", " + std::to_string(request.frames) + " frames) need " +
                    format_bytes(bytes) + " of host memory, " + format_bytes(available) + " are available");
}

MemoryLimits limits_of(const std::vector<MemoryBudget>& budgets) {
  MemoryLimits limits;
  for (const MemoryBudget& budget : budgets) {
    if (budget.reserve_bytes == 0) (budget.name == "device" ? limits.device : limits.host) = budget.bytes;
  }
  return limits;
}

}  // namespace ltx2
