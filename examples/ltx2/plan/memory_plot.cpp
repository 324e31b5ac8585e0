// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/memory_plot.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <span>
#include <string_view>

#include "media/files.hpp"
#include "runtime/size.hpp"

namespace ltx2 {
namespace {

constexpr double left_border = 92;
constexpr double plot_width = 820;
constexpr double legend_width = 290;
constexpr double header_height = 92;
constexpr double lane_height = 230;
constexpr double lane_gap = 58;
constexpr double letter_width = 6.4;  // of the small text, on the wide side

/// Told apart by people who confuse red and green as well; the sum of the rest is grey.
constexpr std::array<const char*, 8> colours{"#4269d0", "#efb118", "#ff725c", "#6cc5b0",
                                             "#a463f2", "#3ca951", "#97bbf5", "#9c6b4e"};
constexpr const char* rest_colour = "#b5b9c4";

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.2f", value);
  return text.data();
}

/// Text for element content and attributes; what XML cannot hold becomes a question mark.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
    }
  }
  return out;
}

struct Unit {
  const char* name;
  double bytes;
};

Unit unit_of(std::size_t bytes) {
  constexpr std::array<Unit, 5> units{{{"B", 1}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}}};
  Unit best = units[0];
  for (const Unit& unit : units) {
    if (static_cast<double>(bytes) >= unit.bytes) best = unit;
  }
  return best;
}

std::string grouped(std::size_t value) {
  std::string text = std::to_string(value);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

std::string seconds_text(double seconds) {
  std::array<char, 48> text{};
  if (seconds < 1e-3) {
    std::snprintf(text.data(), text.size(), "%.0f us", seconds * 1e6);
  } else if (seconds < 1) {
    std::snprintf(text.data(), text.size(), "%.0f ms", seconds * 1e3);
  } else if (seconds < 120) {
    std::snprintf(text.data(), text.size(), "%.1f s", seconds);
  } else if (seconds < 7200) {
    std::snprintf(text.data(), text.size(), "%.1f min", seconds / 60);
  } else {
    std::snprintf(text.data(), text.size(), "%.1f h", seconds / 3600);
  }
  return text.data();
}

/// Lines of at most so many letters, broken at spaces; a longer word is cut.
std::vector<std::string> wrapped(const std::string& text, std::size_t letters) {
  std::vector<std::string> lines(1);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    std::string word = text.substr(at, end - at);
    if (word.size() > letters) word = word.substr(0, letters - 1) + "…";
    at = end + 1;
    if (lines.back().empty()) {
      lines.back() = std::move(word);
    } else if (lines.back().size() + 1 + word.size() <= letters) {
      lines.back() += " " + word;
    } else {
      lines.push_back(std::move(word));
    }
  }
  return lines;
}

class Drawing {
 public:
  void text(double x, double y, std::string_view style, std::string_view content) {
    out_ += "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" class=\"" + std::string(style) + "\">" +
            escaped(content) + "</text>\n";
  }
  void line(double x1, double y1, double x2, double y2, std::string_view style) {
    out_ += "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) + "\" y2=\"" + number(y2) +
            "\" class=\"" + std::string(style) + "\"/>\n";
  }
  void raw(std::string_view text) { out_ += text; }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

/// A lane where it stands in the picture: columns to x, bytes to y.
struct Frame {
  double top;
  double full_bytes;
  double column_width;

