// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace ltx2 {

/// The full path of a program in PATH, if there is one that may be executed.
std::optional<std::string> find_program(const std::string& name);

/// A program that reads our bytes on its standard input; what it prints is collected.
///
/// Started directly, without a shell. Its standard input is a socket, so that writing to a program that has ended is an
/// error here instead of a SIGPIPE. It runs in a process group of its own: Ctrl-C at the terminal reaches only us, and
/// we decide what becomes of it. While we write, its output and its messages are read too, so neither side can block
/// the other for good.
///
/// Memory    standard output is kept whole, of standard error the last 4 KiB
/// Throws    IoError naming the program, how it ended and the end of its messages; Cancelled within 0.1 s of a stop
///           request. After any exception the program is killed by the destructor.
class ChildProcess {
 public:
  /// The first argument is the path of the program.
  explicit ChildProcess(std::vector<std::string> arguments, std::stop_token stop = {});
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess();

  /// Returns once the program, or the socket's buffer, has taken all bytes.
  void write(std::span<const std::byte> data);

  /// Closes its input, waits for its end and returns its standard output; anything but exit status 0 is an error.
  std::vector<std::byte> finish();

 private:
  void exchange(std::span<const std::byte> data, bool until_output_ends);
  int wait_for_end();
  [[noreturn]] void throw_ended(const std::string& how);
  std::string describe(int status) const;

  std::string name_;
  std::stop_token stop_;
  pid_t process_ = -1;
  int input_ = -1;
  int output_ = -1;
  int messages_ = -1;
  std::vector<std::byte> collected_output_;
  std::string message_tail_;
};

}  // namespace ltx2
