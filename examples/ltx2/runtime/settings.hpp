// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ltxmem/core/device.hpp"
#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/error.hpp"
#include "runtime/named.hpp"
#include "runtime/scheme.hpp"

namespace ltx2 {

class Processes;

/// Where the weights of a model's blocks are while it runs.
struct WeightPlacement {
  bool stream = false;               ///< blocks visit the device by turns; false: all stay
  std::int64_t slots = 2;            ///< streamed blocks on the device at a time
  std::int64_t resident_blocks = 0;  ///< first blocks that stay although the others are streamed
  std::int64_t stored_blocks = 0;    ///< so many of the others stay in the stores, where there are any
  /// The device reads host memory (the CPU): weights that are not streamed are used where the file is mapped. False:
  /// they are copied to the device and count as its memory.
  bool device_reads_files = true;
  static constexpr std::size_t all_cached = std::numeric_limits<std::size_t>::max();
  /// Memory that the host has left for the page cache. Streamed blocks that do not fit are dropped from it after use.
  std::size_t page_cache_bytes = all_cached;

  bool in_place() const noexcept { return !stream && device_reads_files; }
};

/// As the option --device says it: "cpu", "cuda" or "cuda:INDEX".
inline std::string device_text(const ltxmem::Device& device) {
  if (device.kind == ltxmem::DeviceKind::cpu) return "cpu";
  return device.index == 0 ? "cuda" : "cuda:" + std::to_string(device.index);
}

/// The spaces that are memory of the host: on the CPU the device's is that as well.
inline std::vector<ltxmem::MemorySpace> host_spaces(ltxmem::DeviceKind kind) {
  using ltxmem::MemorySpace;
  if (kind == ltxmem::DeviceKind::cpu) return {MemorySpace::device, MemorySpace::pinned, MemorySpace::host};
  return {MemorySpace::pinned, MemorySpace::host};
}

/// As the option --weights says it: "resident" or "stream:SLOTS".
inline std::string weights_text(const WeightPlacement& weights) {
  return weights.stream ? "stream:" + std::to_string(weights.slots) : "resident";
}

/// What the working ranks share: they form a grid, whose rows share the heads and hidden channels of the same tokens
/// and whose columns share the video's tokens.
enum class RankLayout : std::uint8_t {
  sequence,  ///< the tokens: one column
  tensor,    ///< the heads: one row
  both,      ///< rows as long as the largest divisor of the ranks that is at most their square root
};

inline constexpr std::array<RankLayout, 3> rank_layouts{RankLayout::sequence, RankLayout::tensor, RankLayout::both};

constexpr std::string_view rank_layout_name(RankLayout layout) noexcept {
  constexpr std::array<std::string_view, rank_layouts.size()> names{"sequence", "tensor", "both"};
  return names[static_cast<std::size_t>(layout)];
}

constexpr std::optional<RankLayout> find_rank_layout(std::string_view name) noexcept {
  return find_named(rank_layouts, rank_layout_name, name);
}

/// Who shares the transformer's work.
struct RankSettings {
  int count = 1;
  int stores = 0;  ///< so many last ranks stay out of it and are Settings::stores
  RankLayout layout = RankLayout::sequence;
  bool idle_primary = false;  ///< rank 0 stays out of the transformer and has its memory for everything else
  /// Of the ranks that share tokens, so many trade them for heads in self attention, and keys and values go round
  /// between their rows: 1, a ring of all; as many as there are, no ring. A divisor of sharing_tokens().
  int ulysses_degree = 1;
  std::vector<double> weights{};  ///< of the working ranks: their shares are in proportion; empty: all alike
  std::chrono::milliseconds deadline = std::chrono::minutes(10);  ///< of every wait for another rank
  Processes* processes = nullptr;  ///< that the ranks of a run are, this one among them; null: threads. Borrowed

  int first_working() const noexcept { return idle_primary ? 1 : 0; }
  int working() const noexcept { return count - first_working() - stores; }
  int first_store() const noexcept { return count - stores; }
  bool works(int rank) const noexcept { return rank >= first_working() && rank < first_store(); }

  /// Ranks that share the heads of the same tokens: a row of the grid, working ranks that follow one another.
  int sharing_heads() const noexcept {
    if (layout != RankLayout::both) return layout == RankLayout::tensor ? working() : 1;
    int width = 1;
    for (int divisor = 2; divisor * divisor <= working(); ++divisor) {
      if (working() % divisor == 0) width = divisor;
    }
    return width;
  }
  /// Ranks that share the tokens: a column of the grid.
  int sharing_tokens() const noexcept { return working() / sharing_heads(); }
};

/// Memory of another device, for what leaves the one that computes: rows of a scheme, the saved prefix, weights. What
/// is spread over several takes of each in proportion to what it has free.
struct StoreSettings {
  static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

  ltxmem::DeviceKind kind = ltxmem::DeviceKind::cpu;  ///< of a rank; or a card that is none
  int index = 0;                                      ///< of the rank, or the card
  std::size_t free_bytes = unlimited;

