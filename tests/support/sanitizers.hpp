// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// LTXMEM_SANITIZED is defined where g++ or clang++ build with the address or the thread sanitizer: processes are slow
/// then, and memory is not what the program alone asks for.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LTXMEM_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LTXMEM_SANITIZED
#endif
#endif
