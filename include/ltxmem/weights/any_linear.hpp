// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "ltxmem/weights/linear.hpp"

namespace ltxmem {

/// Any LinearLayer behind one type, for choices made at run time: which layers of a file are quantized, which carry an
/// adapter. Itself a LinearLayer, with value semantics: copies share one immutable layer.
///
/// Memory    one small heap object per construction and per slice; apply adds nothing to the layer's own workspace
/// Cost      one virtual call per apply
template <Element T, HasLinear<T> Backend>
class AnyLinear {
 public:
  template <class Layer>
  requires(!std::same_as<std::remove_cvref_t<Layer>, AnyLinear> && LinearLayer<std::remove_cvref_t<Layer>, T, Backend>)
      AnyLinear(Layer&& layer)  // NOLINT(google-explicit-constructor): every layer is one
      : layer_(std::make_shared<const Model<std::remove_cvref_t<Layer>>>(std::forward<Layer>(layer))) {}

  std::int64_t inputs() const noexcept { return layer_->inputs(); }
  std::int64_t outputs() const noexcept { return layer_->outputs(); }

  template <std::same_as<T> = T, class Out>
  void apply(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
             Arena& arena) const {
    if constexpr (std::same_as<Out, T>) {
      layer_->apply(backend, x, epilogue, y, arena);
    } else {
      layer_->apply_wide(backend, x, epilogue, y, arena);
    }
  }

  AnyLinear slice_outputs(std::int64_t begin, std::int64_t count) const { return layer_->slice_outputs(begin, count); }
  AnyLinear slice_inputs(std::int64_t begin, std::int64_t count) const { return layer_->slice_inputs(begin, count); }

  template <std::same_as<T> = T>
  std::size_t workspace_bytes(const Backend& backend, std::int64_t tokens) const {
    return layer_->workspace_bytes(backend, tokens);
  }

 private:
  struct Interface {
    Interface() = default;
    Interface(const Interface&) = delete;
    Interface& operator=(const Interface&) = delete;
    virtual ~Interface() = default;
    virtual std::int64_t inputs() const noexcept = 0;
    virtual std::int64_t outputs() const noexcept = 0;
    virtual void apply(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<T>& epilogue,
                       TensorView<T, 2> y, Arena& arena) const = 0;
    virtual void apply_wide(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<float>& epilogue,
                            TensorView<float, 2> y, Arena& arena) const = 0;
    virtual AnyLinear slice_outputs(std::int64_t begin, std::int64_t count) const = 0;
    virtual AnyLinear slice_inputs(std::int64_t begin, std::int64_t count) const = 0;
    virtual std::size_t workspace_bytes(const Backend& backend, std::int64_t tokens) const = 0;
  };

  template <class Layer>
  struct Model final : Interface {
    explicit Model(Layer held) : layer(std::move(held)) {}
    std::int64_t inputs() const noexcept override { return layer.inputs(); }
    std::int64_t outputs() const noexcept override { return layer.outputs(); }
    void apply(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<T>& epilogue, TensorView<T, 2> y,
               Arena& arena) const override {
      layer.apply(backend, x, epilogue, y, arena);
    }
    void apply_wide(Backend& backend, TensorView<const T, 2> x, const LinearEpilogue<float>& epilogue,
                    TensorView<float, 2> y, Arena& arena) const override {
      layer.apply(backend, x, epilogue, y, arena);
    }
    AnyLinear slice_outputs(std::int64_t begin, std::int64_t count) const override {
      return layer.slice_outputs(begin, count);
    }
    AnyLinear slice_inputs(std::int64_t begin, std::int64_t count) const override {
      return layer.slice_inputs(begin, count);
    }
    std::size_t workspace_bytes(const Backend& backend, std::int64_t tokens) const override {
      return layer.template workspace_bytes<T>(backend, tokens);
    }

    Layer layer;
  };

  std::shared_ptr<const Interface> layer_;
};

static_assert(LinearLayer<AnyLinear<float, detail::LinearArchetype>, float, detail::LinearArchetype>);
static_assert(LinearLayer<AnyLinear<bfloat16, detail::LinearArchetype>, bfloat16, detail::LinearArchetype>);

}  // namespace ltxmem
