// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ltxmem/parallel/any_transport.hpp"
#include "ltxmem/parallel/message_ranks.hpp"
#include "runtime/facts.hpp"
#include "runtime/report.hpp"

namespace ltx2 {

/// The processes of a run, each of which is one rank.
///
/// Rank 0, the primary, does everything that is not shared. The others go through the same program, whose host tensors
/// they have room for and do not compute: as in a plan, so they know what comes next without being told. In the
/// transformer they receive their inputs from the primary and return their part of the outputs.
class Processes : public ltxmem::MessageRanks<ltxmem::AnyTransport> {
 public:
  /// tell_failure(reason) lets the other processes' waits end with an error that names this one; place_on_machine: its
  /// number among those of them that run on the same machine.
  Processes(ltxmem::AnyTransport transport, std::function<void(const std::string& reason)> tell_failure,
            int place_on_machine = 0)
      : MessageRanks(std::move(transport)),
        tell_failure_(std::move(tell_failure)),
        place_on_machine_(place_on_machine) {}

  bool is_primary() const noexcept { return rank() == 0; }
  int place_on_machine() const noexcept { return place_on_machine_; }
  void tell_failure(const std::string& reason) const { tell_failure_(reason); }

  /// Every process calls it with its own facts. Throws ShapeError in all of them unless they are alike: it names the
  /// first rank that differs from the primary, and in what.
  void expect_alike(const Facts& mine) const;

  /// The same of the settings that each process has planned with.
  void expect_alike(const Settings& mine) const;

  /// What the primary gives; every process calls it.
  std::string from_primary(const std::string& text) const { return all_texts(is_primary() ? text : "").front(); }

  /// The smallest of what the processes give; every process calls it.
  std::size_t least(std::size_t mine) const;

  /// Every process calls it, with what keeps it from the work, or nothing. Throws RankError in all of them that names
  /// the first one which cannot do it.
  void expect_all_can(const std::string& complaint) const;

  /// What the others have measured of themselves becomes part of the primary's report.
  void collect(Report& report) const;

 private:
  /// The texts of all ranks.
  std::vector<std::string> all_texts(const std::string& mine) const;

  std::function<void(const std::string&)> tell_failure_;
  int place_on_machine_;
};

}  // namespace ltx2
