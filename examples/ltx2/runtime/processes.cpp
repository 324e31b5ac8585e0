// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/processes.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "ltxmem/core/error.hpp"

namespace ltx2 {

std::vector<std::string> Processes::all_texts(const std::string& mine) const {
  ltxmem::detail::CallingThread thread;
  std::vector<std::string> texts(static_cast<std::size_t>(size()));
  texts[static_cast<std::size_t>(rank())] = mine;
  for (int step = 1; step < size(); ++step) {
    const int to = (rank() + step) % size();
    const int from = (rank() - step + size()) % size();
    const auto exchange = [&](std::span<const std::byte> send, std::span<std::byte> receive) {
      auto request = transport().post(thread, {ltxmem::RankOperation::all_gather, to, send, from, receive});
      transport().finish(thread, request);
    };
    const std::uint64_t length = mine.size();
    std::uint64_t expected = 0;
    exchange(std::as_bytes(std::span(&length, 1)), std::as_writable_bytes(std::span(&expected, 1)));
    std::string& text = texts[static_cast<std::size_t>(from)];
    text.resize(expected);
    exchange(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(text)));
  }
  return texts;
}

void Processes::expect_alike(const Facts& mine) const {
  std::vector<Facts> all;
  for (const std::string& text : all_texts(nlohmann::json(mine).dump())) {
    all.push_back(nlohmann::json::parse(text).get<Facts>());
  }
  const Facts& expected = all.front();
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    const auto difference = first_difference(all[rank], expected);
    if (!difference) continue;
    throw ltxmem::ShapeError("rank " + std::to_string(rank) + " differs from rank 0 in its " + difference->name + ": " +
                             difference->text);
  }
}

void Processes::expect_alike(const Settings& mine) const {
  Facts facts;
  const nlohmann::ordered_json settings = to_json(mine);
  for (const auto& [name, value] : settings.items()) facts.emplace_back("--" + name, value.dump());
  expect_alike(facts);
}

std::size_t Processes::least(std::size_t mine) const {
  std::size_t least = mine;
  for (const std::string& text : all_texts(std::to_string(mine))) {
    least = std::min(least, static_cast<std::size_t>(std::stoull(text)));
  }
  return least;
}

void Processes::expect_all_can(const std::string& complaint) const {
  const std::vector<std::string> all = all_texts(complaint);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    throw ltxmem::RankError(static_cast<int>(rank), "rank " + std::to_string(rank) + ": " + all[rank]);
  }
}

void Processes::collect(Report& report) const {
  const auto own = static_cast<std::size_t>(rank());
  nlohmann::json measured = nlohmann::json::array();
  for (const StageReport& stage : report.stages) {
    if (stage.ranks.empty()) continue;
    measured.push_back({stage.ranks[own].measured_peak, stage.ranks[own].measured_message_bytes});
  }
  const std::vector<std::string> all = all_texts(measured.dump());
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    const nlohmann::json numbers = nlohmann::json::parse(all[rank]);
    auto next = numbers.begin();
    for (StageReport& stage : report.stages) {
      if (stage.ranks.empty()) continue;
      stage.ranks[rank].measured_peak = next->at(0);
      stage.ranks[rank].measured_message_bytes = (next++)->at(1);
    }
  }
}

}  // namespace ltx2
