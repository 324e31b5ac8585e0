# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

include_guard(GLOBAL)

# ltxmem_nvcc_objects(VARIABLE SOURCES FILE... [INCLUDES FOLDER...]): compiles by nvcc, with warnings as errors, and sets
# the variable to the objects, for programs and libraries. nvcc is called directly and is not a language of the project,
# so that machines without a device and programs on test doubles of CUDA's libraries can link the objects. They hold PTX
# for the oldest device that the library knows, which drivers compile for newer ones.
function(ltxmem_nvcc_objects variable)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;INCLUDES")
  list(TRANSFORM arg_INCLUDES PREPEND "-I")
  set(objects "")
  foreach(source IN LISTS arg_SOURCES)
    cmake_path(ABSOLUTE_PATH source NORMALIZE)
    cmake_path(GET source STEM name)
    set(object "${CMAKE_CURRENT_BINARY_DIR}/${name}.cu.o")
    add_custom_command(
      OUTPUT "${object}"
      COMMAND "${CUDAToolkit_NVCC_EXECUTABLE}" -std=c++20 -O1 -gencode arch=compute_80,code=compute_80 -cudart=none
              --expt-relaxed-constexpr -Werror all-warnings -Xcompiler=-fPIC ${arg_INCLUDES}
              "-I${PROJECT_SOURCE_DIR}/include" -c "${source}" -o "${object}" -MD -MF "${object}.d" -MT "${object}"
      DEPENDS "${source}"
      DEPFILE "${object}.d"
      COMMENT "nvcc ${name}.cu"
      VERBATIM)
    list(APPEND objects "${object}")
  endforeach()
  set(${variable} "${objects}" PARENT_SCOPE)
endfunction()

# ltxmem_nvcc_budget(NAME SOURCE FILE BUDGET FILE ARCHITECTURES ARCH... INCLUDES FOLDER... [DEPENDS FILE...]): target
# NAME_kernels compiles the kernels for every architecture, and tests NAME.sm_ARCH (label cuda-build) compare what nvcc made
# of them with the budget. Needs Python.
function(ltxmem_nvcc_budget name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "SOURCE;BUDGET" "ARCHITECTURES;INCLUDES;DEPENDS")
  set(script "${PROJECT_SOURCE_DIR}/tests/cuda/check.py")
  set(check "${Python3_EXECUTABLE}" "${script}")
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/${name}")
  cmake_path(ABSOLUTE_PATH arg_SOURCE NORMALIZE)
  cmake_path(ABSOLUTE_PATH arg_BUDGET NORMALIZE)
  set(logs "")
  foreach(arch IN LISTS arg_ARCHITECTURES)
    set(log "${folder}/kernels.sm_${arch}.log")
    add_custom_command(
      OUTPUT "${log}"
      COMMAND ${check} compile --nvcc "${CUDAToolkit_NVCC_EXECUTABLE}" --source "${arg_SOURCE}" --include
              "${PROJECT_SOURCE_DIR}/include" ${arg_INCLUDES} --arch ${arch} --output "${folder}"
      DEPENDS "${arg_SOURCE}" "${script}" ${arg_DEPENDS}
      DEPFILE "${folder}/kernels.sm_${arch}.d"
      COMMENT "Kernels of ${name} for sm_${arch}"
      VERBATIM)
    list(APPEND logs "${log}")
    add_test(NAME ${name}.sm_${arch} COMMAND ${check} check --arch ${arch} --output "${folder}" --budget "${arg_BUDGET}")
    set_tests_properties(${name}.sm_${arch} PROPERTIES LABELS cuda-build TIMEOUT 60)
  endforeach()
  add_custom_target(${name}_kernels ALL DEPENDS ${logs})
endfunction()
