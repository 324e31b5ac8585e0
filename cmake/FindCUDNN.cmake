# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# Finds cuDNN, which the benchmarks compare attention with, and defines CUDNN::cudnn: NVIDIA ships no CMake files with it.

include("${CMAKE_CURRENT_LIST_DIR}/LtxmemFindLibrary.cmake")
ltxmem_find_library(CUDNN cudnn_version.h cudnn_version.h CUDNN IN_TOOLKIT)
