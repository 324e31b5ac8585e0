# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# cmake -DCONSUMER=<find_package|add_subdirectory> -DSOURCE=<repository> -DBINARY=<its build folder> -DPARTS=<found,...>
#       -DSCRATCH=<folder> -DGENERATOR=... -DCOMPILER=... -P check.cmake
#
# Configures, builds and runs a program that uses the library the way a user gets it.
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${CONSUMER}: ${ARGN} failed:\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE "${SCRATCH}")
set(options -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${COMPILER}")
if(CONSUMER STREQUAL "find_package")
  run("${CMAKE_COMMAND}" --install "${BINARY}" --prefix "${SCRATCH}/prefix")
  list(REMOVE_ITEM PARTS ltxmem)
  list(JOIN PARTS "\\;" parts)
  list(APPEND options "-DCMAKE_PREFIX_PATH=${SCRATCH}/prefix" "-DPARTS=${parts}")
else()
  list(APPEND options "-DLTXMEM_SOURCE_DIR=${SOURCE}")
endif()
run("${CMAKE_COMMAND}" -S "${SOURCE}/tests/install/${CONSUMER}" -B "${SCRATCH}/build" ${options})
run("${CMAKE_COMMAND}" --build "${SCRATCH}/build")
run("${SCRATCH}/build/consumer")
