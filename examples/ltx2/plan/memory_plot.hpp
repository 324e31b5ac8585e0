// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "ltxmem/backend/dry_run/record.hpp"
#include "ltxmem/backend/dry_run/replay.hpp"
#include "ltxmem/core/device.hpp"
#include "ltxmem/memory/memory_observer.hpp"

/// A picture of the memory that a planned run holds over time, by buffer.

namespace ltx2 {

/// One piece of work of a stage: what its dry run recorded, when things happen in it, and what is held beside its own
/// buffers all the while. Borrows record and replay.
struct PlottedPart {
  const ltxmem::Record* record = nullptr;
  const ltxmem::Replay* replay = nullptr;
  std::array<std::vector<ltxmem::BufferSum>, ltxmem::memory_spaces.size()> held{};
};

struct PlottedStage {
  std::string name;
  std::vector<PlottedPart> parts{};  ///< one after the other
  /// The most that the stage holds, if that is known to be at another time than in its parts; shown at its end.
  std::array<ltxmem::MemoryPeak, ltxmem::memory_spaces.size()> at_peak{};
};

struct MemoryPlot {
  std::string title;
  std::vector<PlottedStage> stages{};  ///< one after the other
  /// A line that the memory of a space must stay below.
  std::array<std::optional<std::size_t>, ltxmem::memory_spaces.size()> budget_bytes{};
};

/// What is drawn of one memory space. Every column shows the moment in it at which most was held.
struct MemoryLane {
  struct Area {
    std::string name;
    std::vector<std::size_t> bytes;  ///< per column
    std::size_t most = 0;
  };

  ltxmem::MemorySpace space = ltxmem::MemorySpace::device;
  std::vector<Area> areas;  ///< by their most bytes, largest first; those left over are summed as the last one
  std::size_t peak_bytes = 0;
  std::string peak_step;
  std::size_t peak_column = 0;
};

/// A column of the picture belongs to one stage. Time runs evenly within a stage; a short one gets columns enough to be
/// seen, which the picture says.
struct MemoryPlotColumns {
  struct Stage {
    std::size_t first = 0;
    std::size_t count = 0;
    double seconds = 0;
  };
  std::vector<Stage> stages;
  std::size_t count = 0;
};

MemoryPlotColumns plot_columns(const MemoryPlot& plot);

/// The lanes of the spaces that are used at all.
///
/// Throws    ShapeError without stages
std::vector<MemoryLane> memory_lanes(const MemoryPlot& plot);

/// The picture as an SVG document: a lane per memory space, areas stacked by buffer, stages marked, the peak named.
std::string memory_svg(const MemoryPlot& plot);

/// Writes the picture whole or not at all. IoError naming the path and the cause.
void write_memory_plot(const std::string& path, const MemoryPlot& plot);

}  // namespace ltx2
