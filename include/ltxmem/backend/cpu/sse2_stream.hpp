// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ltxmem/config.hpp"

#if LTXMEM_X86_TARGETS
#include <emmintrin.h>
#endif

/// Writing past the caches, with instructions that every x86-64 processor has; an ordinary copy on others.

namespace ltxmem::cpu {

/// Tensors of so many bytes are written past the caches: nothing of them would be left there when somebody reads them,
/// and every line would be fetched from memory before it is overwritten.
inline constexpr std::size_t streamed_bytes = std::size_t{32} << 20;

#if LTXMEM_X86_TARGETS

/// Copies a run past the caches. Other threads see it after stream_fence of this one.
template <class T>
void stream_run(const T* from, std::int64_t count, T* to) {
  constexpr auto step = static_cast<std::int64_t>(sizeof(__m128i) / sizeof(T));
  std::int64_t i = 0;
  for (; i < count && reinterpret_cast<std::uintptr_t>(to + i) % sizeof(__m128i) != 0; ++i) to[i] = from[i];
  for (; i + step <= count; i += step) {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
  }
  for (; i < count; ++i) to[i] = from[i];
}
inline void stream_fence() {
  _mm_sfence();
}

#else

template <class T>
void stream_run(const T* from, std::int64_t count, T* to) {
  std::copy_n(from, count, to);
}
inline void stream_fence() {}

#endif

}  // namespace ltxmem::cpu
