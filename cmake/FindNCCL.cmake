# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# Finds NCCL and defines NCCL::nccl: NVIDIA ships no CMake files with it.

include("${CMAKE_CURRENT_LIST_DIR}/LtxmemFindLibrary.cmake")
ltxmem_find_library(NCCL nccl.h nccl.h NCCL IN_TOOLKIT)
