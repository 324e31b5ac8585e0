// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "ltxmem/core/device.hpp"
#include "ltxmem/core/dtype.hpp"
#include "runtime/scheme.hpp"

namespace ltx2 {

/// Where the weights of a model's blocks are while it runs.
struct WeightPlacement {
  bool stream = false;               ///< blocks visit the device by turns; false: all stay
  std::int64_t slots = 2;            ///< streamed blocks on the device at a time
  std::int64_t resident_blocks = 0;  ///< first blocks that stay although the others are streamed
  /// The device reads host memory (the CPU): weights that are not streamed are used where the file is mapped. False:
  /// they are copied to the device and count as its memory.
  bool device_reads_files = true;
  /// Memory that the host has left for the page cache. Streamed blocks that do not fit are dropped from it after use.
  std::size_t page_cache_bytes = std::numeric_limits<std::size_t>::max();

  bool in_place() const noexcept { return !stream && device_reads_files; }
};

/// As the option --weights says it: "resident" or "stream:SLOTS".
inline std::string weights_text(const WeightPlacement& weights) {
  return weights.stream ? "stream:" + std::to_string(weights.slots) : "resident";
}

/// How a run is executed. None of these but dtype changes a bit of the result.
struct Settings {
  ltxmem::DType dtype = ltxmem::DType::bf16;  ///< of activations: f32 or bf16
  int threads = 1;
  Scheme scheme = Scheme::e1;      ///< where the transformer keeps the long tensors of the video
  std::int64_t ffn_chunk = 4096;   ///< tokens per feed-forward chunk
  std::int64_t query_tile = 4096;  ///< tokens per tile of queries
  std::int64_t key_tile = 8192;    ///< tokens per transport tile of keys and values
  std::int64_t decode_frames = 1;  ///< latent frames that pass through the video autoencoder at a time
  std::int64_t decode_tile = 0;    ///< latent cells by as many that the video decoder gives at a time; 0: all
  WeightPlacement weights{};
  /// Where the transformer keeps what the first blocks of a step's passes have in common (device or pinned); without a
  /// place every pass computes all blocks.
  std::optional<ltxmem::MemorySpace> saved_prefix{};
  int verbose = 1;
};

}  // namespace ltx2
