// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/step_trace.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

namespace ltx2 {
namespace {

std::string column(std::size_t bytes) {
  std::array<char, 32> text{};
  if (bytes == 0) return std::string(12, ' ') + "-";
  std::snprintf(text.data(), text.size(), " %12.2f", static_cast<double>(bytes) / 0x1p20);
  return text.data();
}

}  // namespace

std::map<std::string, SpaceBytes> planned_by_step(const ltxmem::Record& record) {
  std::map<std::string, SpaceBytes> planned;
  SpaceBytes now{};
  std::uint32_t step = 0;  // the one entered last: steps are numbered in the order in which they are entered
  const auto note = [&](std::uint32_t current) {
    step = std::max(step, current);
    SpaceBytes& most = planned[record.steps()[step].name];
    for (std::size_t space = 0; space < now.size(); ++space) most[space] = std::max(most[space], now[space]);
  };
  std::size_t change = 0;
  for (std::size_t at = 0; at <= record.timeline().size(); ++at) {
    for (; change < record.memory().size() && record.memory()[change].position <= at; ++change) {
      const ltxmem::Record::MemoryChange& taken = record.memory()[change];
      if (taken.step > step) note(taken.step);  // what was held when the step began counts as its own
      now[static_cast<std::size_t>(taken.space)] += static_cast<std::size_t>(taken.bytes);
      note(taken.step);
    }
    if (at < record.timeline().size()) note(record.timeline()[at].step);
  }
  return planned;
}

StepTrace::StepTrace(const ltxmem::Record& planned, ltxmem::Workspace& workspace, Line line)
    : planned_(planned_by_step(planned)), workspace_(workspace), line_(std::move(line)) {
  std::string heads = "step, MiB                  ";
  for (const ltxmem::MemorySpace space : ltxmem::memory_spaces) {
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), " %12s %12s", (std::string(memory_space_name(space)) + " plan").c_str(),
                  "actual");
    heads += text.data();
  }
  line_(heads);
}

void StepTrace::enter(const char* name, std::int64_t index) {
  finish();
  name_ = name;
  index_ = index;
}

void StepTrace::finish() {
  const std::array arenas{&workspace_.device, &workspace_.pinned, &workspace_.host};
  SpaceBytes used{};
  for (std::size_t space = 0; space < arenas.size(); ++space) {
    used[space] = arenas[space]->peak_bytes();
    peaks_[space] = std::max(peaks_[space], used[space]);
    arenas[space]->reset_peak();
  }
  if (name_.empty()) return;
  std::string label = name_;
  if (index_ >= 0) label += " " + std::to_string(index_);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%-27.40s", label.c_str());
  std::string line = text.data();
  const SpaceBytes planned = planned_.count(name_) > 0 ? planned_.at(name_) : SpaceBytes{};
  for (std::size_t space = 0; space < used.size(); ++space) line += column(planned[space]) + column(used[space]);
  line_(line);
  name_.clear();
}

}  // namespace ltx2
