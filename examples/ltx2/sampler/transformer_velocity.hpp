// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "ltxmem/core/tensor_view.hpp"
#include "model/rotary.hpp"
#include "sampler/denoise.hpp"
#include "transformer/inputs.hpp"
#include "transformer/transformer_model.hpp"

namespace ltx2 {

/// What both streams read of one prompt, [length, width] each.
struct ContextViews {
  ltxmem::TensorView<const float, 2> video;
  ltxmem::TensorView<const float, 2> audio;
};

/// The diffusion transformer as the sampling loop calls it. Positions are those of the states it is made for; model and
/// contexts are borrowed. The negative contexts are only needed for unconditional passes.
class TransformerVelocity {
 public:
  TransformerVelocity(TransformerModel& model, std::int64_t layers, const LatentState& video, const LatentState& audio,
                      const ContextViews& positive, const ContextViews& negative = {});

  void operator()(const VelocityRequest& request, ltxmem::TensorView<float, 2> video,
                  ltxmem::TensorView<float, 2> audio);

  /// Host memory that positions take, and indices of timesteps while a pass runs.
  std::size_t host_bytes() const noexcept;

  /// The conditional and the perturbed pass of every step share so many first blocks.
  void share_prefix(std::int64_t blocks) noexcept { shared_blocks_ = blocks; }

  /// At the first evaluation the runtime's watcher is told how many named steps so many passes take.
  void announce_to(Runtime& runtime, const PassCounts& passes) {
    announce_to_ = &runtime;
    passes_ = passes;
  }

 private:
  void announce(TransformerInput input, const TransformerOutput& output) const;

  TransformerModel* model_;
  std::int64_t layers_;
  TokenPositions video_positions_;
  TokenPositions audio_positions_;
  ContextViews positive_;
  ContextViews negative_;
  Runtime* announce_to_ = nullptr;
  PassCounts passes_{};
  std::int64_t shared_blocks_ = 0;
};

}  // namespace ltx2
