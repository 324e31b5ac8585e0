// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "checkpoint/checkpoint.hpp"
#include "config/video_vae_config.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "runtime/runtime.hpp"

namespace ltx2 {

/// Extents [1 + k, H / 32, W / 32, C] of the latent of a video [1 + 8 k, H, W, 3].
ltxmem::Extents<4> encoded_extents(const VideoVaeConfig& config, const ltxmem::Extents<4>& video);

/// Extents [8 (F - 1) + 1, 32 h, 32 w, 3] of the frames of a latent [F, h, w, C].
ltxmem::Extents<4> decoded_extents(const VideoVaeConfig& config, const ltxmem::Extents<4>& latent);

/// Video to latent.
///
/// Shapes    video [1 + 8 k, H, W, 3] in [-1, 1], H and W multiples of 32; latent as encoded_extents says, normalised
/// Memory    see VideoEncoder; plan_encode_video says how much
/// Throws    ShapeError, IoError, OutOfMemory, Cancelled
void encode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> video,
                  ltxmem::TensorView<float, 4> latent);
Runtime::Plan plan_encode_video(const Runtime& runtime, const Checkpoint& checkpoint, const ltxmem::Extents<4>& video);

/// Takes the next frames [n, H, W, 3] of a video, which are gone when it returns.
using FrameConsumer = std::function<void(ltxmem::TensorView<const float, 4>)>;

/// Latent to video, which is handed over as it is made: settings.decode_frames latent frames' worth at a time.
///
/// Shapes    latent [F, h, w, C], normalised; frames as decoded_extents says, in [0, 1]
/// Memory    see VideoDecoder; plan_decode_video says how much; none of it grows with F
/// Throws    ShapeError, IoError, OutOfMemory, Cancelled, and what the consumer throws
void decode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> latent,
                  const FrameConsumer& consume);
/// The same into one tensor.
void decode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> latent,
                  ltxmem::TensorView<float, 4> frames);
Runtime::Plan plan_decode_video(const Runtime& runtime, const Checkpoint& checkpoint, const ltxmem::Extents<4>& latent);

}  // namespace ltx2
