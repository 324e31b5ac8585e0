// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>
#include <vector>

#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/memory/arena.hpp"
#include "model/receptive_field.hpp"

namespace ltx2 {

/// Layers of several kinds one after another, on channels-last tensors.
///
/// A layer offers output_extents(input extents), in_place(), and (backend, x, y, arena); when in_place() it is called
/// with y the same memory as x, else it may overwrite x.
///
/// Memory    a layer's result is taken before its input, and the input inside a scope: in a stack-like arena every
///           tensor is then freed after its last use, and the results that wait meanwhile are those of later layers
template <ltxmem::Element T, class... Layers>
class LayerStack {
 public:
  template <class Layer>
  void push(Layer layer) {
    layers_.push_back(std::move(layer));
  }

  ltxmem::Extents<4> output_extents(const ltxmem::Extents<4>& input) const {
    return extents_after(layers_.size(), input);
  }
  /// Along time, of layers that offer field(that of their outputs).
  ReceptiveField field(ReceptiveField field) const {
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
      field = std::visit([&](const auto& one) { return one.field(field); }, *layer);
    }
    return field;
  }

  /// y = all layers applied to what first(x) writes into a tensor of the given extents.
  template <class Backend, class First>
  void operator()(Backend& backend, const char* step, const ltxmem::Extents<4>& input, const First& first,
                  ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    run(backend, step, input, first, layers_.size(), y, arena);
  }

 private:
  ltxmem::Extents<4> extents_after(std::size_t count, ltxmem::Extents<4> extents) const {
    for (std::size_t i = 0; i < count; ++i) {
      extents = std::visit([&](const auto& layer) { return layer.output_extents(extents); }, layers_[i]);
    }
    return extents;
  }

  /// y = the result of the first count layers.
  template <class Backend, class First>
  void run(Backend& backend, const char* name, const ltxmem::Extents<4>& input, const First& first, std::size_t count,
           ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    if (count == 0) {
      first(y);
      return;
    }
    std::visit(
        [&](const auto& layer) {
          const auto scope = arena.scope();
          const auto x = layer.in_place() ? y : arena.take<T>("layer input", extents_after(count - 1, input));
          run(backend, name, input, first, count - 1, x, arena);
          const ltxmem::Step step(backend, name, static_cast<std::int64_t>(count - 1));
          layer(backend, x, y, arena);
        },
        layers_[count - 1]);
  }

  std::vector<std::variant<Layers...>> layers_;
};

}  // namespace ltx2
