// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <stop_token>

#include "synth/description.hpp"

namespace ltx2 {

struct SynthesisOptions {
  int threads = 0;  ///< 0: as many as the machine has
  /// Called from the calling thread with the bytes written so far and in all.
  std::function<void(std::size_t, std::size_t)> progress;
  std::stop_token stop;
};

/// Writes the model that a description stands for. Every value follows from its tensor's name and its index, so equal
/// descriptions give equal files, whatever the number of threads.
///
/// Memory  one block of 2^22 elements
/// Throws  IoError (target not writable, disk full), Cancelled; no partial file is left behind
/// Source  docs/ltx2/cases.md, "Synthetic models"
void synthesise(const Description& description, const std::filesystem::path& target,
                const SynthesisOptions& options = {});

}  // namespace ltx2