  double x(std::size_t column) const { return left_border + column_width * static_cast<double>(column); }
  double y(double bytes) const { return top + lane_height * (1 - bytes / full_bytes); }
  double y(std::size_t bytes) const { return y(static_cast<double>(bytes)); }
};

/// The band between two heights per column, as steps.
std::string band(const std::vector<std::size_t>& below, const std::vector<std::size_t>& above, const Frame& frame) {
  std::string path;
  const std::size_t columns = below.size();
  for (std::size_t begin = 0; begin < columns;) {
    if (below[begin] == above[begin]) {
      ++begin;
      continue;
    }
    std::size_t end = begin;
    while (end < columns && below[end] != above[end]) ++end;
    path += "M" + number(frame.x(begin)) + " " + number(frame.y(above[begin]));
    for (std::size_t i = begin; i < end; ++i) {
      if (i > begin && above[i] != above[i - 1]) path += "V" + number(frame.y(above[i]));
      if (i + 1 == end || above[i + 1] != above[i]) path += "H" + number(frame.x(i + 1));
    }
    path += "V" + number(frame.y(below[end - 1]));
    for (std::size_t i = end; i-- > begin;) {
      if (i + 1 < end && below[i] != below[i + 1]) path += "V" + number(frame.y(below[i]));
      if (i == begin || below[i - 1] != below[i]) path += "H" + number(frame.x(i));
    }
    path += "Z";
    begin = end;
  }
  return path;
}

void draw_axis(Drawing& drawing, const Frame& frame, std::size_t highest) {
  const Unit unit = unit_of(highest);
  const double most = static_cast<double>(highest) / unit.bytes;
  double step = std::pow(10.0, std::floor(std::log10(most / 4)));
  for (const double factor : {2.0, 2.5, 2.0}) {  // 1, 2, 5, 10
    if (most / step > 6) step *= factor;
  }
  for (int i = 0; step * i * unit.bytes <= frame.full_bytes; ++i) {
    const double y = frame.y(step * i * unit.bytes);
    drawing.line(left_border, y, left_border + plot_width, y, i == 0 ? "axis" : "grid");
    std::array<char, 48> label{};
    std::snprintf(label.data(), label.size(), "%g %s", step * i, unit.name);
    drawing.text(left_border - 8, y + 4, "end", i == 0 ? "0" : label.data());
  }
}

void draw_legend(Drawing& drawing, const Frame& frame, const MemoryLane& lane,
                 const std::map<std::string, std::string>& colour_of) {
  const double x = left_border + plot_width + 22;
  double y = frame.top + 10;
  drawing.text(x, y, "small", "buffer, the most it holds");
  for (const MemoryLane::Area& area : lane.areas) {
    y += 22;
    drawing.raw("<rect x=\"" + number(x) + "\" y=\"" + number(y - 10) + "\" width=\"12\" height=\"12\" fill=\"" +
                colour_of.at(area.name) + "\"/>\n");
    const std::string name = area.name.size() > 26 ? area.name.substr(0, 25) + "…" : area.name;
    drawing.text(x + 19, y, "name", name);
    drawing.text(x + legend_width - 34, y, "end", format_bytes(area.most));
  }
}

void draw_peak(Drawing& drawing, const Frame& frame, const MemoryLane& lane) {
  const double x = frame.x(lane.peak_column) + frame.column_width / 2;
  const double y = frame.y(lane.peak_bytes);
  drawing.raw("<circle cx=\"" + number(x) + "\" cy=\"" + number(y) + "\" r=\"4\" class=\"mark\"/>\n");
  const std::string text =
      "peak " + format_bytes(lane.peak_bytes) + " (" + grouped(lane.peak_bytes) + " bytes) in " + lane.peak_step;
  const double width = 1.1 * letter_width * static_cast<double>(text.size());  // bold
  const double start = std::clamp(x - width / 2, left_border, std::max(left_border, left_border + plot_width - width));
  drawing.line(x, y - 5, x, frame.top - 12, "leader");
  drawing.text(start, frame.top - 17, "peak", text);
}

void draw_lane(Drawing& drawing, const Frame& frame, const MemoryLane& lane, std::optional<std::size_t> budget,
               const MemoryPlotColumns& columns, const std::map<std::string, std::string>& colour_of) {
  drawing.raw("<g class=\"lane\" data-space=\"" + std::string(memory_space_name(lane.space)) + "\" data-peak-bytes=\"" +
              std::to_string(lane.peak_bytes) + "\">\n");
  drawing.text(12, frame.top - 17, "space", std::string(memory_space_name(lane.space)));
  draw_axis(drawing, frame, lane.peak_bytes);
  std::vector<std::size_t> below(columns.count);
  for (const MemoryLane::Area& area : lane.areas) {
    std::vector<std::size_t> above = below;
    for (std::size_t column = 0; column < columns.count; ++column) above[column] += area.bytes[column];
    drawing.raw("<path class=\"area\" fill=\"" + colour_of.at(area.name) + "\" d=\"" + band(below, above, frame) +
                "\"><title>" + escaped(area.name + ": up to " + format_bytes(area.most)) + "</title></path>\n");
    below = std::move(above);
  }
  for (const MemoryPlotColumns::Stage& stage : columns.stages) {
    if (stage.first > 0) {
      drawing.line(frame.x(stage.first), frame.top, frame.x(stage.first), frame.top + lane_height, "border");
    }
  }
  if (budget) {
    const bool inside = static_cast<double>(*budget) <= frame.full_bytes;
    const double y = inside ? frame.y(*budget) : frame.top;
    if (inside) drawing.line(left_border, y, left_border + plot_width, y, "budget");
    drawing.text(left_border + plot_width - 6, y - 5 + (inside ? 0 : 18), "limit",
                 "budget " + format_bytes(*budget) + (inside ? "" : ", above the picture"));
  }
  draw_legend(drawing, frame, lane, colour_of);
  draw_peak(drawing, frame, lane);
  drawing.raw("</g>\n");
}

void draw_stages(Drawing& drawing, const MemoryPlot& plot, const MemoryPlotColumns& columns, double column_width,
                 double bottom) {
  double seconds = 0;
  for (std::size_t i = 0; i < columns.stages.size(); ++i) {
    const MemoryPlotColumns::Stage& stage = columns.stages[i];
    const double x = left_border + column_width * static_cast<double>(stage.first);
    const double width = column_width * static_cast<double>(stage.count);
    if (i % 2 == 1) {
      drawing.raw("<rect x=\"" + number(x) + "\" y=\"" + number(header_height - 46) + "\" width=\"" + number(width) +
                  "\" height=\"" + number(bottom - header_height + 46) + "\" class=\"stripe\"/>\n");
    }
    const std::vector<std::string> lines = wrapped(plot.stages[i].name, static_cast<std::size_t>(width / letter_width));
    for (std::size_t line = 0; line < std::min<std::size_t>(2, lines.size()); ++line) {
      drawing.text(x + width / 2, header_height - 34 + 14 * static_cast<double>(line), "stage", lines[line]);
    }
    drawing.text(x + width / 2, bottom + 16, "tick", seconds_text(stage.seconds));
    seconds += stage.seconds;
  }
  drawing.text(left_border - 8, bottom + 16, "end", "takes");
  drawing.text(left_border + plot_width + 22, bottom + 16, "small", seconds_text(seconds) + " in all");
}

constexpr const char* style = R"(<style>
text { font-family: "DejaVu Sans", "Segoe UI", Helvetica, Arial, sans-serif; font-size: 11px; fill: #333a45; }
.title { font-size: 16px; font-weight: bold; fill: #14181f; }
.space { font-size: 14px; font-weight: bold; fill: #14181f; }
.peak { font-size: 11px; font-weight: bold; fill: #14181f; }
.stage { font-weight: bold; text-anchor: middle; }
.tick { text-anchor: middle; }
.end { text-anchor: end; }
.limit { text-anchor: end; fill: #b3261e; font-weight: bold; }
.small { fill: #6b7280; }
.axis { stroke: #333a45; stroke-width: 1; }
.grid { stroke: #d9dce3; stroke-width: 1; }
.border { stroke: #14181f; stroke-width: 1; stroke-dasharray: 2 3; stroke-opacity: 0.6; }
.budget { stroke: #b3261e; stroke-width: 1.5; stroke-dasharray: 7 4; }
.leader { stroke: #14181f; stroke-width: 1; }
.mark { fill: #ffffff; stroke: #14181f; stroke-width: 2; }
.stripe { fill: #f2f4f8; }
.area { shape-rendering: crispEdges; }
</style>
)";

}  // namespace

std::string memory_svg(const MemoryPlot& plot) {
  const MemoryPlotColumns columns = plot_columns(plot);
  const std::vector<MemoryLane> lanes = memory_lanes(plot);

  // A buffer has one colour in all lanes.
  std::map<std::string, std::string> colour_of;
  std::size_t next = 0;
  for (const MemoryLane& lane : lanes) {
    for (const MemoryLane::Area& area : lane.areas) {
      const bool rest = area.name.starts_with("other (");
      const auto [at, is_new] = colour_of.try_emplace(area.name, rest_colour);
      if (is_new && !rest) at->second = colours[next++ % colours.size()];
    }
  }

  const auto lane_count = static_cast<double>(lanes.size());
  const double bottom = header_height + lane_count * lane_height + (lane_count - 1) * lane_gap + 22;
  const double width = left_border + plot_width + legend_width;
  const double height = bottom + 46;
  Drawing drawing;
  drawing.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" +
              number(width) + "\" height=\"" + number(height) + "\" viewBox=\"0 0 " + number(width) + " " +
              number(height) + "\">\n");
  drawing.raw(style);
  drawing.raw("<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
  const double column_width = plot_width / static_cast<double>(columns.count);
  draw_stages(drawing, plot, columns, column_width, bottom);
  drawing.text(12, 26, "title", plot.title);
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const std::optional<std::size_t> budget = plot.budget_bytes[static_cast<std::size_t>(lanes[i].space)];
    double full = static_cast<double>(lanes[i].peak_bytes);
    if (budget && static_cast<double>(*budget) < 2.5 * full) full = std::max(full, static_cast<double>(*budget));
    const Frame frame{header_height + 22 + static_cast<double>(i) * (lane_height + lane_gap), full * 1.08,
                      column_width};
    draw_lane(drawing, frame, lanes[i], budget, columns, colour_of);
  }
  drawing.text(12, height - 10, "small",
               "Planned bytes of each buffer, the most in every column. Time is even within a stage; short stages are "
               "widened to be seen.");
  drawing.raw("</svg>\n");
  return drawing.take();
}

void write_memory_plot(const std::string& path, const MemoryPlot& plot) {
  expect_replaceable(path);
  const std::string svg = memory_svg(plot);
  write_file(path, std::as_bytes(std::span(svg)));
}

}  // namespace ltx2
