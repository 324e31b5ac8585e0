# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# cmake -DSCRATCH=<empty folder> -P finds_violations.cmake
#
# Proves that check.cmake can fail: writes a small tree with one violation of every rule and expects exactly those.
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE "${SCRATCH}")
set(licence "// SPDX-FileCopyrightText: The ltxmem authors\n// SPDX-License-Identifier: Apache-2.0\n")
set(expected "")

# Writes a file with licence and guard before its lines; EXPECT is the violation it causes.
function(source path)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "LINES;EXPECT")
  list(JOIN arg_LINES "\n" text)
  file(WRITE "${SCRATCH}/${path}" "${licence}#pragma once\n${text}\n")
  foreach(message IN LISTS arg_EXPECT)
    list(APPEND expected "${path}: ${message}")
  endforeach()
  set(expected "${expected}" PARENT_SCOPE)
endfunction()

set(lib include/ltxmem)
source(${lib}/version.hpp)
source(${lib}/core/shape.hpp LINES "#include <vector>" "#include \"ltxmem/config.hpp\"")
source(${lib}/core/upwards.hpp LINES "#include \"ltxmem/memory/arena.hpp\""
  EXPECT "must not include \"ltxmem/memory/arena.hpp\"")
source(${lib}/memory/arena.hpp LINES "#include \"ltxmem/core/shape.hpp\"" "#include <sys/mman.h>"
  EXPECT "must not include <sys/mman.h>")
source(${lib}/math/relative.hpp LINES "#include \"shape.hpp\""
  EXPECT "includes \"shape.hpp\", which is not written ltxmem/...")
source(${lib}/backend/concepts.hpp LINES "#include \"ltxmem/backend/cpu/backend.hpp\""
  EXPECT "must not include \"ltxmem/backend/cpu/backend.hpp\"")
source(${lib}/backend/cpu/backend.hpp
  LINES "#include \"ltxmem/backend/dry_run/record.hpp\"" "#include \"ltxmem/backend/cpu/onednn_gemm.hpp\""
  EXPECT "must not include \"ltxmem/backend/dry_run/record.hpp\""
         "must not include \"ltxmem/backend/cpu/onednn_gemm.hpp\"")
source(${lib}/backend/cpu/gemm.hpp LINES "#include <oneapi/dnnl/dnnl.hpp>"
  EXPECT "must not include <oneapi/dnnl/dnnl.hpp>")
source(${lib}/backend/cpu/onednn_gemm.hpp
  LINES "#include <oneapi/dnnl/dnnl.hpp>" "#include \"ltxmem/backend/concepts.hpp\"")
source(${lib}/backend/dry_run/record.hpp)
source(${lib}/ops/norm.hpp LINES "#include \"ltxmem/backend/concepts.hpp\"" "#include \"ltxmem/attention/tiled.hpp\""
  EXPECT "must not include \"ltxmem/attention/tiled.hpp\"")
source(${lib}/attention/tiled.hpp
  LINES "#include \"ltxmem/parallel/communicator.hpp\"" "#include \"ltxmem/parallel/mesh.hpp\""
  EXPECT "must not include \"ltxmem/parallel/mesh.hpp\"")
source(${lib}/parallel/communicator.hpp)
source(${lib}/parallel/mesh.hpp LINES "#if defined(__GNUC__)" "#endif"
  EXPECT "tests for the compiler outside config.hpp: #if defined(__GNUC__)")
source(${lib}/ffn/chunked.hpp LINES "/// As in LTX-2." EXPECT "names a model: /// As in LTX-2.")
source(${lib}/io/file.hpp LINES "#include <sys/mman.h>" "#include \"ltxmem/ops/norm.hpp\""
  EXPECT "must not include \"ltxmem/ops/norm.hpp\"")
source(${lib}/kernels/stray.hpp EXPECT "this folder has no rule in tests/layering/check.cmake")
source(${lib}/ltxmem.hpp
  LINES "#include \"ltxmem/attention/tiled.hpp\"" "#include \"ltxmem/backend/cpu/backend.hpp\""
        "#include \"ltxmem/core/upwards.hpp\"" "#include \"ltxmem/ffn/chunked.hpp\"" "#include \"ltxmem/io/file.hpp\""
        "#include \"ltxmem/math/relative.hpp\"" "#include \"ltxmem/version.hpp\""
  EXPECT "does not reach backend/cpu/gemm.hpp" "does not reach kernels/stray.hpp"
         "reaches backend/cpu/onednn_gemm.hpp, which needs an optional part")
string(CONCAT line "inline const char* path = \"/ho" "me/x\"")  # in two pieces, or this file would be reported too
source(examples/toy/own.hpp LINES "${line}" EXPECT "names a folder of somebody's machine: ${line}")
source(examples/toy/main.cpp LINES "#include \"own.hpp\"" "#include \"ltxmem/core/absent.hpp\""
  EXPECT "includes \"ltxmem/core/absent.hpp\", which is neither the library's nor the example's")

# Two that the function above cannot write.
file(WRITE "${SCRATCH}/${lib}/config.hpp" "#pragma once\n#if defined(__CUDACC__)\n#endif\n")
list(APPEND expected "${lib}/config.hpp: does not start with the two licence lines")
file(WRITE "${SCRATCH}/examples/toy/unguarded.hpp" "${licence}")
list(APPEND expected "examples/toy/unguarded.hpp: has no #pragma once")

execute_process(
  COMMAND "${CMAKE_COMMAND}" "-DROOT=${SCRATCH}" -P "${CMAKE_CURRENT_LIST_DIR}/check.cmake"
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(status EQUAL 0)
  message(FATAL_ERROR "layering: the check accepted a tree full of violations")
endif()
set(rest "${output}")
foreach(line IN LISTS expected)
  string(FIND "${rest}" "  ${line}\n" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "layering: the check missed\n  ${line}\nIt said:\n${output}")
  endif()
  string(REPLACE "  ${line}\n" "" rest "${rest}")
endforeach()
string(REGEX MATCHALL "\n *(include|examples)/[^\n]*" more "${rest}")
if(more)
  message(FATAL_ERROR "layering: the check said more than it should:${more}")
endif()
