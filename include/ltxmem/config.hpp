// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Compiler switches of the library. Every header may include this one; no other header tests for a compiler.

/// Marks a function that also runs inside a kernel; empty without nvcc.
#if defined(__CUDACC__)
#define LTXMEM_HOST_DEVICE __host__ __device__
#else
#define LTXMEM_HOST_DEVICE
#endif
