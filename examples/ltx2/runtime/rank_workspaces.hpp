// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "ltxmem/parallel/any_transport.hpp"
#include "ltxmem/parallel/communicator.hpp"
#include "ltxmem/parallel/planned_communicator.hpp"
#include "ltxmem/parallel/rank_group.hpp"
#include "ltxmem/parallel/thread_communicator.hpp"
#include "runtime/card_messages.hpp"
#include "runtime/end_process.hpp"
#include "runtime/planned_workspace.hpp"
#include "runtime/runtime.hpp"

namespace ltx2 {

/// What some of the working ranks of a plan talk through.
using PlanRanks = ltxmem::RankGroup<ltxmem::PlannedTransport>;

/// Whom a working rank talks to: a row and a column of the grid that the working ranks form.
template <class Ranks>
struct RankPlace {
  int index;       ///< among the working ranks
  Ranks& heads;    ///< the ranks that share the heads of the same tokens
  Ranks& tokens;   ///< the ranks that share the tokens, with the same heads; these are a grid themselves:
  Ranks& traders;  ///< those of them that trade tokens for heads in self attention
  Ranks& ring;     ///< those of them between which keys and values go round
};

/// The groups that make up a place in the grid, over one transport.
template <class Transport>
class RankGroups {
 public:
  RankGroups(const ltxmem::MessageRanks<Transport>& all, const RankSettings& settings)
      : RankGroups(all, settings, all.rank() - settings.first_working()) {}

  RankPlace<ltxmem::RankGroup<Transport>> place() { return {index_, heads_, tokens_, traders_, ring_}; }
  /// Of all of them.
  std::int64_t link_bytes() const {
    std::int64_t sum = 0;
    for (const auto* group : {&heads_, &tokens_, &traders_, &ring_}) sum += group->traffic().link_bytes;
    return sum;
  }

 private:
  using Group = ltxmem::RankGroup<Transport>;

  RankGroups(const ltxmem::MessageRanks<Transport>& all, const RankSettings& settings, int index)
      : RankGroups(all, settings.first_working(), index, {index, settings.working(), settings.sharing_heads()},
                   {index / settings.sharing_heads(), settings.sharing_tokens(), settings.ulysses_degree}) {}
  RankGroups(const ltxmem::MessageRanks<Transport>& all, int first, int index, const ltxmem::RankGrid& grid,
             const ltxmem::RankGrid& of_tokens)
      : index_(index),
        heads_(all, from(first, grid.row)),
        tokens_(all, from(first, grid.column)),
        traders_(all, from(first, part(grid.column, of_tokens.row))),
        ring_(all, from(first, part(grid.column, of_tokens.column))) {}

  static std::vector<int> from(int first, std::vector<int> ranks) {
    for (int& rank : ranks) rank += first;
    return ranks;
  }
  static std::vector<int> part(const std::vector<int>& of, std::vector<int> places) {
    for (int& place : places) place = of[static_cast<std::size_t>(place)];
    return places;
  }

  int index_;
  Group heads_;
  Group tokens_;
  Group traders_;
  Group ring_;
};

/// The working ranks of a run, and exactly the memory that a plan of each asks for, for as long as they run the planned
/// body again and again. They are threads, or processes, of which this is one; one rank alone works in the calling
/// thread, and so does that of a process. Backend: of the device that computes, the processor or a card for each rank.
///
/// Threads   one per working rank while a body runs, with an equal part of the run's threads for its backend; a process
///           has all of its own for its rank
/// Throws    what a body throws when one rank works alone; of several, RankError that names the rank at fault, what it
///           or the rank that noticed was doing and in which step; Cancelled. Every rank of this process has left by
///           then; a thread that does not within ten seconds ends the process (end_process)
template <class Backend>
class RankWorkspaces {
 public:
  /// Plans of the working ranks, in order.
  using Plans = std::vector<Runtime::Plan>;

