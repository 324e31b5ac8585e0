// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "ltxmem/backend/dry_run/device_profile.hpp"

/// Measures this machine: what a plan needs to know to predict how long a run takes on it.

namespace ltx2 {

/// What is measured with. The defaults are the shapes of the video stream of LTX-2 and amounts that no cache holds.
struct Calibration {
  int threads = 1;
  double seconds = 1;        ///< each measurement is repeated for so long, at least three times
  std::int64_t rows = 512;   ///< tokens of a product, queries of attention
  std::int64_t keys = 4096;  ///< of attention
  std::int64_t heads = 32;   ///< of 128 channels; their product is the width
  std::size_t copy_bytes = std::size_t{1} << 28;
  std::size_t file_bytes = std::size_t{1} << 28;
  std::string folder = ".";  ///< whose disk is read, through a temporary file
  std::stop_token stop{};
  std::function<void(const std::string& what)> began{};  ///< a measurement begins; may be empty
};

inline constexpr std::int64_t calibration_measurements = 10;

struct Measurement {
  std::string what;
  double value = 0;
  std::string unit;
};

struct CalibrationResult {
  /// Measured rates with fractions of 1. What cannot be measured (the network) is that of the built-in cpu profile.
  ltxmem::DeviceProfile profile;
  std::vector<Measurement> measurements;  ///< in the order in which they were made
  std::vector<std::string> warnings;
};

/// Takes the median of the repetitions, so that a busy moment does not count.
///
/// Memory    twice copy_bytes or the operands of a product, whichever is more; a temporary file of file_bytes
/// Throws    IoError when the folder cannot be written to or is full; OutOfMemory; Cancelled
CalibrationResult calibrate(const Calibration& calibration);

}  // namespace ltx2
