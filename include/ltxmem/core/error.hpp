// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>

/// The exception types of the library. Everything it throws derives from Error; it never prints and never exits.
///
/// A message names the thing, the value found and the value expected, in that order of usefulness:
/// "tiled_attention: key tokens 4096, value tokens 4095".

namespace ltxmem {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Shapes, strides or options that do not fit together. Thrown before any work is queued.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// A device that is absent, of the wrong kind or unable to do what was asked.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// A file that cannot be read or written, or whose content breaks its format.
class IoError : public Error {
 public:
  using Error::Error;
};

/// A rank that failed, stalled or did something else than the others; rank() says which, as far as it can be told.
class RankError : public Error {
 public:
  RankError(int rank, const std::string& text) : Error(text), rank_(rank) {}
  int rank() const noexcept { return rank_; }

 private:
  int rank_;
};

/// Work was abandoned because its stop token was triggered.
class Cancelled : public Error {
 public:
  Cancelled() : Error("cancelled") {}
};

/// A resource or arena could not serve a request.
class OutOfMemory : public Error {
 public:
  /// The limit of what has none.
  static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

  OutOfMemory(std::string_view who, std::size_t requested_bytes, std::size_t in_use_bytes, std::size_t limit_bytes)
      : Error(message(who, requested_bytes, in_use_bytes, limit_bytes)),
        requested_bytes_(requested_bytes),
        in_use_bytes_(in_use_bytes),
        limit_bytes_(limit_bytes) {}
  /// Of a library that does not say what it asked for: numbers are 0 and unlimited.
  explicit OutOfMemory(std::string_view who)
      : Error(std::string(who) + ": out of memory"), requested_bytes_(0), in_use_bytes_(0), limit_bytes_(unlimited) {}

  std::size_t requested_bytes() const noexcept { return requested_bytes_; }
  std::size_t in_use_bytes() const noexcept { return in_use_bytes_; }
  std::size_t limit_bytes() const noexcept { return limit_bytes_; }

 private:
  static std::string message(std::string_view who, std::size_t requested_bytes, std::size_t in_use_bytes,
                             std::size_t limit_bytes) {
    std::string text = std::string(who) + ": out of memory: asked for " + std::to_string(requested_bytes) + " bytes";
    if (limit_bytes == unlimited) return text;
    return text + " with " + std::to_string(in_use_bytes) + " in use of " + std::to_string(limit_bytes);
  }

  std::size_t requested_bytes_;
  std::size_t in_use_bytes_;
  std::size_t limit_bytes_;
};

/// Throws E with the given text unless the condition holds. The parts are only joined when it does not.
template <class E = ShapeError, class... Parts>
void expects(bool condition, const Parts&... parts) {
  if (condition) return;
  std::string text;
  const auto append = [&text](const auto& part) {
    using Part = std::decay_t<decltype(part)>;
    if constexpr (std::is_arithmetic_v<Part>) {
      text += std::to_string(part);
    } else {
      text += part;
    }
  };
  (append(parts), ...);
  throw E(text);
}

}  // namespace ltxmem
