// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cpu/backend.hpp"
#ifdef LTX2_WITH_ONEDNN
#include "ltxmem/backend/cpu/onednn_gemm.hpp"
#endif
#ifdef LTX2_WITH_HIGHWAY
#include "ltxmem/backend/cpu/highway_attention.hpp"
#endif

namespace ltx2 {

#ifdef LTX2_WITH_ONEDNN
using HostGemm = ltxmem::OneDnnGemm;
#else
using HostGemm = ltxmem::PortableGemm;
#endif
#ifdef LTX2_WITH_HIGHWAY
using HostAttention = ltxmem::HighwayAttention;
#else
using HostAttention = ltxmem::PortableAttention;
#endif

/// What computes on the processor: the best parts that this build has.
using HostBackend = ltxmem::CpuBackend<HostGemm, HostAttention>;

}  // namespace ltx2
