# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# cmake -DROOT=<repository> -P check.cmake
#
# Reads the sources and fails with one line per violation:
#   * a folder of the library includes only the folders below it, and nothing sideways between backends;
#   * third-party and platform headers only where the file name or the folder says so;
#   * a header that needs nothing optional is reachable from ltxmem.hpp, and ltxmem.hpp reaches no other;
#   * the library names no model; the example includes only what exists in the library or beside it;
#   * the compiler is tested in config.hpp alone;
#   * every source starts with the two licence lines, every header has #pragma once.
cmake_minimum_required(VERSION 3.25)

# What each folder may include besides itself and config.hpp, as patterns on paths below include/ltxmem.
set(backend_interface "backend/[^/]+\\.hpp")
set(MAY_core "")
set(MAY_math core/.*)
set(MAY_memory core/.*)
set(MAY_backend core/.* math/.* memory/.*)
set(MAY_backend_cpu ${MAY_backend} ${backend_interface})
set(MAY_backend_dry_run ${MAY_backend_cpu} io/json\\.hpp)
set(MAY_backend_cuda ${MAY_backend_cpu})
set(MAY_stores core/.* math/.* memory/.* ${backend_interface})
set(MAY_ops ${MAY_stores})
set(MAY_weights ${MAY_stores} ops/.* stores/.*)
set(MAY_parallel ${MAY_weights} weights/.*)
set(MAY_attention ${MAY_weights} weights/.* parallel/communicator\\.hpp parallel/partition\\.hpp)
set(MAY_ffn ${MAY_weights} weights/.*)
set(MAY_io core/.* memory/.*)

# Headers of others, told by the path of the file that may include them. Everything may include standard headers:
# names without a slash and without an extension.
set(foreign
  "(^|/)onednn_[^/]*$ includes oneapi/dnnl/.*"
  "(^|/)onednn_[^/]*$ includes (dlfcn|sys/mman)\\.h"
  "(^|/)highway_[^/]*$ includes hwy/.*"
  "(^|/)amx_[^/]*$ includes (cpuid|immintrin|unistd|sys/syscall)\\.h"
  "(^|/)avx512_[^/]*$ includes immintrin\\.h"
  "(^|/)sse2_[^/]*$ includes emmintrin\\.h"
  "(^|/)mpi_[^/]*$ includes mpi\\.h"
  "(^|/)nccl_[^/]*$ includes nccl\\.h"
  "(^|/)nccl_[^/]*$ includes cuda.*\\.h"
  "(^|/)cuda_[^/]*$|\\.cuh$ includes (cuda|cublas|cub/|nvtx3/|thrust/).*"
  "^io/ includes (fcntl|unistd|sys/[a-z]+)\\.h")
set(optional "(^|/)(onednn|highway|amx|mpi|nccl|cuda)_[^/]*$|\\.cuh$")

set(violations "")
macro(violation text)
  string(APPEND violations "  ${text}\n")
endmacro()

# Sets `includes` to what a file includes: "path" or <path>, delimiters kept.
function(read_includes file)
  file(STRINGS "${file}" lines REGEX "^[ \t]*#[ \t]*include[ \t]*[\"<]")
  list(TRANSFORM lines REPLACE "^[^\"<]*([\"<][^\">]*[\">]).*$" "\\1")
  set(includes "${lines}" PARENT_SCOPE)
endfunction()

set(library "${ROOT}/include/ltxmem")
file(GLOB_RECURSE headers RELATIVE "${library}" "${library}/*.hpp" "${library}/*.cuh")

foreach(header IN LISTS headers)
  set(layer "")
  if(header MATCHES "^(backend/[^/]+)/")
    string(REPLACE "/" "_" layer "${CMAKE_MATCH_1}")
    set(own "${CMAKE_MATCH_1}/.*")
  elseif(header MATCHES "^backend/")
    set(layer backend)
    set(own "${backend_interface}")
  elseif(header MATCHES "^([^/]+)/")
    set(layer "${CMAKE_MATCH_1}")
    set(own "${layer}/.*")
  endif()
  if(layer AND NOT DEFINED MAY_${layer})
    violation("include/ltxmem/${header}: this folder has no rule in tests/layering/check.cmake")
    continue()
  endif()

  read_includes("${library}/${header}")
  set(INCLUDES_${header} "")
  foreach(include IN LISTS includes)
    set(allowed FALSE)
    if(include MATCHES "^\"")
      if(NOT include MATCHES "^\"ltxmem/(.*)\"$")
        violation("include/ltxmem/${header}: includes ${include}, which is not written ltxmem/...")
        continue()
      endif()
      set(path "${CMAKE_MATCH_1}")
      list(APPEND INCLUDES_${header} "${path}")
      if(layer STREQUAL "" OR path STREQUAL "config.hpp")
        set(allowed TRUE)
      elseif(header MATCHES "(^|/)nccl_[^/]*$" AND path MATCHES "^backend/cuda/cuda_[^/]*$")
        set(allowed TRUE)
      elseif(header STREQUAL "attention/ring_attention.hpp" AND path STREQUAL "parallel/ring_row_store.hpp")
        set(allowed TRUE)
      else()
        foreach(pattern IN LISTS MAY_${layer} own)
          if(path MATCHES "^${pattern}$")
            set(allowed TRUE)
          endif()
        endforeach()
      endif()
      if(path MATCHES "${optional}" AND NOT header MATCHES "${optional}")
        set(allowed FALSE)
      endif()
    elseif(include MATCHES "^<([a-z0-9_]+)>$")
      set(allowed TRUE)
    else()
      string(REGEX REPLACE "[<>]" "" path "${include}")
      foreach(rule IN LISTS foreign)
        string(REGEX MATCH "^(.*) includes (.*)$" rule "${rule}")
        set(pattern "${CMAKE_MATCH_2}")
        if(header MATCHES "${CMAKE_MATCH_1}" AND path MATCHES "^${pattern}$")
          set(allowed TRUE)
        endif()
      endforeach()
    endif()
    if(NOT allowed)
      violation("include/ltxmem/${header}: must not include ${include}")
    endif()
  endforeach()
