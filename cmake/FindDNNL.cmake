# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# Finds oneDNN and defines DNNL::dnnl. The package's own config file is not used: Debian's insists on OpenCL, which
# neither the headers nor the CPU engine need.

include("${CMAKE_CURRENT_LIST_DIR}/LtxmemFindLibrary.cmake")
ltxmem_find_library(DNNL oneapi/dnnl/dnnl.hpp oneapi/dnnl/dnnl_version.h DNNL_VERSION)
