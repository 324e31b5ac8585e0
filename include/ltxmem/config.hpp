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

/// Bytes of the widest vectors that the compiler may use for this translation unit. It shapes loops, never results.
#if defined(__AVX512F__)
#define LTXMEM_VECTOR_BYTES 64
#elif defined(__AVX__)
#define LTXMEM_VECTOR_BYTES 32
#else
#define LTXMEM_VECTOR_BYTES 16
#endif

/// Before a loop: no iteration reads what another one writes, even where its operands are the same memory. Clang knows
/// no such word that it would not complain about where it leaves a loop as it is.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define LTXMEM_INDEPENDENT_ITERATIONS _Pragma("GCC ivdep")
#else
#define LTXMEM_INDEPENDENT_ITERATIONS
#endif

/// Whether single functions can be compiled for other x86 processors than the rest of the program.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__CUDACC__)
#define LTXMEM_X86_TARGETS 1
#else
#define LTXMEM_X86_TARGETS 0
#endif

/// Whether single functions can be told not to make fused multiply-adds of products and sums.
#if LTXMEM_X86_TARGETS && !defined(__clang__)
#define LTXMEM_WITHOUT_CONTRACTION 1
#else
#define LTXMEM_WITHOUT_CONTRACTION 0
#endif
