// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace ltx2 {

enum class ProgressMode { automatic, bar, json, none };

/// "auto", "bar", "json" or "none"; ShapeError for anything else.
ProgressMode parse_progress_mode(std::string_view text);

/// How far one stage is.
struct StageProgress {
  std::string name;
  std::int64_t done = 0;
  std::int64_t total = 0;  ///< 0: unknown
  double elapsed_s = 0;

  /// elapsed / done * (total - done); nothing while that cannot be known.
  std::optional<double> remaining_s() const;
};

/// "denoise [=====>     ] 3/8  37%  0:12 elapsed, 0:20 left", at most `columns` characters.
std::string progress_bar(const StageProgress& stage, int columns);

/// One JSON object without line end; event is begin, progress, end or abandoned.
std::string progress_json(const StageProgress& stage, std::string_view event);

/// "0:07", "12:34", "1:02:03"
std::string format_duration(double seconds);

/// Reports how a run advances, stage by stage, without taking part in the work: advance() only adds to an atomic
/// counter, a thread of its own draws, ten times a second at most.
///
/// bar   one line on stderr, redrawn in place; a finished stage leaves its line. With `automatic` only if stderr is a
///       terminal, so that logs stay clean
/// json  one object per line on stderr: {"event": "progress", "stage": "denoise", "done": 3, "total": 8,
///       "elapsed_s": 12.1, "remaining_s": 20.2}; remaining_s is null while unknown
/// none  nothing
///
/// Stages follow each other; they do not nest. A Progress destroyed inside a stage (an exception) ends the line and
/// says "abandoned" in JSON. Thread safety: every member function may be called from any thread.
class Progress {
 public:
  /// Where it writes, what it looks at; the defaults are the real thing, tests put their own in.
  struct Surroundings {
    std::function<void(std::string_view)> write;  ///< default: stderr
    std::function<double()> seconds;              ///< default: a steady clock
    std::optional<bool> is_terminal;              ///< default: whether stderr is one
    std::optional<int> columns;                   ///< default: those of the terminal, else 80
    bool own_thread = true;                       ///< false: only tick() draws
  };

  explicit Progress(ProgressMode mode) : Progress(mode, Surroundings{}) {}
  Progress(ProgressMode mode, Surroundings surroundings);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();

  /// A stage of so many units; 0 if their number is not known. Ends the stage before, if one is open.
  void begin_stage(std::string name, std::int64_t total_units);
  /// More units of the open stage have become known.
  void extend(std::int64_t units);
  void advance(std::int64_t units = 1) noexcept { done_.fetch_add(units, std::memory_order_relaxed); }
  void end_stage();

  /// A line for people, above the bar if there is one; in JSON mode an object with event "message". Always written.
  void message(std::string_view text);

  /// Draws if a stage is open and there is something new to show; what the thread calls.
  void tick();

 private:
  StageProgress stage_now() const;
  void draw_locked();
  void end_stage_locked(std::string_view event);
  int columns() const;

  ProgressMode mode_;  ///< never automatic
  Surroundings surroundings_;
  std::atomic<std::int64_t> done_{0};
  std::mutex mutex_;
  std::condition_variable_any stage_changed_;
  bool open_ = false;
  std::string name_;
  std::int64_t total_ = 0;
  double start_s_ = 0;
  std::string shown_;  ///< what the terminal line holds, or the counter of the last JSON event
  std::jthread thread_;
};

}  // namespace ltx2
