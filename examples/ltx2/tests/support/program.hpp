// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "synth/synthesise.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/scratch.hpp"

/// The ltx2 program as its users see it: started with arguments, seen through exit code, messages and files.

namespace ltx2::test {

struct Ended {
  int code = -1;  ///< exit code; minus the signal's number when one ended it, -1000 when it had to be killed
  std::string output;
  std::string messages;
  double seconds_after_signal = 0;
  double work_after_signal_s = 0;  ///< seconds of processor time, which other programs do not lengthen
  std::size_t most_resident_bytes = 0;
};

/// What happens to a program that runs.
struct Surroundings {
  int signal = 0;                 ///< sent once,
  std::string after{};            ///< when this text has been seen in the messages,
  double after_work_s = 0;        ///< and it has used so many seconds of processor time
  std::string standard_output{};  ///< a file instead of a pipe, when not empty
  std::chrono::seconds limit{300};  ///< a program that takes longer is killed; busy machines take their time
  /// Called again and again while it runs, with what it has said so far.
  std::function<void(pid_t process, const std::string& messages)> meanwhile{};
};

/// Processor time of a running process, all its threads together.
inline double processor_seconds(pid_t process) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(process, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Runs a program, given by its path, with arguments. One that does not end in time is killed.
inline Ended run_program(std::vector<std::string> words, const Surroundings& surroundings = {}) {
  using Clock = std::chrono::steady_clock;
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);

  std::array<int, 2> out{};
  std::array<int, 2> err{};
  if (::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  if (!surroundings.standard_output.empty()) {
    ::close(out[1]);
    out[1] = ::open(surroundings.standard_output.c_str(), O_WRONLY | O_CLOEXEC);
  }
  const pid_t process = ::fork();
  if (process == 0) {  // only calls that are safe after a fork of a program with threads
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  ::close(out[1]);
  ::close(err[1]);
  Ended ended;
  const auto start = Clock::now();
  std::optional<Clock::time_point> signalled;
  double work_before = 0;
  bool killed = false;
  std::array<pollfd, 2> streams{pollfd{out[0], POLLIN, 0}, pollfd{err[0], POLLIN, 0}};
  while (streams[0].fd >= 0 || streams[1].fd >= 0) {
    if (!killed && Clock::now() - start > surroundings.limit) {
      ::kill(process, SIGKILL);
      killed = true;
    }
    ::poll(streams.data(), streams.size(), surroundings.meanwhile ? 20 : 100);
    if (surroundings.meanwhile) surroundings.meanwhile(process, ended.messages);
    for (std::size_t i = 0; i < 2; ++i) {
      if (streams[i].revents == 0) continue;
      std::array<char, 4096> buffer;
      const ssize_t count = ::read(streams[i].fd, buffer.data(), buffer.size());
      if (count > 0) {
        (i == 0 ? ended.output : ended.messages).append(buffer.data(), static_cast<std::size_t>(count));
      } else {
        streams[i].fd = -1;
      }
    }
    if (surroundings.signal != 0 && !signalled && ended.messages.find(surroundings.after) != std::string::npos &&
        processor_seconds(process) >= surroundings.after_work_s) {
      work_before = processor_seconds(process);
      ::kill(process, surroundings.signal);
      signalled = Clock::now();
    }
  }
  int status = 0;
  rusage used{};
  ::wait4(process, &status, 0, &used);
  ended.most_resident_bytes = static_cast<std::size_t>(used.ru_maxrss) * 1024;
  if (signalled) {
    ended.seconds_after_signal = std::chrono::duration<double>(Clock::now() - *signalled).count();
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
    };
    ended.work_after_signal_s = seconds(used.ru_utime) + seconds(used.ru_stime) - work_before;
  }
  ::close(out[0]);
  ::close(err[0]);
  ended.code = killed ? -1000 : WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return ended;
}

inline Ended run_ltx2(const std::vector<std::string>& arguments, const Surroundings& surroundings = {}) {
  std::vector<std::string> words{LTX2_PROGRAM};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return run_program(std::move(words), surroundings);
}

/// Every path below a folder, hidden ones included.
inline std::set<std::string> listing(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) names.insert(entry.path().string());
  return names;
}

/// The same without the finished steps that a run which does not come to its end keeps on purpose.
inline std::set<std::string> leftovers(const std::string& folder) {
  std::set<std::string> names = listing(folder);
  std::erase_if(names, [](const std::string& name) { return name.ends_with(".state"); });
  return names;
}

/// The tiny models, written once per test program.
class TinyModels {
 public:
  static const TinyModels& get() {
    static const TinyModels models;
    return models;
  }
  std::string folder() const { return scratch_.path(); }
  std::string checkpoint() const { return scratch_ / "ltx23_tiny.safetensors"; }
  std::string upsampler() const { return scratch_ / "upscaler_tiny.safetensors"; }
  std::string gemma() const { return scratch_ / "gemma_tiny"; }

  /// The arguments of a small `ltx2 generate`.
  std::vector<std::string> generate(const std::string& output, const std::vector<std::string>& more = {},
                                    const std::string& checkpoint_path = "", const std::string& size = "64") const {
    std::vector<std::string> words{"generate",
                                   "--checkpoint-path",
                                   checkpoint_path.empty() ? checkpoint() : checkpoint_path,
                                   "--spatial-upsampler-path",
                                   upsampler(),
                                   "--gemma-root",
                                   gemma(),
                                   "--prompt",
                                   "a lighthouse",
                                   "--width",
                                   size,
                                   "--height",
                                   size,
                                   "--num-frames",
                                   "9",
                                   "--threads",
                                   "1",
                                   "--output-path",
                                   output};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

 private:
  TinyModels() {
    for (const char* name : {"ltx23_tiny", "upscaler_tiny"}) {
      synthesise(read_description(golden_path("configs/" + std::string(name) + ".json")),
                 scratch_ / (std::string(name) + ".safetensors"));
    }
    std::filesystem::create_directory(gemma());
    synthesise(read_description(golden_path("configs/gemma_tiny.json")), gemma() + "/model.safetensors");
    for (const char* name : {"config.json", "tokenizer.model"}) {
      std::filesystem::copy_file(golden_path("models/gemma_tiny/" + std::string(name)), gemma() + "/" + name);
    }
  }
  ScratchFolder scratch_;
};

}  // namespace ltx2::test
