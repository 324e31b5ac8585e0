// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <thread>
#include <utility>

#include "ltxmem/core/error.hpp"
#include "media/cleanup.hpp"
#include "media/files.hpp"

extern char** environ;

namespace ltx2 {
namespace {

constexpr int poll_interval_ms = 100;
constexpr std::size_t message_tail_bytes = 4096;

void close_and_forget(int& descriptor) noexcept {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

/// The ends of the program's three streams until it has been started.
struct StreamEnds {
  int input = -1;
  int output = -1;
  int messages = -1;
  ~StreamEnds() {
    close_and_forget(input);
    close_and_forget(output);
    close_and_forget(messages);
  }
};

class SpawnSettings {
 public:
  explicit SpawnSettings(const StreamEnds& ends) {
    ::posix_spawn_file_actions_init(&actions_);
    // dup2 clears close-on-exec on the copies; every other descriptor of ours carries it.
    ::posix_spawn_file_actions_adddup2(&actions_, ends.input, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, ends.output, 1);
    ::posix_spawn_file_actions_adddup2(&actions_, ends.messages, 2);
    ::posix_spawnattr_init(&attributes_);
    sigset_t signals;
    ::sigemptyset(&signals);
    ::posix_spawnattr_setsigmask(&attributes_, &signals);
    for (const int number : {SIGPIPE, SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&signals, number);
    ::posix_spawnattr_setsigdefault(&attributes_, &signals);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(
        &attributes_, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP));
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }
  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

}  // namespace

std::optional<std::string> find_program(const std::string& name) {
  const char* variable = std::getenv("PATH");
  std::string_view rest = variable == nullptr ? "/usr/local/bin:/usr/bin:/bin" : variable;
  while (!rest.empty()) {
    const std::size_t colon = rest.find(':');
    const std::string_view folder = rest.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
    if (folder.empty()) continue;  // POSIX reads this as the working folder; no program of ours should come from there
    const std::string path = std::string(folder) + "/" + name;
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && ::access(path.c_str(), X_OK) == 0) return path;
  }
  return std::nullopt;
}

ChildProcess::ChildProcess(std::vector<std::string> arguments, std::stop_token stop)
    : name_(std::filesystem::path(arguments.at(0)).filename().string()), stop_(std::move(stop)) {
  StreamEnds ours;
  StreamEnds theirs;
  const auto check = [this](int result) {
    if (result != 0) throw_io_error(name_, "cannot start", errno);
  };
  std::array<int, 2> pair{};
  check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()));
  ours.input = pair[0];
  theirs.input = pair[1];
  check(::pipe2(pair.data(), O_CLOEXEC));
  ours.output = pair[0];
  theirs.output = pair[1];
  check(::pipe2(pair.data(), O_CLOEXEC));
  ours.messages = pair[0];
  theirs.messages = pair[1];

  std::vector<char*> argument_pointers;
  for (std::string& argument : arguments) argument_pointers.push_back(argument.data());
  argument_pointers.push_back(nullptr);

  const SpawnSettings settings(theirs);
  process_ = Cleanup::process().start_child([&] {
    pid_t process = -1;
    const int error = ::posix_spawn(&process, argument_pointers[0], settings.actions(), settings.attributes(),
                                    argument_pointers.data(), environ);
    if (error != 0) throw_io_error(name_, "cannot start", error);
    return process;
  });
  input_ = std::exchange(ours.input, -1);
  output_ = std::exchange(ours.output, -1);
  messages_ = std::exchange(ours.messages, -1);
}

ChildProcess::~ChildProcess() {
  close_and_forget(input_);
  close_and_forget(output_);
  close_and_forget(messages_);
  if (process_ < 0) return;
  ::kill(process_, SIGKILL);
  Cleanup::process().forget_child(process_);  // before its number is free for others
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void ChildProcess::write(std::span<const std::byte> data) {
  exchange(data, false);
}

std::vector<std::byte> ChildProcess::finish() {
  close_and_forget(input_);
  exchange({}, true);
  const int status = wait_for_end();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) throw_ended(describe(status));
  return std::move(collected_output_);
}

void ChildProcess::exchange(std::span<const std::byte> data, bool until_output_ends) {
  std::array<std::byte, 65536> buffer;
  // False once the stream has ended.
  const auto read_from = [&buffer](int& descriptor, auto&& take) {
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count > 0) take(std::span(buffer.data(), static_cast<std::size_t>(count)));
    if (count == 0 || (count < 0 && errno != EINTR)) close_and_forget(descriptor);
  };
  while (!data.empty() || (until_output_ends && (output_ >= 0 || messages_ >= 0))) {
    if (stop_.stop_requested()) throw ltxmem::Cancelled();
    // poll ignores negative descriptors.
    std::array<pollfd, 3> waiting{pollfd{data.empty() ? -1 : input_, POLLOUT, 0}, pollfd{output_, POLLIN, 0},
                                  pollfd{messages_, POLLIN, 0}};
    if (::poll(waiting.data(), waiting.size(), poll_interval_ms) < 0) {
      if (errno == EINTR) continue;
      throw_io_error(name_, "cannot wait for it", errno);
    }
    if (waiting[1].revents != 0) {
      read_from(output_, [this](std::span<const std::byte> part) {
        collected_output_.insert(collected_output_.end(), part.begin(), part.end());
      });
    }
    if (waiting[2].revents != 0) {
      read_from(messages_, [this](std::span<const std::byte> part) {
        message_tail_.append(reinterpret_cast<const char*>(part.data()), part.size());
        if (message_tail_.size() > message_tail_bytes) {
          message_tail_.erase(0, message_tail_.size() - message_tail_bytes);
        }
      });
    }
    if (waiting[0].revents != 0) {
      const ssize_t count = ::send(input_, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (count >= 0) {
        data = data.subspan(static_cast<std::size_t>(count));
      } else if (errno == EPIPE || errno == ECONNRESET) {
        // It ended, or will soon, without reading everything; its last words say why.
        close_and_forget(input_);
        exchange({}, true);
        throw_ended(describe(wait_for_end()) + " before it had read everything");
      } else if (errno != EAGAIN && errno != EINTR) {
        throw_io_error(name_, "cannot write to it", errno);
      }
    }
  }
}

int ChildProcess::wait_for_end() {
  for (;;) {
    siginfo_t ended{};
    if (::waitid(P_PID, static_cast<id_t>(process_), &ended, WEXITED | WNOHANG | WNOWAIT) != 0 && errno != EINTR) {
      throw_io_error(name_, "cannot wait for it", errno);
    }
    if (ended.si_pid == process_) {
      Cleanup::process().forget_child(process_);  // before its number is free for others
      int status = 0;
      ::waitpid(std::exchange(process_, -1), &status, 0);
      return status;
    }
    if (stop_.stop_requested()) throw ltxmem::Cancelled();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // it has closed its streams: it is about to end
  }
}

std::string ChildProcess::describe(int status) const {
  if (WIFSIGNALED(status)) {
    return "was ended by signal " + std::to_string(WTERMSIG(status)) + " (" + ::strsignal(WTERMSIG(status)) + ")";
  }
  return "ended with exit status " + std::to_string(WEXITSTATUS(status));
}

void ChildProcess::throw_ended(const std::string& how) {
  std::string text = name_ + " " + how;
  while (!message_tail_.empty() && (message_tail_.back() == '\n' || message_tail_.back() == ' ')) {
    message_tail_.pop_back();
  }
  if (!message_tail_.empty()) text += ": " + message_tail_;
  throw ltxmem::IoError(text);
}

}  // namespace ltx2
