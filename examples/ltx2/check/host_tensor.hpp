// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ltxmem/core/shape.hpp"
#include "ltxmem/core/tensor_view.hpp"

namespace ltx2 {

/// A tensor of a case file in host memory: any rank, fp32, int32 or bytes.
struct HostTensor {
  std::vector<std::int64_t> shape;
  std::variant<std::vector<float>, std::vector<std::int32_t>, std::vector<std::uint8_t>> values;

  HostTensor() = default;
  template <class V>
  HostTensor(std::vector<std::int64_t> extents, std::vector<V> data)
      : shape(std::move(extents)), values(std::move(data)) {}

  /// fp32 zeros.
  static HostTensor zeros(std::vector<std::int64_t> extents) {
    std::int64_t count = 1;
    for (const std::int64_t extent : extents) count = ltxmem::checked_product(count, extent);
    return {std::move(extents), std::vector<float>(static_cast<std::size_t>(count))};
  }

  std::vector<float>& floats() { return std::get<std::vector<float>>(values); }
  const std::vector<float>& floats() const { return std::get<std::vector<float>>(values); }

  /// The fp32 elements as a dense view of another shape with as many elements.
  template <std::size_t Rank>
  ltxmem::TensorView<float, Rank> view(const ltxmem::Extents<Rank>& extents) {
    expect_count(extents);
    return {floats().data(), extents};
  }
  template <std::size_t Rank>
  ltxmem::TensorView<const float, Rank> view(const ltxmem::Extents<Rank>& extents) const {
    expect_count(extents);
    return {floats().data(), extents};
  }

 private:
  template <std::size_t Rank>
  void expect_count(const ltxmem::Extents<Rank>& extents) const {
    ltxmem::expects(ltxmem::element_count(extents) == static_cast<std::int64_t>(floats().size()), "tensor of ",
                    floats().size(), " elements viewed as ", ltxmem::element_count(extents));
  }
};

/// Tensors by name, without the "in." or "out." in front.
using HostTensors = std::map<std::string, HostTensor>;

/// A copy with axes reordered: result axis i is axis order[i] of the input. fp32 only.
HostTensor permuted(const HostTensor& tensor, const std::vector<std::size_t>& order);

}  // namespace ltx2
