// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

#include "ltxmem/core/error.hpp"

namespace ltx2 {

/// Where tensors of a file lie in a copy: from the address in the file to the offset in the copy.
class WeightPlaces {
 public:
  void add(const std::byte* data, std::size_t bytes, std::size_t offset) {
    if (bytes == 0) return;
    const auto at = std::lower_bound(places_.begin(), places_.end(), data, starts_before);
    places_.insert(at, {data, bytes, offset});
  }

  /// Error for an address that is in none of the tensors: a weight that its block lacks.
  std::size_t offset_of(const std::byte* data) const {
    auto at = std::upper_bound(places_.begin(), places_.end(), data, [](const std::byte* left, const Place& right) {
      return std::less<>()(left, right.data);
    });
    ltxmem::expects<ltxmem::Error>(at != places_.begin(), "weights: a tensor that does not travel with its block");
    --at;
    ltxmem::expects<ltxmem::Error>(std::less<>()(data, at->data + at->bytes),
                                   "weights: a tensor that does not travel with its block");
    return at->offset + static_cast<std::size_t>(data - at->data);
  }

 private:
  struct Place {
    const std::byte* data;
    std::size_t bytes;
    std::size_t offset;
  };
  static bool starts_before(const Place& left, const std::byte* right) { return std::less<>()(left.data, right); }

  std::vector<Place> places_;  // by address
};

}  // namespace ltx2
