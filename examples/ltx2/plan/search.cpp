// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/search.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "pipeline/pipeline.hpp"
#include "plan/fit.hpp"

namespace ltx2 {
namespace {

constexpr std::array<std::int64_t, 4> token_tiles{8192, 4096, 1024, 256};
constexpr std::array<std::int64_t, 5> decode_tiles{0, 32, 16, 8, 4};

/// The settings as the options of a report.
nlohmann::ordered_json options_of(const Settings& settings) {
  Report report;
  report.settings = settings;
  return to_json(report).at("settings");
}

/// Plans candidates, each once, and remembers the fastest that fits, or that which lacks least.
class Search {
 public:
  Search(std::span<const ltxmem::MemoryBudget> budgets, const PlanWith& plan_with)
      : budgets_(budgets), plan_with_(plan_with) {}

  /// Tries what is automatic, beginning with the given settings' rest.
  void run(Settings settings, const Automatic& automatic) {
    if (!automatic.ulysses_degree) return run_with_ranks(settings, automatic);
    const int most = settings.ranks.sharing_tokens();
    for (int degree = 1; degree <= most; ++degree) {
      if (most % degree != 0) continue;
      settings.ranks.ulysses_degree = degree;
      run_with_ranks(settings, automatic);
    }
  }

  bool fits() const { return best_ && !best_->misfit; }
  const Choice& best() const { return *best_; }
  Choice take() { return *std::move(best_); }

 private:
  void run_with_ranks(Settings settings, const Automatic& automatic) {
    if (automatic.weights) settings.weights.stream = !settings.weights.device_reads_files;
    if (automatic.saved_prefix) settings.saved_prefix.reset();
    if (automatic.resident_blocks > 0) settings.weights.resident_blocks = 0;
    settle_decode_tile(settings, automatic);
    for (const Scheme scheme : {Scheme::e1, Scheme::e2, Scheme::e3, Scheme::e4}) {
      if (automatic.scheme) settings.scheme = scheme;
      try_scheme(settings, automatic);
      if (!automatic.scheme || is_near_bound(settings, automatic) || lacks_for_decoding()) return;
    }
  }

  /// The report of a plan, without the parts it is made of.
  const Report& plan(const Settings& settings) {
    const auto [entry, is_new] = tried_.try_emplace(options_of(settings).dump());
    Report& summary = entry->second;
    if (!is_new) return summary;
    Choice choice{plan_with_(settings), std::nullopt};
    choice.misfit = find_misfit(choice.plan.report, budgets_);
    summary = choice.plan.report;
    for (StageReport& stage : summary.stages) stage.parts.clear();
    if (!best_ || is_better(choice, *best_)) best_ = std::move(choice);
    return summary;
  }

  /// Of plans that take equally long the one with more blocks on the device is better: it reads less.
  static bool is_better(const Choice& a, const Choice& b) {
    if (a.misfit && b.misfit) return shortfall(*a.misfit) < shortfall(*b.misfit);
    if (a.misfit || b.misfit) return !a.misfit;
    const double seconds = a.plan.report.predicted_seconds() - b.plan.report.predicted_seconds();
    if (seconds != 0) return seconds < 0;
    return a.plan.report.settings.weights.resident_blocks > b.plan.report.settings.weights.resident_blocks;
  }
  static std::size_t shortfall(const ltxmem::DoesNotFit::Details& misfit) {
    return misfit.need_bytes - misfit.budget.bytes;
  }

  /// The most that any stage lacks, of those that decode the video or of the others; 0 where they fit.
  std::size_t lack(const Report& report, bool decoding) const {
    std::size_t most = 0;
    for (const StageReport& stage : report.stages) {
      if ((stage.name == video_decode_stage) != decoding) continue;
      const auto misfit = find_misfit(std::span(&stage, 1), report.settings, budgets_);
      if (misfit) most = std::max(most, shortfall(*misfit));
    }
    return most;
  }
  bool holds_before_decoding(const Report& report) const { return lack(report, false) == 0; }

  /// Whether decoding is what the best plan lacks memory for: then no scheme changes that.
  bool lacks_for_decoding() const { return best_->misfit && best_->misfit->peak.step.starts_with(video_decode_stage); }

