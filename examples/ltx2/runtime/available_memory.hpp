// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>

namespace ltx2 {

/// Bytes that this machine could give to a program without swapping, as its system estimates. Throws IoError where it
/// does not.
std::size_t available_host_memory();

/// What the process may still map under a limit of its address space (ulimit -v), if it has one.
std::optional<std::size_t> available_address_space();

}  // namespace ltx2
