// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "ltxmem/core/weight_view.hpp"
#include "ltxmem/parallel/partition.hpp"

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

  /// What makes these outputs.
  LinearWeights outputs(const ltxmem::Segment& part) const {
    LinearWeights cut = *this;
    cut.weight = weight.row_slice(part.begin, part.count);
    if (!bias.empty()) cut.bias = bias.slice(part.begin, part.count);
    for (LoraTerm& lora : cut.loras) lora.b = lora.b.row_slice(part.begin, part.count);
    return cut;
  }

  /// What these inputs add to all outputs; the bias goes with the last input.
  LinearWeights inputs(const ltxmem::Segment& part) const {
    LinearWeights cut = *this;
    cut.weight = weight.column_slice(part.begin, part.count);
    if (part.end() < weight.columns) cut.bias = {};
    for (LoraTerm& lora : cut.loras) lora.a = lora.a.column_slice(part.begin, part.count);
    return cut;
  }
};

}  // namespace ltx2
