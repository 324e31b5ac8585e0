// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "runtime/runtime.hpp"

namespace ltx2 {

/// Extents of the upsampled latent: height and width times the upsampler's scale.
ltxmem::Extents<4> upsampled_extents(const Checkpoint& upsampler, const ltxmem::Extents<4>& latent);

/// Latent to latent of higher spatial resolution, with the upsampler's own file and the VAE statistics of the model.
///
/// Shapes    latent [F, h, w, C] normalised; upsampled as upsampled_extents says, normalised
/// Memory    see LatentUpsampler; plan_upsample_latent says how much
/// Throws    ShapeError, IoError, OutOfMemory, Cancelled
void upsample_latent(Runtime& runtime, const Checkpoint& model, const Checkpoint& upsampler,
                     ltxmem::TensorView<const float, 4> latent, ltxmem::TensorView<float, 4> upsampled);
Runtime::Plan plan_upsample_latent(const Runtime& runtime, const Checkpoint& model, const Checkpoint& upsampler,
                                   const ltxmem::Extents<4>& latent);

}  // namespace ltx2
