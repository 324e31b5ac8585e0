# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# Defaults that only the top-level project may choose: nothing here runs below a parent project.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# ccache accepts a precompiled header only when it may trust the header's content instead of its time stamp.
find_program(LTXMEM_CCACHE ccache)
mark_as_advanced(LTXMEM_CCACHE)
if(LTXMEM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros
                                  "${LTXMEM_CCACHE}")
endif()

# Two warnings that g++ 12 gives falsely once it has inlined the standard library: about overlap in "text" + string
# (GCC bug 105651), and about values that CLI11 sets on every path. clang++ and the sanitizers look for both mistakes.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-restrict -Wno-maybe-uninitialized)
endif()
