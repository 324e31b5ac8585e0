// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "ltxmem/core/dtype.hpp"

namespace ltx2 {

/// How a run is executed. None of these but dtype changes a bit of the result.
struct Settings {
  ltxmem::DType dtype = ltxmem::DType::bf16;  ///< of activations: f32 or bf16
  int threads = 1;
  std::int64_t ffn_chunk = 4096;   ///< tokens per feed-forward chunk
  std::int64_t query_tile = 4096;  ///< tokens per tile of queries
  std::int64_t key_tile = 8192;    ///< tokens per transport tile of keys and values
  int verbose = 1;
};

}  // namespace ltx2
