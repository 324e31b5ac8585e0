// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/memory_plot.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "ltxmem/backend/dry_run/device_profile.hpp"
#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"
#include "tests/support/scratch.hpp"
#include "tests/support/xml.hpp"

namespace {

using namespace ltx2;
using namespace ltx2::test;
using Catch::Matchers::Contains;
using ltxmem::MemorySpace;

/// A stage that holds "x" all the time and, by turns, buffers of their own.
struct MadeUpStage {
  ltxmem::Record record;
  ltxmem::Replay replay;

  explicit MadeUpStage(std::size_t x_bytes, const std::vector<std::pair<const char*, std::size_t>>& others,
                       std::int64_t flops = 1'000'000'000) {
    record.taken(MemorySpace::device, "x", x_bytes);
    record.enter_step("block", 0);
    for (const auto& [name, bytes] : others) {
      record.enter_step("part", -1);
      record.taken(MemorySpace::device, name, bytes);
      record.add_compute("work", ltxmem::Arithmetic::f32, flops, 0);
      record.released(MemorySpace::device, name, bytes);
      record.leave_step();
    }
    record.leave_step();
    record.released(MemorySpace::device, "x", x_bytes);
    replay = ltxmem::replay(record, *ltxmem::find_device_profile("cpu"));
  }
  PlottedStage stage(std::string name) const { return {std::move(name), {{&record, &replay, {}}}, {}}; }
};

std::size_t sum_at(const MemoryLane& lane, std::size_t column) {
  std::size_t sum = 0;
  for (const MemoryLane::Area& area : lane.areas) sum += area.bytes[column];
  return sum;
}

/// The smallest y that any path of an area reaches: the top of the stack.
double top_of_areas(const std::vector<XmlElement>& elements) {
  double top = 1e9;
  for (const XmlElement& element : elements) {
    if (element.name != "path" || element.attributes.at("class") != "area") continue;
    const std::string& path = element.attributes.at("d");
    for (std::size_t i = 0; i < path.size(); ++i) {
      if (path[i] == 'V') top = std::min(top, std::stod(path.substr(i + 1)));
      if (path[i] == 'M') top = std::min(top, std::stod(path.substr(path.find(' ', i))));
    }
  }
  return top;
}

}  // namespace

TEST_CASE("The areas of a lane add up to the planned peak to the byte, in the column of the peak", "[plot]") {
  const MadeUpStage first(1000, {{"a", 64}, {"b", 4096}, {"c", 128}});
  const MadeUpStage second(2000, {{"a", 5123}, {"d", 1}});
  const MemoryPlot plot{"test", {first.stage("one"), second.stage("two")}, {}};
  const std::vector<MemoryLane> lanes = memory_lanes(plot);
  REQUIRE(lanes.size() == 1);  // nothing is held elsewhere
  CHECK(lanes[0].peak_bytes == second.record.peak_bytes(MemorySpace::device));
  CHECK(lanes[0].peak_bytes == 7123);
  CHECK(lanes[0].peak_step == "two, block 0, part");
  CHECK(sum_at(lanes[0], lanes[0].peak_column) == 7123);
  std::size_t most = 0;
  for (std::size_t column = 0; column < plot_columns(plot).count; ++column)
    most = std::max(most, sum_at(lanes[0], column));
  CHECK(most == 7123);
}

TEST_CASE("What is held beside the buffers of a part is part of its memory", "[plot]") {
  const MadeUpStage made(1000, {{"a", 64}});
  MemoryPlot plot{"test", {made.stage("one"), made.stage("two")}, {}};
  plot.stages[1].parts[0].held[2] = {{"latent", 300, 1}, {"noise", 200, 2}};
  const std::vector<MemoryLane> lanes = memory_lanes(plot);
  REQUIRE(lanes.size() == 2);
  CHECK(lanes[1].space == MemorySpace::host);
  CHECK(lanes[1].peak_bytes == 500);
  CHECK(lanes[1].peak_step == "two");
  CHECK(lanes[1].peak_column == plot_columns(plot).stages[1].first);
  plot.stages[1].parts[0].held[0] = {{"x", 7, 1}};
  CHECK(memory_lanes(plot)[0].peak_bytes == 1071);
  CHECK(memory_lanes(plot)[0].peak_step == "two, block 0, part");
}

