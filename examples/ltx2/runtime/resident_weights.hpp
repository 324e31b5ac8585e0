// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "checkpoint/travelling_weights.hpp"
#include "runtime/runtime.hpp"

namespace ltx2 {

/// The tensors below a prefix that a model needs all at once: where the file is mapped or, on a device that reads no
/// files, copied to it.
///
/// Memory  none in the file; else theirs on the device and two pinned parcels of at most 64 MiB, until the scopes of
///         the arenas end
/// Throws  IoError for a prefix without tensors, or a file that cannot be read; Cancelled
template <ltxmem::HasByteTransfer Backend>
class ResidentWeights {
 public:
  /// Left out are tensors whose names go on behind the prefix with one of the exceptions.
  ResidentWeights(Backend& backend, const Runtime& runtime, const Checkpoint& checkpoint, const std::string& prefix,
                  const std::vector<std::string>& exceptions, ltxmem::Workspace& workspace)
      : block_(checkpoint, {prefix}, {.device_reads_files = runtime.settings().weights.device_reads_files}, exceptions),
        stream_(backend, block_, block_.options(runtime.stop()), workspace) {}

  /// For work that is queued while this object lives.
  WeightScope scope() { return stream_.acquire(0); }

 private:
  ModelBlocks block_;
  BlockStream<Backend> stream_;
};

}  // namespace ltx2
