// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// A stranger's program: allocates a tensor from a counting resource, as the installed headers allow.

#include <cstdio>

#include "ltxmem/core/tensor.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/version.hpp"

int main() {
  ltxmem::HostResource host;
  ltxmem::CountingResource counted(host);
  const ltxmem::Tensor<float, 2> tensor(counted, {3, 5});
  std::printf("ltxmem %d.%d.%d: %zu bytes\n", LTXMEM_VERSION_MAJOR, LTXMEM_VERSION_MINOR, LTXMEM_VERSION_PATCH,
              tensor.bytes());
  return tensor.bytes() == 60 ? 0 : 1;
}