endforeach()

# What ltxmem.hpp reaches.
if("ltxmem.hpp" IN_LIST headers)
  set(reached ltxmem.hpp)
  set(open ltxmem.hpp)
  while(open)
    list(POP_FRONT open header)
    foreach(next IN LISTS INCLUDES_${header})
      if(NOT next IN_LIST reached)
        list(APPEND reached "${next}")
        list(APPEND open "${next}")
      endif()
    endforeach()
  endwhile()
  foreach(header IN LISTS headers)
    if(header MATCHES "${optional}")
      if(header IN_LIST reached)
        violation("include/ltxmem/ltxmem.hpp: reaches ${header}, which needs an optional part")
      endif()
    elseif(NOT header IN_LIST reached)
      violation("include/ltxmem/ltxmem.hpp: does not reach ${header}")
    endif()
  endforeach()
endif()

# Fails when a line of the file matches.
function(forbid file regex what)
  file(STRINGS "${ROOT}/${file}" lines REGEX "${regex}")
  if(lines)
    list(GET lines 0 line)
    string(STRIP "${line}" line)
    violation("${file}: ${what}: ${line}")
    set(violations "${violations}" PARENT_SCOPE)
  endif()
endfunction()

file(GLOB_RECURSE sources RELATIVE "${ROOT}"
  "${ROOT}/include/*" "${ROOT}/examples/*" "${ROOT}/tests/*" "${ROOT}/benchmarks/*" "${ROOT}/cmake/*" "${ROOT}/docs/*"
  "${ROOT}/CMakeLists.txt" "${ROOT}/.ci/run")
list(FILTER sources INCLUDE REGEX "\\.(hpp|cuh|cpp|cu|cmake|in|sh|py)$|CMakeLists\\.txt$|\\.ci/run$")
list(FILTER sources EXCLUDE REGEX "/golden/|^examples/[^/]*/out/")
foreach(source IN LISTS sources)
  file(READ "${ROOT}/${source}" head LIMIT 400)
  set(licence "SPDX-FileCopyrightText: The ltxmem authors\n(//|#) SPDX-License-Identifier: Apache-2\\.0\n")
  if(NOT head MATCHES "^(#![^\n]*\n)?(//|#) ${licence}")
    violation("${source}: does not start with the two licence lines")
  endif()
  # Highway compiles a file once per instruction set by including it again, so those carry a toggle of their own.
  if(source MATCHES "\\.(hpp|cuh)$" AND NOT source MATCHES "/highway_[^/]*$")
    file(STRINGS "${ROOT}/${source}" guard REGEX "^#pragma once$")
    if(NOT guard)
      violation("${source}: has no #pragma once")
    endif()
  endif()
  if(source MATCHES "\\.(hpp|cuh|cpp|cu)$" AND NOT source STREQUAL "include/ltxmem/config.hpp")
    forbid("${source}" "^ *# *(el)?if.*(__GNUC__|__GNUG__|__clang|_MSC_VER|__NVCC__|__CUDACC__|__CUDA_ARCH__|__INTEL)"
      "tests for the compiler outside config.hpp")
  endif()
  if(source MATCHES "^include/")
    forbid("${source}" "[Ll][Tt][Xx][-_ ]?(2|[Vv]ideo)|[Ll]ightricks|[Gg]emma|[Vv]ocoder" "names a model")
  endif()
  forbid("${source}" "/(home|root|work)/" "names a folder of somebody's machine")

  if(source MATCHES "^examples/([^/]+)/.*\\.(hpp|cpp)$")
    set(example "examples/${CMAKE_MATCH_1}")
    cmake_path(GET source PARENT_PATH folder)
    read_includes("${ROOT}/${source}")
    foreach(include IN LISTS includes)
      if(include MATCHES "^\"(.*)\"$")
        set(path "${CMAKE_MATCH_1}")
        set(places "${ROOT}/include/${path}" "${ROOT}/${example}/${path}" "${ROOT}/examples/${path}")
        list(APPEND places "${ROOT}/${folder}/${path}")
        if(source MATCHES "^${example}/tests/")
          list(APPEND places "${ROOT}/tests/${path}" "${ROOT}/${example}/tests/${path}")
        endif()
        set(found FALSE)
        foreach(place IN LISTS places)
          if(EXISTS "${place}")
            set(found TRUE)
          endif()
        endforeach()
        if(NOT found)
          violation("${source}: includes ${include}, which is neither the library's nor the example's")
        endif()
      endif()
    endforeach()
  endif()
endforeach()

list(LENGTH headers header_count)
list(LENGTH sources source_count)
if(header_count EQUAL 0)
  violation("no header found below ${library}")
endif()
if(violations)
  message(FATAL_ERROR "layering:\n${violations}")
endif()
message(STATUS "layering: ${header_count} headers and ${source_count} sources follow the rules")
