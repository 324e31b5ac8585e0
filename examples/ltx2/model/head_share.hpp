// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include "checkpoint/tensor_part.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/parallel/communicator.hpp"
#include "ltxmem/parallel/partition.hpp"

namespace ltx2 {

/// Consecutive heads of every attention, possibly none, and as large a part of the hidden channels of every
/// feed-forward network.
struct HeadPart {
  std::int64_t all;  ///< heads of the whole layer
  ltxmem::Segment own;

  HeadPart(const ltxmem::Partition& heads, int rank) : all(heads.total()), own(heads.segment(rank)) {}

  /// The part of so many channels, a multiple of all heads.
  ltxmem::Segment of(std::int64_t channels) const {
    ltxmem::expects(channels % all == 0, "head share: ", channels, " channels of ", all, " heads");
    const std::int64_t width = channels / all;
    return {own.begin * width, own.count * width};
  }

  /// What Attention and FeedForward want of a tensor, known by the end of its name; of others everything.
  TensorPart of_tensor(const StoredTensor& tensor) const {
    constexpr std::array<std::string_view, 7> by_outputs{".to_q.",       ".to_k.",   ".to_v.",  ".to_gate_logits.",
                                                         ".net.0.proj.", ".q_norm.", ".k_norm."};
    constexpr std::array<std::string_view, 2> by_inputs{".to_out.0.", ".net.2."};
    const auto is_of = [&](std::string_view module, std::string_view parameter) {
      const std::string_view name = tensor.name;
      return name.ends_with(parameter) && name.substr(0, name.size() - parameter.size()).ends_with(module);
    };
    const auto is_of_any = [&](const auto& modules, std::string_view parameter) {
      return std::any_of(modules.begin(), modules.end(), [&](auto module) { return is_of(module, parameter); });
    };
    using Of = TensorPart::Of;
    if (is_of_any(by_outputs, "weight") || is_of_any(by_outputs, "bias") || is_of_any(by_outputs, "lora_B.weight")) {
      return {Of::rows, of(tensor.shape.at(0))};
    }
    if (is_of_any(by_inputs, "weight") || is_of_any(by_inputs, "lora_A.weight")) {
      return {Of::columns, of(tensor.shape.at(1))};
    }
    if (is_of_any(by_inputs, "bias") && own.end() < all) return {Of::rows, {}};  // it goes with the last input
    return {};
  }
};

/// The part of a rank, beside the ranks that have the others. Borrows them.
template <class Ranks>
struct HeadShare : HeadPart {
  Ranks* ranks;

  HeadShare(Ranks& sharing, const ltxmem::Partition& heads) : HeadPart(heads, sharing.rank()), ranks(&sharing) {}
};

/// The share of a rank that has nobody to share with.
inline HeadShare<ltxmem::SingleRank> whole_heads(ltxmem::SingleRank& alone, std::int64_t heads) {
  return {alone, ltxmem::Partition::even(heads, 1)};
}

}  // namespace ltx2
