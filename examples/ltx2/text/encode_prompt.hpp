// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "runtime/runtime.hpp"

/// From a prompt to what the diffusion transformer reads: Gemma, feature extractor, two connectors.
/// Source  docs/ltx2/text.md

namespace ltx2 {

/// Tokens that a prompt is cut to, and rows of the contexts.
inline constexpr std::int64_t default_context_length = 1024;

/// Both contexts of one prompt, [length, connector width] each.
struct TextContexts {
  ltxmem::TensorView<float, 2> video;
  ltxmem::TensorView<float, 2> audio;
};

/// Encodes the tokens of a prompt; the contexts' length is the longest prompt in tokens and a multiple of the
/// connectors' registers.
///
/// Memory  the largest of: one Gemma layer's scratch with the features so far, the feature panels, one connector. The
///         hidden states of all layers never exist together
/// Throws  IoError for models without the parts that this needs, ShapeError, Cancelled
void encode_prompt(Runtime& runtime, const std::vector<std::int32_t>& ids, const Checkpoint& gemma,
                   const Checkpoint& model, TextContexts contexts);

/// What encoding a prompt of this many tokens takes, without doing it; both models may be descriptions.
Runtime::Plan plan_encode_prompt(Runtime& runtime, const Checkpoint& gemma, const Checkpoint& model,
                                 std::int64_t tokens, std::int64_t length);

/// The parts of encode_prompt by themselves, for checks. All hidden states, [layers + 1, tokens, width]:
void run_gemma(Runtime& runtime, const Checkpoint& gemma, const std::vector<std::int32_t>& ids,
               ltxmem::TensorView<float, 3> hidden);
/// and features and contexts from hidden states, the features [tokens, connector width].
void connect_text(Runtime& runtime, const Checkpoint& model, ltxmem::TensorView<const float, 3> hidden,
                  ltxmem::TensorView<float, 2> video_features, ltxmem::TensorView<float, 2> audio_features,
                  TextContexts contexts);

}  // namespace ltx2
