// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/core/tensor.hpp"

#include <cstdint>
#include <memory>
#include <utility>

#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"

using namespace ltxmem;

TEST_CASE("tensor: takes its bytes from the resource, aligned, and gives them back") {
  HostResource host;
  CountingResource counting(host);
  {
    Tensor<float, 2> tensor(counting, {3, 5});
    CHECK(counting.current_bytes() == 60);
    CHECK(tensor.bytes() == 60);
    CHECK(reinterpret_cast<std::uintptr_t>(tensor.view().data()) % buffer_alignment == 0);
    tensor.view()(2, 4) = 1.5F;
    CHECK(std::as_const(tensor).view()(2, 4) == 1.5F);
  }
  CHECK(counting.current_bytes() == 0);
}

TEST_CASE("tensor: moving hands over the memory, once") {
  HostResource host;
  CountingResource counting(host);
  {
    const auto first = std::make_unique<Tensor<int, 1>>(counting, Extents<1>{10});
    const int* data = first->view().data();
    Tensor<int, 1> second(std::move(*first));
    CHECK(second.view().data() == data);
    Tensor<int, 1> third(counting, {20});
    CHECK(counting.current_bytes() == 120);
    third = std::move(second);
    CHECK(third.view().data() == data);
    CHECK(third.extent(0) == 10);
    CHECK(counting.current_bytes() == 40);
  }
  CHECK(counting.current_bytes() == 0);
}

TEST_CASE("tensor: an empty one owns nothing, one without elements is freed all the same") {
  HostResource host;
  CountingResource counting(host);
  { const Tensor<float, 2> nothing; }
  { const Tensor<float, 2> no_rows(counting, {0, 5}); }
  CHECK(counting.current_bytes() == 0);
}

TEST_CASE("tensor: an absurd shape is a shape error, not a small allocation") {
  HostResource host;
  using Matrix = Tensor<float, 2>;
  CHECK_THROWS_AS(Matrix(host, {1LL << 32, 1LL << 31}), ShapeError);
}
