// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "runtime/runtime.hpp"

namespace ltx2 {

/// Video to latent.
///
/// Shapes    video [1 + 8 k, H, W, 3] in [-1, 1], H and W multiples of 32; latent [1 + k, H / 32, W / 32, C],
/// normalised Memory    see VideoEncoder Throws    ShapeError, IoError, OutOfMemory, Cancelled
void encode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> video,
                  ltxmem::TensorView<float, 4> latent);

/// Latent to video.
///
/// Shapes    latent [F, h, w, C], normalised; frames [8 (F - 1) + 1, 32 h, 32 w, 3] in [0, 1]
/// Memory    see VideoDecoder
/// Throws    ShapeError, IoError, OutOfMemory, Cancelled
void decode_video(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 4> latent,
                  ltxmem::TensorView<float, 4> frames);

}  // namespace ltx2