  /// Whether the best is within a hundredth of E1 with room for everything, which computes and moves least.
  bool is_near_bound(Settings settings, const Automatic& automatic) {
    if (!fits()) return false;
    settings = with_tiles(settings, automatic, token_tiles.front());
    settings.scheme = Scheme::e1;
    if (automatic.saved_prefix) settings.saved_prefix = ltxmem::MemorySpace::device;
    if (settings.weights.stream) settings.weights.resident_blocks = automatic.resident_blocks;
    return sampling_seconds(best_->plan.report) <= 1.01 * sampling_seconds(plan(settings));
  }
  static double sampling_seconds(const Report& report) {
    double sum = 0;
    for (const StageReport& stage : report.stages) {
      if (stage.name != video_decode_stage) sum += stage.predicted_seconds();
    }
    return sum;
  }

  static Settings with_tiles(Settings settings, const Automatic& automatic, std::int64_t tile) {
    if (automatic.query_tile) settings.query_tile = tile;
    if (automatic.key_tile) settings.key_tile = tile;
    if (automatic.ffn_chunk) settings.ffn_chunk = std::min(tile, settings.query_tile);
    return settings;
  }

  /// The largest tile with which the decoding stage fits, or that with which it lacks least.
  void settle_decode_tile(Settings& settings, const Automatic& automatic) {
    if (!automatic.decode_tile) return;
    Settings first = with_tiles(settings, automatic, token_tiles.front());
    if (automatic.scheme) first.scheme = Scheme::e1;
    std::size_t least = static_cast<std::size_t>(-1);
    for (const std::int64_t tile : decode_tiles) {
      first.decode_tile = tile;
      const std::size_t missing = lack(plan(first), true);
      if (missing < least) settings.decode_tile = tile;
      least = std::min(least, missing);
      if (least == 0) return;
    }
  }

  void try_scheme(const Settings& settings, const Automatic& automatic) {
    const bool has_tiles = automatic.query_tile || automatic.key_tile || automatic.ffn_chunk;
    for (const std::int64_t tile : token_tiles) {
      Settings candidate = with_tiles(settings, automatic, tile);
      if (holds_before_decoding(plan(candidate))) {
        if (lacks_for_decoding()) return;
        place_prefix(candidate, automatic);
        keep_blocks(candidate, automatic);
        return;
      }
      if (!has_tiles) return;
    }
  }

  /// Puts the saved prefix where it fits, if it saves time.
  void place_prefix(Settings& settings, const Automatic& automatic) {
    if (!automatic.saved_prefix) return;
    const double without = plan(settings).predicted_seconds();
    for (const ltxmem::MemorySpace place : {ltxmem::MemorySpace::device, ltxmem::MemorySpace::pinned}) {
      Settings saving = settings;
      saving.saved_prefix = place;
      const Report& report = plan(saving);
      if (report.predicted_seconds() >= without) return;
      if (!holds_before_decoding(report)) continue;
      settings = saving;
      return;
    }
  }

  /// Lets as many streamed blocks stay as fit. The first one tells how much a block takes.
  void keep_blocks(const Settings& settings, const Automatic& automatic) {
    if (!settings.weights.stream || automatic.resident_blocks == 0) return;
    const auto keeping = [&](std::int64_t blocks) -> const Report& {
      Settings candidate = settings;
      candidate.weights.resident_blocks = blocks;
      return plan(candidate);
    };
    std::int64_t blocks = automatic.resident_blocks;
    const Report& none = plan(settings);
    const Report& one = keeping(1);
    for (std::size_t i = 0; i < none.stages.size(); ++i) {
      for (const ltxmem::MemoryBudget& budget : budgets_) {
        const std::size_t before = need(none.stages[i], budget);
        const std::size_t after = need(one.stages[i], budget);
        if (after <= before || before > budget.bytes) continue;
        blocks = std::min(blocks, static_cast<std::int64_t>((budget.bytes - before) / (after - before)));
      }
    }
    // What stays needs no slot: when the rest fits into the slots, all fit.
    if (blocks + settings.weights.slots >= automatic.resident_blocks) {
      blocks = automatic.resident_blocks;
      if (holds_before_decoding(keeping(blocks))) return;
      blocks -= settings.weights.slots + 1;
    }
    while (blocks > 1 && !holds_before_decoding(keeping(blocks))) --blocks;  // blocks may differ in size
  }

