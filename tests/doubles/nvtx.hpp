// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace ltxmem::double_nvtx {

/// The ranges that were opened and closed since it was last asked, as "begin(begin()end)": what a profiler would show.
/// NVTX finds the profiler, which this library is, by the variable NVTX_INJECTION64_PATH at its first call.
std::string take_ranges();

}  // namespace ltxmem::double_nvtx