  /// body(place, backend, workspace) of every working rank; those of the same kind(index) are planned once.
  template <class Kind, class Body>
  static Plans plan(const Runtime& runtime, Kind&& kind, Body&& body) {
    const RankSettings& settings = runtime.settings().ranks;
    std::map<decltype(kind(0)), Runtime::Plan> known;
    Plans plans;
    for (int index = 0; index < settings.working(); ++index) {
      const auto own_kind = kind(index);
      auto of_kind = known.find(own_kind);
      if (of_kind == known.end()) {
        const auto run_dry = [&](PlanBackend& backend, ltxmem::Workspace& workspace) {
          const ltxmem::PlannedCommunicator all(settings.first_working() + index, settings.count);
          RankGroups groups(all, settings);
          body(groups.place(), backend, workspace);
        };
        auto planned = runtime.plan_with_stores(threads(runtime), run_dry);
        if (index > 0) planned.record.reset();  // one rank's steps are traced
        of_kind = known.emplace(own_kind, std::move(planned)).first;
      }
      plans.push_back(of_kind->second);
      if (index > 0) plans.back().record.reset();
    }
    return plans;
  }

  RankWorkspaces(Runtime& runtime, const Plans& plans) : runtime_(runtime) {
    for (std::size_t index = 0; index < plans.size(); ++index) {
      workspaces_.emplace_back(runtime, plans[index], settings().first_working() + static_cast<int>(index));
    }
  }

  RankWorkspaces(const RankWorkspaces&) = delete;
  RankWorkspaces& operator=(const RankWorkspaces&) = delete;

  /// Whether other plans fit into this memory.
  bool holds(const Plans& plans) const {
    return std::equal(
        workspaces_.begin(), workspaces_.end(), plans.begin(), plans.end(),
        [](const PlannedWorkspace& workspace, const Runtime::Plan& plan) { return workspace.holds(plan); });
  }

  /// Runs body(place, backend, workspace) on every working rank, unless this is a dry run.
  template <class Body>
  void run(const Plans& plans, Body&& body) {
    runtime_.note(plans);
    runtime_.note_ranks(plans);
    if (runtime_.is_plan()) return;
    try {
      run_ranks(plans, body);
    } catch (...) {
      // Messages that nobody takes any more must not outlive the rows that they point to.
      for (Runtime::RankCard& card : runtime_.cards_) card.messages.reset();
      throw;
    }
  }

 private:
  static constexpr bool has_cards = std::is_same_v<Backend, CardBackend>;
  /// What the rows of a rank travel by: cards have memories of their own.
  using Transport = std::conditional_t<has_cards, CardTransport, ltxmem::AnyTransport>;

  template <class Body>
  void run_ranks(const Plans& plans, Body&& body) {
    const auto run_rank = [&](const Transport& transport, Backend& backend) {
      RankGroups groups(ltxmem::MessageRanks<Transport>(transport), settings());
      const auto index = static_cast<std::size_t>(groups.place().index);
      workspaces_[index].run_on(backend, plans[index], [&](Backend&, ltxmem::Workspace& workspace) {
        body(groups.place(), backend, workspace);
      });
      return groups.link_bytes();
    };
    const auto run_one_of_many = [&](const ltxmem::AnyTransport& meeting) {
      const int rank = meeting.rank();
      if (!is_present(rank)) return;
      const std::int64_t bytes = blaming(rank, [&] {
        const Transport transport = connect(meeting);
        return settings().works(rank) ? run_rank(transport, at(rank).backend) : 0;
      });
      std::vector<StageReport>& stages = runtime_.report_.stages;
      if (!stages.empty()) stages.back().ranks[static_cast<std::size_t>(rank)].measured_message_bytes += bytes;
    };
    if (const Processes* processes = settings().processes; processes != nullptr) {
      add_backend(processes->rank());
      run_one_of_many(processes->transport());
      return;
    }
    const auto grace =
        std::clamp<std::chrono::milliseconds>(settings().deadline, std::chrono::seconds(2), std::chrono::seconds(10));
    ltxmem::ThreadGroup group(settings().count, {settings().deadline, grace, end_process});
    const auto meeting = [&](int rank) { return ltxmem::AnyTransport(ltxmem::ThreadTransport(group, rank)); };
    if (settings().count == 1) {
      run_rank(connect(meeting(0)), own_backend());
      return;
    }
    for (int rank = 0; rank < settings().count; ++rank) {
      if (is_present(rank)) add_backend(rank);
    }
    ltxmem::run_on_threads(group, [&](int rank) { run_one_of_many(meeting(rank)); });
  }

