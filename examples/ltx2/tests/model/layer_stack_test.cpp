// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "model/layer_stack.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "support/catch.hpp"

namespace {

using ltxmem::Extents;
using ltxmem::TensorView;

/// Doubles every value into a tensor of twice the width, or of half.
struct Resize {
  bool up;

  bool in_place() const noexcept { return false; }
  Extents<4> output_extents(Extents<4> input) const {
    input[2] = up ? 2 * input[2] : input[2] / 2;
    return input;
  }
  template <class Backend>
  void operator()(Backend&, TensorView<float, 4> x, TensorView<float, 4> y, ltxmem::Arena&) const {
    for (std::int64_t i = 0; i < y.extent(2); ++i) y(0, 0, i, 0) = 2.0F * x(0, 0, up ? i / 2 : 2 * i, 0);
  }
};

/// Adds one, with scratch like x.
struct Increment {
  bool in_place() const noexcept { return true; }
  Extents<4> output_extents(const Extents<4>& input) const { return input; }
  template <class Backend>
  void operator()(Backend&, TensorView<float, 4> x, TensorView<float, 4> y, ltxmem::Arena& arena) const {
    CHECK(x.data() == y.data());
    const auto scope = arena.scope();
    arena.take<float>("scratch", x.extents());
    for (std::int64_t i = 0; i < y.extent(2); ++i) y(0, 0, i, 0) += 1.0F;
  }
};

using Stack = ltx2::LayerStack<float, Resize, Increment>;

std::vector<float> run(const Stack& stack, std::int64_t width, std::size_t& peak_bytes) {
  ltxmem::CpuBackend<> backend;
  ltxmem::HostResource memory;
  ltxmem::Arena arena(memory, 1 << 20);
  const Extents<4> first{1, 1, width, 1};
  const auto y = arena.take<float>("result", stack.output_extents(first));
  const auto enter = [](TensorView<float, 4> x) { std::fill_n(x.data(), x.size(), 1.0F); };
  stack(backend, "layer", first, enter, y, arena);
  peak_bytes = arena.peak_bytes();
  CHECK(arena.used_bytes() == static_cast<std::size_t>(y.size()) * sizeof(float));
  return {y.data(), y.data() + y.size()};
}

}  // namespace

TEST_CASE("A stack of layers applies them in order") {
  Stack stack;
  stack.push(Increment{});
  stack.push(Resize{true});
  stack.push(Increment{});
  std::size_t peak = 0;
  CHECK(run(stack, 64, peak) == std::vector<float>(128, 5.0F));  // (1 + 1) * 2 + 1
}

TEST_CASE("A stack without layers gives its input") {
  std::size_t peak = 0;
  CHECK(run(Stack(), 64, peak) == std::vector<float>(64, 1.0F));
  CHECK(peak == 256);
}

TEST_CASE("A growing stack holds its result, one input and one scratch at the peak") {
  Stack stack;
  for (int i = 0; i < 3; ++i) {
    stack.push(Increment{});
    stack.push(Resize{true});
  }
  stack.push(Increment{});
  std::size_t peak = 0;
  run(stack, 64, peak);
  CHECK(peak == 2 * 512 * sizeof(float));  // the last increment; the smaller tensors before it are gone
}

TEST_CASE("A shrinking stack holds the results to come beside its first layer") {
  Stack stack;
  stack.push(Increment{});
  for (int i = 0; i < 3; ++i) stack.push(Resize{false});
  std::size_t peak = 0;
  run(stack, 512, peak);
  CHECK(peak == (2 * 512 + 256 + 128 + 64) * sizeof(float));
}
