// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>

namespace ltx2 {

/// Bytes that this machine could give to a program without swapping, as its system estimates, and no more than its
/// control groups leave. Throws IoError where the system does not say.
std::size_t available_host_memory();

/// What the limits of control groups (containers, jobs of a cluster) leave to the process: the least of its group's and
/// those of the groups above it, if any has one. What they cache of files counts as left: the system takes it back.
///
/// membership  the groups of the process, as in /proc/self/cgroup
/// mount       where their files are: those of version 2, or below memory/ those of version 1
/// Source      Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst
std::optional<std::size_t> available_in_control_groups(const std::filesystem::path& membership = "/proc/self/cgroup",
                                                       const std::filesystem::path& mount = "/sys/fs/cgroup");

/// What the process may still map under a limit of its address space (ulimit -v), if it has one.
std::optional<std::size_t> available_address_space();

}  // namespace ltx2