  static std::size_t need(const StageReport& stage, const ltxmem::MemoryBudget& budget) {
    return budget.reserve_bytes + stage.planned_bytes(budget.spaces);
  }

  std::span<const ltxmem::MemoryBudget> budgets_;
  const PlanWith& plan_with_;
  std::map<std::string, Report> tried_;  // by their options
  std::optional<Choice> best_;
};

/// How many blocks fit into the stores beside what plans without any and with one have there; no more than `most`, and
/// none where blocks take nothing because all stay on the device.
std::int64_t room_in_stores(const Report& none, const Report& one, std::int64_t most) {
  auto room = static_cast<std::size_t>(most);
  bool takes_any = false;
  for (std::size_t stage = 0; stage < none.stages.size(); ++stage) {
    for (std::size_t i = 0; i < none.settings.stores.size(); ++i) {
      const std::size_t before = none.stages[stage].stores[i].planned.bytes;
      const std::size_t after = one.stages[stage].stores[i].planned.bytes;
      if (after <= before) continue;
      takes_any = true;
      room = std::min(room, (none.settings.stores[i].free_bytes - before) / (after - before));
    }
  }
  return takes_any ? static_cast<std::int64_t>(room) : 0;
}

/// A plan that fits, with as many streamed blocks in the stores as what they hold otherwise leaves room for, up to
/// `most`.
JobPlan fill_stores(JobPlan best, std::int64_t most, std::span<const ltxmem::MemoryBudget> budgets,
                    const PlanWith& plan_with) {
  Settings settings = best.report.settings;
  const auto plan_storing = [&](std::int64_t blocks) {
    settings.weights.stored_blocks = blocks;
    return plan_with(settings);
  };
  most -= settings.weights.resident_blocks;
  if (!settings.weights.stream || most <= 0) return best;
  JobPlan one = plan_storing(1);
  if (find_misfit(one.report, budgets)) return best;
  std::int64_t next = room_in_stores(best.report, one.report, most);
  if (next == 0) return best;
  best = std::move(one);
  std::int64_t fits = 1;
  std::int64_t too_many = next + 1;
  // Usually that many fit; where a budget or the ends of rows say less, the largest number between is looked for.
  for (bool is_first = true; next > fits; is_first = false) {
    JobPlan plan = plan_storing(next);
    if (find_misfit(plan.report, budgets)) {
      too_many = next;
    } else {
      fits = next;
      best = std::move(plan);
      if (is_first) break;
    }
    next = (fits + too_many) / 2;
  }
  return best;
}

/// As options, those of the settings that differ from the given ones.
std::string changed_options(const Settings& given, const Settings& settings) {
  const nlohmann::ordered_json before = options_of(given);
  const nlohmann::ordered_json after = options_of(settings);
  std::string text;
  for (const auto& [name, value] : after.items()) {
    if (before.contains(name) && value == before.at(name)) continue;
    text += (text.empty() ? "--" : " --") + name + " " + (value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

}  // namespace

Choice choose_plan(const Settings& settings, const Automatic& automatic, std::span<const ltxmem::MemoryBudget> budgets,
                   const PlanWith& plan_with) {
  Search search(budgets, plan_with);
  search.run(settings, automatic);
  if (search.fits()) {
    Choice choice = search.take();
    choice.plan = fill_stores(std::move(choice.plan), automatic.stored_blocks, budgets, plan_with);
    return choice;
  }
  Choice choice = search.best();
  search.run(settings, Automatic::everything(automatic.resident_blocks));
  if (search.fits()) choice.misfit->suggestion = changed_options(settings, search.best().plan.report.settings);
  return choice;
}

JobPlan plan_within(const Settings& settings, const Automatic& automatic, std::span<const ltxmem::MemoryBudget> budgets,
                    const PlanWith& plan_with) {
  Choice choice = choose_plan(settings, automatic, budgets, plan_with);
  if (choice.misfit) throw ltxmem::DoesNotFit(*std::move(choice.misfit));
  return std::move(choice.plan);
}

}  // namespace ltx2
