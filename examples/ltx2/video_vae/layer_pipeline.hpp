// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "video_vae/layers.hpp"

namespace ltx2 {

/// Layers of several kinds one after another, through which a clip passes in turns.
///
/// A layer offers open(arena for carried frames, output tile, turns of its output) -> Stream, and
/// (backend, stream, x, what is new in x, memory of y, y, arena) -> what it gave. Its Stream has input() (the frames it
/// sees), in_place() (x lies in the memory of y) and working_elements() (of that memory that it uses as scratch).
///
/// Memory    a layer's result is taken before its input, and the input inside a scope: in a stack-like arena every
///           tensor is then freed after its last use, and the results that wait meanwhile are those of later layers
template <ltxmem::Element T, class... Layers>
class LayerPipeline {
 public:
  template <class Layer>
  void push(Layer layer) {
    layers_.push_back(std::move(layer));
  }

  /// A clip's way through all layers.
  struct Stream {
    std::vector<std::variant<typename Layers::Stream...>> layers;

    std::int64_t working_elements() const { return working_elements_of(layers.size()); }
    std::int64_t working_elements_of(std::size_t count) const {
      if (count == 0) return 0;
      return std::visit(
          [&](const auto& stream) {
            const std::int64_t before = stream.in_place() ? working_elements_of(count - 1) : 0;
            return std::max(stream.working_elements(), before);
          },
          layers[count - 1]);
    }
    const FrameStream<T>& input() const {
      return std::visit([](const auto& stream) -> const FrameStream<T>& { return stream.input(); }, layers.front());
    }
  };
  Stream open(ltxmem::Arena& carried, Tile output, TurnShape turns) const {
    Stream stream;
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
      std::visit([&](const auto& one) { stream.layers.push_back(one.open(carried, output, turns)); }, *layer);
      std::visit([&](const auto& one) { output = one.input().tile(), turns = one.input().turns(); },
                 stream.layers.back());
    }
    std::reverse(stream.layers.begin(), stream.layers.end());
    return stream;
  }

  /// One turn of all layers on what first(x) writes into a tensor; y lies in memory of at least working_elements().
  template <class Backend, class First>
  Turn operator()(Backend& backend, const char* step, Stream& stream, const First& first,
                  ltxmem::TensorView<T, 1> memory, ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    return run(backend, step, stream, first, layers_.size(), memory, y, arena);
  }

 private:
  /// One turn of the first count layers.
  template <class Backend, class First>
  Turn run(Backend& backend, const char* name, Stream& all, const First& first, std::size_t count,
           ltxmem::TensorView<T, 1> memory, ltxmem::TensorView<T, 4> y, ltxmem::Arena& arena) const {
    if (count == 0) return first(y);
    return std::visit(
        [&](const auto& layer) {
          auto& stream = std::get<typename std::decay_t<decltype(layer)>::Stream>(all.layers[count - 1]);
          const ltxmem::Extents<4> window = stream.input().window_extents();
          const auto scope = arena.scope();
          const std::int64_t elements = std::max(ltxmem::element_count(window), all.working_elements_of(count - 1));
          const auto x_memory = stream.in_place() ? memory : arena.take<T>("layer input", ltxmem::Extents<1>{elements});
          const auto x = dense_in(x_memory, window);
          const Turn in = run(backend, name, all, first, count - 1, x_memory, stream.input().fresh(x), arena);
          if (in.frames == 0 && !in.last) return Turn{};  // the clip has not come this far yet
          const ltxmem::Step step(backend, name, static_cast<std::int64_t>(count - 1));
          return layer(backend, stream, x, in, memory, y, arena);
        },
        layers_[count - 1]);
  }

  std::vector<std::variant<Layers...>> layers_;
};

/// A clip's way through one direction of an autoencoder: a convolution, the layers, a convolution.
template <ltxmem::Element T, class Backend, class Layers>
struct ClipStream {
  typename VideoConvolution<T, Backend>::Stream output;
  typename Layers::Stream blocks;
  typename VideoConvolution<T, Backend>::Stream input;

  /// Memory that the last layer and the output convolution work in, by turns.
  ltxmem::TensorView<T, 1> take_activations(const char* name, ltxmem::Arena& arena) const {
    const std::int64_t window = ltxmem::element_count(output.input.window_extents());
    return arena.take<T>(name, ltxmem::Extents<1>{std::max(window, blocks.working_elements())});
  }
};

}  // namespace ltx2
