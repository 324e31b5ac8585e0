# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# Every header belongs to exactly one part, told by its path below include/ltxmem. A header that needs an optional
# dependency carries it in its file name or needs nvcc; whatever no pattern claims is plain C++20 and belongs to
# ltxmem::ltxmem. Headers for nvcc are a file set of their own: nothing else can compile them alone.
# A new part is one pattern here, one block in the root list file and one line in cmake/ltxmemConfig.cmake.in.
set(LTXMEM_PATTERN_onednn "(^|/)onednn_[^/]*$")
set(LTXMEM_PATTERN_highway "(^|/)highway_[^/]*$")
set(LTXMEM_PATTERN_mpi "(^|/)mpi_[^/]*$")
set(LTXMEM_PATTERN_nccl "(^|/)nccl_[^/]*$")
set(LTXMEM_PATTERN_cuda "(^|/)cuda_[^/]*$|\\.cuh$")

set(LTXMEM_PARTS "")

# Creates ltxmem::<part>, an INTERFACE target with the part's headers, unless the part has no header yet: a target
# that promises nothing is not created. Adds the part to LTXMEM_PARTS in the caller's scope.
function(ltxmem_part part)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "DEPENDS")
  set(root "${PROJECT_SOURCE_DIR}/include")
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE "${root}/ltxmem" "${root}/ltxmem/*.hpp" "${root}/ltxmem/*.cuh")
  if(part STREQUAL "ltxmem")
    foreach(other IN ITEMS onednn highway mpi nccl cuda)
      list(FILTER headers EXCLUDE REGEX "${LTXMEM_PATTERN_${other}}")
    endforeach()
    set(target ltxmem)
  else()
    list(FILTER headers INCLUDE REGEX "${LTXMEM_PATTERN_${part}}")
    set(target ltxmem_${part})
  endif()
  if(NOT headers)
    return()
  endif()
  list(TRANSFORM headers PREPEND "${root}/ltxmem/")
  set(kernels "${headers}")
  list(FILTER kernels INCLUDE REGEX "\\.cuh$")
  list(FILTER headers EXCLUDE REGEX "\\.cuh$")

  add_library(${target} INTERFACE)
  add_library(ltxmem::${part} ALIAS ${target})
  target_sources(${target} INTERFACE
    FILE_SET HEADERS BASE_DIRS "${root}" FILES ${headers}
    FILE_SET kernels TYPE HEADERS BASE_DIRS "${root}" FILES ${kernels})
  set_target_properties(${target} PROPERTIES INTERFACE_HEADER_SETS_TO_VERIFY HEADERS)
  target_compile_features(${target} INTERFACE cxx_std_20)
  target_link_libraries(${target} INTERFACE ${arg_DEPENDS})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${part})
  set(LTXMEM_PARTS ${LTXMEM_PARTS} ${part} PARENT_SCOPE)
endfunction()

# Links a program of this project with every part that exists and tells its sources which: <PREFIX>_<PART>. Not with
# MPI and CUDA, which only programs made for them want.
function(ltxmem_link_parts target visibility prefix)
  foreach(part IN LISTS LTXMEM_PARTS)
    if(part MATCHES "^(mpi|cuda|nccl)$")
      continue()
    endif()
    target_link_libraries(${target} ${visibility} ltxmem::${part})
    if(NOT part STREQUAL "ltxmem")
      string(TOUPPER ${part} upper)
      target_compile_definitions(${target} ${visibility} ${prefix}_${upper}=1)
    endif()
  endforeach()
endfunction()
