// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "ltxmem/core/weight_view.hpp"

/// The weights of one linear layer or convolution as a checkpoint and its LoRAs give them: borrowed, in place.

namespace ltx2 {

/// A low-rank addition to a layer: y += strength * (x aᵀ) bᵀ with a [rank, inputs], b [outputs, rank].
struct LoraTerm {
  ltxmem::WeightMatrix a;
  ltxmem::WeightMatrix b;
  float strength = 1.0F;
};

/// y = x weightᵀ + bias + the LoRA terms. A convolution's weight is [out, in * kernel volume] as it lies in the file
/// (in, then kernel axes, the last one fastest); convolutions carry no LoRA.
struct LinearWeights {
  ltxmem::WeightMatrix weight;
  ltxmem::WeightVector bias;  ///< empty when the layer has none
  std::vector<LoraTerm> loras;
};

}  // namespace ltx2
