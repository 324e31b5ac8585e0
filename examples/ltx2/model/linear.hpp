// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>
#include <vector>

#include "checkpoint/linear_weights.hpp"
#include "ltxmem/weights/any_linear.hpp"
#include "ltxmem/weights/linear.hpp"
#include "ltxmem/weights/lora_linear.hpp"
#include "ltxmem/weights/quantized_linear.hpp"

namespace ltx2 {

/// A linear layer of a model: what kind it is depends on the file and on the LoRAs.
template <ltxmem::Element T, class Backend>
using ModelLinear = ltxmem::AnyLinear<T, Backend>;

namespace detail {

template <class T, class Backend, class Base>
ModelLinear<T, Backend> with_loras(Base base, const std::vector<LoraTerm>& loras) {
  if (loras.empty()) return base;
  std::vector<ltxmem::LoraAdapter> adapters;
  for (const LoraTerm& lora : loras) adapters.push_back({lora.a, lora.b, lora.strength});
  return ltxmem::LoraLinear<Base>(std::move(base), std::move(adapters));
}

}  // namespace detail

/// The layer that runs weights as they lie in the file: quantized when they are fp8 with a factor, else dense, with the
/// LoRAs beside them.
template <ltxmem::Element T, class Backend>
ModelLinear<T, Backend> make_linear(const LinearWeights& weights) {
  if (weights.weight.dtype == ltxmem::DType::f8_e4m3 && weights.weight.scale != nullptr) {
    return detail::with_loras<T, Backend>(ltxmem::QuantizedLinear(weights.weight, weights.bias), weights.loras);
  }
  return detail::with_loras<T, Backend>(ltxmem::DenseLinear(weights.weight, weights.bias), weights.loras);
}

}  // namespace ltx2
