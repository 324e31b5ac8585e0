// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <utility>

#include "ltxmem/core/error.hpp"

namespace ltx2 {
namespace {

constexpr auto redraw_interval = std::chrono::milliseconds(100);
constexpr std::string_view erase_to_end = "\x1b[K";

void write_to_stderr(std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(STDERR_FILENO, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;  // nobody listens; the work goes on
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Tenths of a second are enough, and short.
double rounded(double seconds) {
  return std::round(seconds * 10.0) / 10.0;
}

}  // namespace

ProgressMode parse_progress_mode(std::string_view text) {
  if (text == "auto") return ProgressMode::automatic;
  if (text == "bar") return ProgressMode::bar;
  if (text == "json") return ProgressMode::json;
  if (text == "none") return ProgressMode::none;
  throw ltxmem::ShapeError("progress '" + std::string(text) + "': must be auto, bar, json or none");
}

std::optional<double> StageProgress::remaining_s() const {
  if (done <= 0 || total <= 0) return std::nullopt;
  return elapsed_s / static_cast<double>(done) * static_cast<double>(std::max<std::int64_t>(total - done, 0));
}

std::string format_duration(double seconds) {
  const auto whole = static_cast<long long>(std::max(seconds, 0.0) + 0.5);
  std::array<char, 40> text{};
  if (whole >= 3600) {
    std::snprintf(text.data(), text.size(), "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  } else {
    std::snprintf(text.data(), text.size(), "%lld:%02lld", whole / 60, whole % 60);
  }
  return text.data();
}

std::string progress_bar(const StageProgress& stage, int columns) {
  const std::string times = "  " + format_duration(stage.elapsed_s) + " elapsed";
  std::string line = stage.name;
  if (stage.total > 0) {
    const auto remaining = stage.remaining_s();
    const double share = std::clamp(static_cast<double>(stage.done) / static_cast<double>(stage.total), 0.0, 1.0);
    const std::string counts = "] " + std::to_string(stage.done) + "/" + std::to_string(stage.total) + "  " +
                               std::to_string(static_cast<int>(share * 100.0)) + "%" + times +
                               (remaining ? ", " + format_duration(*remaining) + " left" : "");
    // The bar takes what the texts leave, up to 40 columns; on a narrow terminal there is none.
    const int width = std::clamp(columns - static_cast<int>(line.size() + counts.size()) - 2, 0, 40);
    const int filled = static_cast<int>(share * width);
    std::string bar(static_cast<std::size_t>(filled), '=');
    if (filled < width) bar += '>';
    bar.resize(static_cast<std::size_t>(width), ' ');
    line += " [" + bar + counts;
  } else {
    line += "  " + std::to_string(stage.done) + times;
  }
  if (line.size() > static_cast<std::size_t>(std::max(columns, 0))) line.resize(static_cast<std::size_t>(columns));
  return line;
}

std::string progress_json(const StageProgress& stage, std::string_view event) {
  nlohmann::ordered_json object{{"event", event},
                                {"stage", stage.name},
                                {"done", stage.done},
                                {"total", stage.total},
                                {"elapsed_s", rounded(stage.elapsed_s)}};
  const auto remaining = stage.remaining_s();
  object["remaining_s"] = remaining ? nlohmann::ordered_json(rounded(*remaining)) : nlohmann::ordered_json();
  return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Progress::Progress(ProgressMode mode, Surroundings surroundings) : mode_(mode), surroundings_(std::move(surroundings)) {
  if (!surroundings_.write) surroundings_.write = write_to_stderr;
  if (!surroundings_.seconds) surroundings_.seconds = steady_seconds;
  if (mode_ == ProgressMode::automatic) {
    const bool terminal = surroundings_.is_terminal.value_or(::isatty(STDERR_FILENO) == 1);
    mode_ = terminal ? ProgressMode::bar : ProgressMode::none;
  }
  if (mode_ == ProgressMode::none || !surroundings_.own_thread) return;
  thread_ = std::jthread([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      {
        std::unique_lock lock(mutex_);
        stage_changed_.wait(lock, stop, [this] { return open_; });
      }
      tick();
      std::unique_lock lock(mutex_);
      stage_changed_.wait_for(lock, stop, redraw_interval, [] { return false; });
    }
  });
}

Progress::~Progress() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
  const std::lock_guard lock(mutex_);
  if (open_) end_stage_locked("abandoned");
}

void Progress::begin_stage(std::string name, std::int64_t total_units) {
  {
    const std::lock_guard lock(mutex_);
    if (open_) end_stage_locked("end");
    open_ = true;
    name_ = std::move(name);
    total_ = total_units;
    start_s_ = surroundings_.seconds();
    done_.store(0, std::memory_order_relaxed);
    shown_.clear();
    if (mode_ == ProgressMode::json) {
      shown_ = "0";
      surroundings_.write(progress_json(stage_now(), "begin") + "\n");
    }
  }
  stage_changed_.notify_all();
}

void Progress::extend(std::int64_t units) {
  const std::lock_guard lock(mutex_);
  total_ += units;
}

void Progress::end_stage() {
  const std::lock_guard lock(mutex_);
  if (open_) end_stage_locked("end");
}

void Progress::message(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (mode_ == ProgressMode::json) {
    const nlohmann::ordered_json object{{"event", "message"}, {"text", text}};
    surroundings_.write(object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  } else if (!shown_.empty()) {
    const std::string line = std::exchange(shown_, std::string());
    surroundings_.write("\r" + std::string(erase_to_end) + std::string(text) + "\n" + line);
    shown_ = line;
  } else {
    surroundings_.write(std::string(text) + "\n");
  }
}

void Progress::tick() {
  const std::lock_guard lock(mutex_);
  if (open_) draw_locked();
}

StageProgress Progress::stage_now() const {
  return {.name = name_,
          .done = done_.load(std::memory_order_relaxed),
          .total = total_,
          .elapsed_s = surroundings_.seconds() - start_s_};
}

void Progress::draw_locked() {
  const StageProgress stage = stage_now();
  if (mode_ == ProgressMode::bar) {
    std::string line = progress_bar(stage, columns() - 1);  // a full last column would wrap on some terminals
    if (line == shown_) return;
    surroundings_.write("\r" + line + std::string(erase_to_end));
    shown_ = std::move(line);
  } else if (mode_ == ProgressMode::json) {
    std::string counter = std::to_string(stage.done);
    if (counter == shown_) return;
    surroundings_.write(progress_json(stage, "progress") + "\n");
    shown_ = std::move(counter);
  }
}

void Progress::end_stage_locked(std::string_view event) {
  if (mode_ == ProgressMode::bar) {
    shown_.clear();
    draw_locked();
    surroundings_.write("\n");
  } else if (mode_ == ProgressMode::json) {
    surroundings_.write(progress_json(stage_now(), event) + "\n");
  }
  shown_.clear();
  open_ = false;
}

int Progress::columns() const {
  if (surroundings_.columns) return *surroundings_.columns;
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace ltx2
