// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "checkpoint/tensor_part.hpp"
#include "ltxmem/core/error.hpp"

namespace ltx2 {

/// Where tensors of a file, or parts of them, lie in a copy: from the address in the file to the offset in the copy.
class WeightPlaces {
 public:
  struct Found {
    std::size_t offset;
    std::int64_t row_stride;  ///< of a matrix whose rows are closer together than in the file; 0: they are not
  };

  void add(const TensorBytes& part, std::size_t offset) {
    if (part.bytes() == 0) return;
    const auto at = std::lower_bound(places_.begin(), places_.end(), part.data, starts_before);
    // Behind its first row the part of some columns has nothing where the file has it.
    places_.insert(at, {part.data, part.row_bytes, offset, part.row_stride});
  }

  /// Error for an address that is in none of the tensors: a weight that its block lacks.
  Found find(const std::byte* data) const {
    auto at = std::upper_bound(places_.begin(), places_.end(), data, [](const std::byte* left, const Place& right) {
      return std::less<>()(left, right.data);
    });
    ltxmem::expects<ltxmem::Error>(at != places_.begin(), "weights: a tensor that does not travel with its block");
    --at;
    ltxmem::expects<ltxmem::Error>(std::less<>()(data, at->data + at->bytes),
                                   "weights: a tensor that does not travel with its block");
    return {at->offset + static_cast<std::size_t>(data - at->data), at->row_stride};
  }

 private:
  struct Place {
    const std::byte* data;
    std::size_t bytes;
    std::size_t offset;
    std::int64_t row_stride;
  };
  static bool starts_before(const Place& left, const std::byte* right) { return std::less<>()(left.data, right); }

  std::vector<Place> places_;  // by address
};

}  // namespace ltx2
