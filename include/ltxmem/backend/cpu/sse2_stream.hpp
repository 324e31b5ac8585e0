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

inline constexpr std::size_t line_bytes = 64;

/// Elements before the first one that begins a line of the cache.
template <class T>
std::int64_t elements_before_line(const T* to) {
  return static_cast<std::int64_t>(-reinterpret_cast<std::uintptr_t>(to) % line_bytes / sizeof(T));
}

#if LTXMEM_X86_TARGETS

/// Copies a run past the caches, by whole lines. Other threads see it after stream_fence of this one.
template <class T>
void stream_run(const T* from, std::int64_t count, T* to) {
  constexpr auto line = static_cast<std::int64_t>(line_bytes / sizeof(T));
  std::int64_t i = std::min(count, elements_before_line(to));
  std::copy_n(from, i, to);
  for (; i + line <= count; i += line) {
    const auto* source = reinterpret_cast<const __m128i*>(from + i);
    auto* target = reinterpret_cast<__m128i*>(to + i);
    for (std::size_t part = 0; part < line_bytes / sizeof(__m128i); ++part)
      _mm_stream_si128(target + part, _mm_loadu_si128(source + part));
  }
  std::copy_n(from + i, count - i, to + i);
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
