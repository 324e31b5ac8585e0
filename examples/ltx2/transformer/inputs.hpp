// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ltxmem/core/tensor_view.hpp"
#include "model/rotary.hpp"

/// What a forward pass of the transformer is given and what it returns: one sample, everything in host memory.

namespace ltx2 {

struct StreamInput {
  ltxmem::TensorView<const float, 2> latent;  ///< [N, channels]

  std::vector<float> timesteps;                              ///< the distinct values of sigma * mask, in [0, 1]
  ltxmem::TensorView<const std::int32_t, 1> timestep_index;  ///< [N]: which of them a token has; empty: the first
  float sigma = 0.0F;                                        ///< noise level of the whole modality

  const TokenPositions* positions = nullptr;  ///< midpoints: seconds, and for video pixels down and across

  ltxmem::TensorView<const float, 2> context;  ///< [S, width of the text features]
  ltxmem::TensorView<const float, 2>
      attention_mask;  ///< [N, N] in [0, 1]: how much a token sees of another; may be empty

  bool enabled = true;  ///< otherwise its tokens pass the blocks unchanged, and the other modality still sees them

  std::int64_t tokens() const noexcept { return latent.extent(0); }
};

/// What one block leaves out (perturbations of guidance).
struct BlockSkips {
  bool video_self = false;  ///< self attention passes each token's own value on
  bool audio_self = false;
  bool audio_to_video = false;  ///< no update of the video from the audio
  bool video_to_audio = false;

  friend bool operator==(const BlockSkips&, const BlockSkips&) = default;
};

/// The first blocks that see equal inputs in several passes: computed once where there is room for what they leave.
struct SharedPrefix {
  enum class Role : std::uint8_t {
    keep,    ///< has no use for it; what was saved stays
    save,    ///< keeps what its blocks leave
    resume,  ///< goes on from there
  };
  std::int64_t blocks = 0;  ///< 0: nothing is shared
  Role role = Role::keep;
};

struct TransformerInput {
  std::optional<StreamInput> video;
  std::optional<StreamInput> audio;
  std::vector<BlockSkips> skips;  ///< one per block, or empty
  SharedPrefix prefix;            ///< of a run's passes all with the same number of blocks
};

/// Velocities (noise - clean), [N, channels] like the latents. An empty view: not wanted.
struct TransformerOutput {
  ltxmem::TensorView<float, 2> video;
  ltxmem::TensorView<float, 2> audio;
};

}  // namespace ltx2