TEST_CASE("The peak is in the picture when it is between the parts of a stage", "[plot]") {
  const MadeUpStage made(1000, {{"a", 64}});
  MemoryPlot plot{"test", {made.stage("one"), made.stage("two")}, {}};
  plot.stages[0].at_peak[0] = {MemorySpace::device, 5000, "joining", {{"x", 4000, 1}, {"y", 1000, 1}}};
  const std::vector<MemoryLane> lanes = memory_lanes(plot);
  CHECK(lanes[0].peak_bytes == 5000);
  CHECK(lanes[0].peak_step == "one, joining");
  CHECK(sum_at(lanes[0], lanes[0].peak_column) == 5000);
}

TEST_CASE("Many parts of a stage share its columns, and each of their peaks shows", "[plot]") {
  const MadeUpStage small(1000, {{"a", 64}});
  const MadeUpStage large(1000, {{"a", 64000}}, 1000);  // takes next to no time
  PlottedStage stage{"one", {}, {}};
  for (int i = 0; i < 2000; ++i) stage.parts.push_back(small.stage("").parts[0]);
  stage.parts.push_back(large.stage("").parts[0]);
  for (int i = 0; i < 2000; ++i) stage.parts.push_back(small.stage("").parts[0]);
  const MemoryPlot plot{"test", {stage}, {}};
  const std::vector<MemoryLane> lanes = memory_lanes(plot);
  CHECK(lanes[0].peak_bytes == 65000);
  CHECK(lanes[0].peak_column == Approx(210).margin(1));
  CHECK(sum_at(lanes[0], 0) == 1064);
}

TEST_CASE("Areas are sorted by size, and many small buffers are summed as one", "[plot]") {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> made;
    for (int i = 0; i < 14; ++i) made.push_back("buffer " + std::to_string(i));
    return made;
  }();
  std::vector<std::pair<const char*, std::size_t>> buffers;
  for (std::size_t i = 0; i < names.size(); ++i) buffers.emplace_back(names[i].c_str(), 100 * (i + 1));
  const MadeUpStage made(5000, buffers);
  const std::vector<MemoryLane> lanes = memory_lanes({"test", {made.stage("one")}, {}});
  REQUIRE(lanes[0].areas.size() == 9);
  CHECK(lanes[0].areas[0].name == "x");
  CHECK(lanes[0].areas[1].name == "buffer 13");
  CHECK(lanes[0].areas[8].name == "other (7 buffers)");
  CHECK(lanes[0].areas[8].most == 700);
  CHECK(std::is_sorted(lanes[0].areas.begin(), lanes[0].areas.end() - 1,
                       [](const MemoryLane::Area& a, const MemoryLane::Area& b) { return a.most > b.most; }));
}