  /// Every card is one of those that send each other messages, whether it works or not.
  bool is_present(int rank) const noexcept { return has_cards || settings().works(rank); }

  /// How the rows of a rank travel, in the thread that works for it from now on.
  Transport connect(const ltxmem::AnyTransport& meeting) {
    if constexpr (!has_cards) {
      return meeting;
    } else {
      const int rank = meeting.rank();
      Runtime::RankCard& card = runtime_.card_of(rank);
      card.backend.make_current();
      if (meeting.size() == 1) return {meeting, nullptr};
      if (card.messages == nullptr) {
        at(rank).step = "meeting of the cards";
        card.messages = join_cards(meeting);
      } else {
        card.messages->wait_by(wait_as(meeting));
      }
      return {meeting, card.messages.get()};
    }
  }

  Backend& own_backend() {
    if constexpr (has_cards) {
      return *runtime_.card_;
    } else {
      return runtime_.backend_;
    }
  }
  static Backend make_backend(Runtime& runtime, int rank) {
    if constexpr (has_cards) {
      return runtime.card_of(rank).backend;
    } else {
      return HostBackend({.threads = threads(runtime), .stop = runtime.stop()});
    }
  }

  /// A rank's backend, and where it is in its work.
  struct Working {
    Working(Runtime& runtime, int rank) : backend(make_backend(runtime, rank)) {}

    Backend backend;
    const char* step = "";
    std::string block;
  };

  const RankSettings& settings() const noexcept { return runtime_.settings().ranks; }
  static int threads(const Runtime& runtime) {
    const Settings& settings = runtime.settings();
    return std::max(1, settings.threads / (settings.ranks.processes != nullptr ? 1 : settings.ranks.working()));
  }
  Working& at(int rank) { return working_.at(rank); }

  void add_backend(int rank) {
    const auto [place, is_new] = working_.try_emplace(rank, runtime_, rank);
    if (!is_new) return;
    Working& working = place->second;
    working.backend.on_step([this, rank, &working](const char* name, std::int64_t index) {
      working.step = name;
      if (std::string_view(name) == "block") working.block = "block " + std::to_string(index) + ", ";
      if (rank == settings().first_working()) runtime_.tell(name, index);
      if (runtime_.rank_watcher_) runtime_.rank_watcher_(rank, name, index);
    });
  }

  /// fn(), and an error of it says which rank and step it comes from.
  template <class Fn>
  auto blaming(int rank, Fn&& fn) {
    const auto place = [&] { return at(rank).block + at(rank).step; };
    try {
      return fn();
    } catch (const ltxmem::Cancelled&) {
      throw;
    } catch (const ltxmem::RankError& error) {
      throw ltxmem::RankError(error.rank(), std::string(error.what()) + ", in " + place());
    } catch (const std::exception& error) {
      if (settings().processes != nullptr) settings().processes->tell_failure(error.what() + (", in " + place()));
      throw ltxmem::RankError(rank, "rank " + std::to_string(rank) + " failed in " + place() + ": " + error.what());
    }
  }

  Runtime& runtime_;
  std::map<int, Working> working_;  // those of this process; none while one rank works alone
  std::deque<PlannedWorkspace> workspaces_;
};

}  // namespace ltx2
