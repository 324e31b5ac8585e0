# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# cmake -DCOMPILER=<c++> -DCOMPILER_ID=<GNU|Clang> -DINCLUDE=<folder> -DSOURCE=<case.cpp> -P check.cmake
#
# A case is one file holding a good use and, below #ifdef LTXMEM_REFUSE, its refused twin. The file must compile
# without the macro and must not with it, and then the compiler must say every text that a line of this form names
# (literally, as one piece of its output; the second and third form for one compiler alone):
#
#   // expect: constraints not satisfied
#   // expect(GNU): ...
#   // expect(Clang): ...
cmake_minimum_required(VERSION 3.25)

# Plain quotation marks whatever the locale.
set(command "${CMAKE_COMMAND}" -E env LC_ALL=C "${COMPILER}" -std=c++20 -fsyntax-only "-I${INCLUDE}" "${SOURCE}")
cmake_path(GET SOURCE FILENAME name)

execute_process(COMMAND ${command} RESULT_VARIABLE status ERROR_VARIABLE output)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${name}: the good twin does not compile:\n${output}")
endif()

execute_process(COMMAND ${command} -DLTXMEM_REFUSE RESULT_VARIABLE status ERROR_VARIABLE output)
if(status EQUAL 0)
  message(FATAL_ERROR "${name}: compiles although it must be refused")
endif()

file(STRINGS "${SOURCE}" expectations REGEX "^// expect(\\(${COMPILER_ID}\\))?: ")
if(NOT expectations)
  message(FATAL_ERROR "${name}: names no message to expect from ${COMPILER_ID}")
endif()
foreach(text IN LISTS expectations)
  string(REGEX REPLACE "^// expect[^:]*: " "" text "${text}")
  string(FIND "${output}" "${text}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "${name}: refused, but without saying\n  ${text}\nIt said:\n${output}")
  endif()
endforeach()
