// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/processes.hpp"

#include <cstddef>
#include <string>
#include <vector>

#include "ltxmem/parallel/thread_communicator.hpp"
#include "support/catch.hpp"

namespace ltx2 {
namespace {

/// What every rank says when the ranks have these facts; empty: nothing.
std::vector<std::string> complaints(const std::vector<Facts>& facts) {
  std::vector<std::string> texts(facts.size());
  ltxmem::ThreadGroup group(static_cast<int>(facts.size()));
  ltxmem::run_on_threads(group, [&](int rank) {
    const auto own = static_cast<std::size_t>(rank);
    const Processes processes(ltxmem::AnyTransport(ltxmem::ThreadTransport(group, rank)), {});
    try {
      processes.expect_alike(facts[own]);
    } catch (const ltxmem::ShapeError& error) {
      texts[own] = error.what();
    }
  });
  return texts;
}

TEST_CASE("Processes that are alike go on", "[ranks]") {
  CHECK(complaints({{{"version", "1"}, {"seed", ""}}, {{"version", "1"}, {"seed", ""}}}) ==
        std::vector<std::string>(2));
  CHECK(complaints({{}, {}, {}}) == std::vector<std::string>(3));
}

TEST_CASE("All processes name the first that differs from the primary, and in what", "[ranks]") {
  const Facts usual{{"version", "1"}, {"argument 1", "generate"}};
  const Facts longer{{"version", "1"}, {"argument 1", "generate"}, {"argument 2", "--help"}};
  const auto all_say = [](const std::string& text) { return std::vector<std::string>(3, text); };
  CHECK(complaints({usual, usual, {{"version", "2"}, {"argument 1", "generate"}}}) ==
        all_say("rank 2 differs from rank 0 in its version: '2', expected '1'"));
  CHECK(complaints({usual, longer, longer}) ==
        all_say("rank 1 differs from rank 0 in its argument 2: '--help', expected nothing"));
  CHECK(complaints({longer, usual, longer}) ==
        all_say("rank 1 differs from rank 0 in its argument 2: nothing, expected '--help'"));
}

TEST_CASE("Processes know the smallest of what they have, and the first that cannot work", "[ranks]") {
  std::vector<std::size_t> least(3);
  std::vector<std::string> said(3);
  ltxmem::ThreadGroup group(3);
  ltxmem::run_on_threads(group, [&](int rank) {
    const auto own = static_cast<std::size_t>(rank);
    const Processes processes(ltxmem::AnyTransport(ltxmem::ThreadTransport(group, rank)), {}, rank);
    least[own] = processes.least(rank == 1 ? 5 : std::size_t{1} << 40);
    processes.expect_all_can("");
    try {
      processes.expect_all_can(rank > 0 ? "no card" : "");
    } catch (const ltxmem::RankError& error) {
      said[own] = std::to_string(error.rank()) + ", " + error.what();
    }
  });
  CHECK(least == std::vector<std::size_t>(3, 5));
  CHECK(said == std::vector<std::string>(3, "1, rank 1: no card"));
}

TEST_CASE("The primary reports what every process has measured", "[ranks]") {
  std::vector<Report> reports(3);
  ltxmem::ThreadGroup group(3);
  ltxmem::run_on_threads(group, [&](int rank) {
    const auto own = static_cast<std::size_t>(rank);
    Report& report = reports[own];
    report.stages.resize(3);
    for (const std::size_t stage : {std::size_t{0}, std::size_t{2}}) {  // those that ranks share
      report.stages[stage].ranks.resize(3);
      report.stages[stage].ranks[own].measured_peak = 10 * stage + own;
      report.stages[stage].ranks[own].measured_message_bytes = 100 + rank;
    }
    Processes(ltxmem::AnyTransport(ltxmem::ThreadTransport(group, rank)), {}).collect(report);
  });
  for (const std::size_t stage : {std::size_t{0}, std::size_t{2}}) {
    for (std::size_t rank = 0; rank < 3; ++rank) {
      const RankReport& known = reports[0].stages[stage].ranks[rank];
      CHECK(known.measured_peak == 10 * stage + rank);
      CHECK(known.measured_message_bytes == 100 + static_cast<std::int64_t>(rank));
    }
  }
  CHECK(reports[0].stages[1].ranks.empty());
}

}  // namespace
}  // namespace ltx2
