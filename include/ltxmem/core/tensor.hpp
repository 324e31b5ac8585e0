// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "ltxmem/core/resource.hpp"
#include "ltxmem/core/tensor_view.hpp"

/// Owning, move-only, dense row-major tensor. Memory: element count times sizeof(T), from the resource it is given,
/// uninitialised, freed by the destructor. The resource must outlive the tensor.

namespace ltxmem {

template <class T, std::size_t Rank>
class Tensor {
 public:
  Tensor() = default;

  Tensor(ResourceRef resource, const Extents<Rank>& extents) : resource_(resource), bytes_(byte_count<T>(extents)) {
    view_ = TensorView<T, Rank>(static_cast<T*>(resource.allocate(bytes_, buffer_alignment)), extents);
  }

  Tensor(Tensor&& other) noexcept { swap(other); }
  Tensor& operator=(Tensor&& other) noexcept {
    Tensor(std::move(other)).swap(*this);
    return *this;
  }
  ~Tensor() {
    if (resource_) resource_->deallocate(const_cast<std::remove_const_t<T>*>(view_.data()), bytes_, buffer_alignment);
  }

  TensorView<T, Rank> view() noexcept { return view_; }
  TensorView<const T, Rank> view() const noexcept { return view_; }
  const Extents<Rank>& extents() const noexcept { return view_.extents(); }
  std::int64_t extent(std::size_t axis) const noexcept { return view_.extent(axis); }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  void swap(Tensor& other) noexcept {
    std::swap(resource_, other.resource_);
    std::swap(bytes_, other.bytes_);
    std::swap(view_, other.view_);
  }

  std::optional<ResourceRef> resource_;
  std::size_t bytes_ = 0;
  TensorView<T, Rank> view_;
};

}  // namespace ltxmem
