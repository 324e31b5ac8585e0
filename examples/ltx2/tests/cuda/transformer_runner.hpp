// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

#include "runtime/settings.hpp"
#include "transformer/inputs.hpp"

/// Programs for a CUDA device that nvcc compiles, for test programs by g++.

namespace ltx2 {

class Checkpoint;
struct TransformerConfig;

namespace test {

/// Bytes by memory space.
using WorkspaceBytes = std::array<std::size_t, 3>;

/// So many calls of the transformer on device 0 in f32, one after the other in one workspace of these bytes. Gives what
/// the calls used of it.
WorkspaceBytes transform_on_cuda(const Checkpoint& checkpoint, const TransformerConfig& config,
                                 const Settings& settings, const WorkspaceBytes& planned, int calls,
                                 const TransformerInput& input, const TransformerOutput& output);

}  // namespace test

}  // namespace ltx2
