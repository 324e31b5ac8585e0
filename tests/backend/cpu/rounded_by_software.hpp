// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cpu/avx512_bfloat16.hpp"

namespace ltxmem::test {

/// While it lives, the library rounds to bfloat16 as on a processor that has no instruction for it.
class RoundedBySoftware {
 public:
  RoundedBySoftware() { cpu::rounds_bfloat16 = false; }
  RoundedBySoftware(const RoundedBySoftware&) = delete;
  RoundedBySoftware& operator=(const RoundedBySoftware&) = delete;
  ~RoundedBySoftware() { cpu::rounds_bfloat16 = before_; }

 private:
  bool before_ = cpu::rounds_bfloat16;
};

}  // namespace ltxmem::test