  /// "rank 1" or "cuda:1".
  std::string name() const { return (kind == ltxmem::DeviceKind::cpu ? "rank " : "cuda:") + std::to_string(index); }
};

/// As the option --store says it: "host", "rank:1,2" or "cuda:1=BYTES,2=BYTES".
inline std::string stores_text(const std::vector<StoreSettings>& stores) {
  if (stores.empty()) return "host";
  std::string text = stores.front().kind == ltxmem::DeviceKind::cpu ? "rank:" : "cuda:";
  for (const StoreSettings& store : stores) {
    if (&store != &stores.front()) text += ",";
    text += std::to_string(store.index);
    if (store.free_bytes != StoreSettings::unlimited) text += "=" + std::to_string(store.free_bytes);
  }
  return text;
}

/// How a run is executed. Only device, dtype and ranks change bits of the result.
struct Settings {
  ltxmem::Device device{};                    ///< that computes
  ltxmem::DType dtype = ltxmem::DType::bf16;  ///< of activations: f32 or bf16
  int threads = 1;                            ///< shared out among the ranks that are threads
  RankSettings ranks{};
  Scheme scheme = Scheme::e1;      ///< where the transformer keeps the long tensors of the video
  std::int64_t ffn_chunk = 4096;   ///< tokens per feed-forward chunk
  std::int64_t query_tile = 4096;  ///< tokens per tile of queries
  std::int64_t key_tile = 8192;    ///< tokens per transport tile of keys and values
  std::int64_t decode_frames = 1;  ///< latent frames that pass through the video autoencoder at a time
  std::int64_t decode_tile = 0;    ///< latent cells by as many that the video decoder gives at a time; 0: all
  WeightPlacement weights{};
  /// Where the transformer keeps what the first blocks of a step's passes have in common (device or pinned); without a
  /// place every pass computes all blocks.
  std::optional<ltxmem::MemorySpace> saved_prefix{};
  std::vector<StoreSettings> stores{};  ///< in the place of pinned memory, by number; empty: that is where things go
  int verbose = 1;
};

/// Throws ShapeError for ranks that cannot work.
inline void expect_workable(const RankSettings& ranks) {
  using ltxmem::expects;
  expects(ranks.working() >= 1, "ranks: ", ranks.count, ranks.idle_primary ? " with an idle primary" : "",
          ranks.stores > 0 ? ", of which " + std::to_string(ranks.stores) + " are stores" : "", ", expected at least ",
          ranks.first_working() + ranks.stores + 1);
  expects(ranks.ulysses_degree >= 1 && ranks.sharing_tokens() % ranks.ulysses_degree == 0,
          "ranks: a Ulysses degree of ", ranks.ulysses_degree, " among ", ranks.sharing_tokens(),
          " ranks that share tokens, expected a divisor");
  expects(ranks.deadline.count() > 0, "ranks: a deadline of ", ranks.deadline.count(), " ms, expected at least 1");
  if (!ranks.weights.empty()) {
    expects(ranks.weights.size() == static_cast<std::size_t>(ranks.working()), "ranks: ", ranks.weights.size(),
            " weights for ", ranks.working(), " working ranks");
    double sum = 0;
    for (const double weight : ranks.weights) {
      expects(weight >= 0 && std::isfinite(weight), "ranks: weight ", weight, ", expected at least 0");
      sum += weight;
    }
    expects(sum > 0, "ranks: all weights are 0");
    expects(ranks.layout != RankLayout::both,
            "ranks: weights with layout both, expected sequence or tensor: shares of a grid are even");
  }
}

/// Throws ShapeError for stores that are not there, or not idle.
inline void expect_stores(const Settings& settings) {
  using ltxmem::DeviceKind;
  using ltxmem::expects;
  const RankSettings& ranks = settings.ranks;
  expects(settings.weights.stored_blocks == 0 || !settings.stores.empty(), "--stored-blocks ",
          settings.weights.stored_blocks, " without --store, expected 0");
  for (std::size_t i = 1; i < settings.stores.size(); ++i) {
    expects(settings.stores[i - 1].index != settings.stores[i].index, "--store: ", settings.stores[i].name(),
            " is named twice");
  }
  for (const StoreSettings& store : settings.stores) {
    expects(store.free_bytes > 0, "--store: ", store.name(), " has 0 bytes free");
    if (store.kind == DeviceKind::cuda) {
      expects(settings.device.kind == DeviceKind::cuda, "--store ", store.name(), " with --device ",
              device_text(settings.device), ", expected a card that computes");
      expects(ranks.count == 1, "--store ", store.name(), " with ", ranks.count, " ranks, expected 1");
      expects(store.index != settings.device.index, "--store ", store.name(),
              ": the card that computes, expected another one");
      continue;
    }
    expects(ranks.processes == nullptr, "--store ", store.name(),
            ": ranks are processes, expected ranks that are threads of one process");
    expects(store.index < ranks.count, "--store: there is no ", store.name(), " of ", ranks.count, " ranks");
    expects(store.index > 0, "--store: rank 0 does what ranks do not share, expected an idle rank");
    const int place = static_cast<int>(&store - settings.stores.data());
    expects(store.index == ranks.first_store() + place, "--store: ", store.name(), " of ", ranks.count,
            " ranks, expected the last ", ranks.stores, ", from rank ", ranks.first_store(), " on");
  }
}

}  // namespace ltx2
