# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

include_guard(GLOBAL)

find_package(Catch2 QUIET)
if(NOT Catch2_FOUND)
  message(WARNING "Catch2 is missing, no test is built (Debian and Ubuntu: apt-get install catch2)")
  return()
endif()

add_library(ltxmem_catch_main STATIC "${PROJECT_SOURCE_DIR}/tests/support/catch_main.cpp")
target_include_directories(ltxmem_catch_main PUBLIC "${PROJECT_SOURCE_DIR}/tests")
target_link_libraries(ltxmem_catch_main PUBLIC Catch2::Catch2 ltxmem::ltxmem)

# Adds a Catch2 program and its CTest entry, which leaves out the cases tagged [long]. Without sources there is none.
function(ltxmem_test_program target)
  if(NOT ARGN)
    return()
  endif()
  add_executable(${target} ${ARGN})
  target_link_libraries(${target} PRIVATE ltxmem_catch_main)
  # Catch2 2 takes longer to parse than most tests; -fpch-preprocess lets ccache see through the precompiled header.
  target_precompile_headers(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests/support/catch.hpp")
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  add_test(NAME ${target} COMMAND ${target} "~[long]")
  set_tests_properties(${target} PROPERTIES LABELS catch TIMEOUT 2700)
endfunction()
