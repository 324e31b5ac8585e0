// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// A borrowed, ordered queue of work of some backend: cudaStream_t for CUDA, null for the CPU, which works in the
/// calling thread.

namespace ltxmem {

struct StreamRef {
  void* native = nullptr;

  friend bool operator==(const StreamRef&, const StreamRef&) = default;
};

}  // namespace ltxmem
