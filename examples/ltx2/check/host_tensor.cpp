// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "check/host_tensor.hpp"

namespace ltx2 {

HostTensor permuted(const HostTensor& tensor, const std::vector<std::size_t>& order) {
  const std::size_t rank = tensor.shape.size();
  std::vector<std::int64_t> strides(rank, 1);
  for (std::size_t axis = rank; axis-- > 1;) strides[axis - 1] = strides[axis] * tensor.shape[axis];
  std::vector<std::int64_t> shape;
  for (const std::size_t axis : order) shape.push_back(tensor.shape[axis]);
  HostTensor result = HostTensor::zeros(shape);
  std::vector<std::int64_t> at(rank, 0);
  for (float& value : result.floats()) {
    std::int64_t offset = 0;
    for (std::size_t axis = 0; axis < rank; ++axis) offset += at[axis] * strides[order[axis]];
    value = tensor.floats()[static_cast<std::size_t>(offset)];
    for (std::size_t axis = rank; axis-- > 0;) {
      if (++at[axis] < shape[axis]) break;
      at[axis] = 0;
    }
  }
  return result;
}

}  // namespace ltx2