TEST_CASE("Long stages share the picture by their time and short ones can still be seen", "[plot]") {
  const MadeUpStage quick(10, {{"a", 1}}, 1'000'000);
  const MadeUpStage slow(10, {{"a", 1}}, 100'000'000'000);
  MemoryPlot plot{"test", {quick.stage("q"), slow.stage("s"), slow.stage("s")}, {}};
  for (int i = 0; i < 2; ++i) plot.stages[2].parts.push_back(slow.stage("s").parts[0]);
  const MemoryPlotColumns columns = plot_columns(plot);
  CHECK(columns.count == 420);
  CHECK(columns.stages[0].count == 42);
  CHECK(columns.stages[2].count == Approx(3 * columns.stages[1].count).margin(2));
  CHECK(columns.stages[2].seconds == Approx(3 * slow.replay.seconds));
  CHECK(columns.stages[2].first == columns.stages[0].count + columns.stages[1].count);
}

TEST_CASE("A run without time and one of very many stages still have columns", "[plot]") {
  const ltxmem::Record nothing;
  const ltxmem::Replay no_time = ltxmem::replay(nothing, *ltxmem::find_device_profile("cpu"));
  MemoryPlot plot{"test", {{"empty", {{&nothing, &no_time, {}}}, {}}}, {}};
  CHECK(plot_columns(plot).count > 0);
  CHECK(memory_lanes(plot).empty());
  CHECK_NOTHROW(XmlReader::read(memory_svg(plot)));
  const MadeUpStage made(10, {{"a", 1}});
  plot.stages.assign(1000, made.stage("one"));
  for (const MemoryPlotColumns::Stage& stage : plot_columns(plot).stages) REQUIRE(stage.count > 0);
  plot.stages.clear();
  CHECK_THROWS_AS(plot_columns(plot), ltxmem::ShapeError);
}

TEST_CASE("The picture is well-formed XML whatever buffers and stages are called", "[plot]") {
  const MadeUpStage made(1000, {{"a<b & \"c\"", 64}, {"bell \a", 5}});
  const std::string svg = memory_svg({"<title> & 'more'", {made.stage("\"s\"<t>")}, {}});
  const std::vector<XmlElement> elements = XmlReader::read(svg);
  CHECK(elements[0].name == "svg");
  CHECK(elements[0].attributes.at("xmlns") == "http://www.w3.org/2000/svg");
  const auto has_text = [&](const std::string& text) {
    return std::any_of(elements.begin(), elements.end(), [&](const XmlElement& e) { return e.text == text; });
  };
  CHECK(has_text("<title> & 'more'"));
  CHECK(has_text("a<b & \"c\""));
  CHECK(has_text("bell ?"));
  CHECK_THROWS(XmlReader::read(svg.substr(0, svg.size() - 8)));  // the reader does notice
}

TEST_CASE("The picture names the peak in bytes with its step, and its areas reach exactly to the mark", "[plot]") {
  const MadeUpStage made(std::size_t{3} << 30, {{"keys", std::size_t{1} << 30}, {"hidden", std::size_t{5} << 28}});
  const MemoryPlot plot{"test", {made.stage("stage 2")}, {}};
  const std::vector<XmlElement> elements = XmlReader::read(memory_svg(plot));
  bool named = false;
  double mark = 0;
  for (const XmlElement& element : elements) {
    named = named || element.text == "peak 4.25 GiB (4,563,402,752 bytes) in stage 2, block 0, part";
    if (element.name == "circle") mark = std::stod(element.attributes.at("cy"));
    if (element.name == "g") CHECK(element.attributes.at("data-peak-bytes") == "4563402752");
  }
  CHECK(named);
  CHECK(mark > 0);
  CHECK(top_of_areas(elements) == Approx(mark).margin(0.011));
}

TEST_CASE("A budget is a line, above the areas when it holds and named when it is far above", "[plot]") {
  const MadeUpStage made(1000, {{"a", 64}});
  MemoryPlot plot{"test", {made.stage("one")}, {}};
  const auto line = [&]() -> double {
    for (const XmlElement& element : XmlReader::read(memory_svg(plot))) {
      const auto style = element.attributes.find("class");
      if (element.name == "line" && style != element.attributes.end() && style->second == "budget") {
        return std::stod(element.attributes.at("y1"));
      }
    }
    return -1;
  };
  CHECK(line() == -1);
  plot.budget_bytes[0] = 2000;
  CHECK(line() < top_of_areas(XmlReader::read(memory_svg(plot))));
  plot.budget_bytes[0] = 500;
  CHECK(line() > top_of_areas(XmlReader::read(memory_svg(plot))));
  plot.budget_bytes[0] = 1'000'000;
  CHECK(line() == -1);
  CHECK_THAT(memory_svg(plot), Contains("budget 976.56 KiB, above the picture"));
}

TEST_CASE("Equal plots give equal pictures", "[plot]") {
  const MadeUpStage made(1000, {{"a", 64}, {"b", 4096}});
  const MadeUpStage again(1000, {{"a", 64}, {"b", 4096}});
  CHECK(memory_svg({"test", {made.stage("one")}, {}}) == memory_svg({"test", {again.stage("one")}, {}}));
}

TEST_CASE("A picture appears whole or not at all", "[plot]") {
  const ScratchFolder folder;
  const MadeUpStage made(1000, {{"a", 64}});
  const MemoryPlot plot{"test", {made.stage("one")}, {}};
  write_memory_plot(folder / "plot.svg", plot);
  CHECK(file_text(folder / "plot.svg") == memory_svg(plot));
  CHECK(folder.entry_count() == 1);
  CHECK_THAT(message_of<ltxmem::IoError>([&] { write_memory_plot(folder / "no/plot.svg", plot); }),
             Contains("no/plot.svg"));
  CHECK_THROWS_AS(write_memory_plot(folder.path(), plot), ltxmem::IoError);
  const ScopedFileSizeLimit full(100);
  CHECK_THROWS_AS(write_memory_plot(folder / "full.svg", plot), ltxmem::IoError);
  CHECK(folder.entry_count() == 1);
}
