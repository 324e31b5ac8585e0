// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "checkpoint/checkpoint.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "runtime/runtime.hpp"

/// Sound: log-mel spectrogram to latent and back, and log-mel spectrogram to waveform. Always computed in fp32,
/// whatever the settings say: these models are small, and bf16 is audible.

namespace ltx2 {

/// Mel frames that a latent of so many frames decodes to, and latent frames that a spectrogram encodes to.
std::int64_t mel_frames(const AudioVaeConfig& config, std::int64_t latent_frames);
std::int64_t latent_frames(const AudioVaeConfig& config, std::int64_t mel_frames);

/// Samples per channel, at config.out_rate, that the vocoder makes of so many mel frames.
std::int64_t vocoder_samples(const VocoderConfig& config, std::int64_t mel_frames);

/// Log-mel spectrogram to latent.
///
/// Shapes    mel [frames, bins, 2], latent [latent_frames, bins / 4, z], normalised
/// Throws    ShapeError, IoError, OutOfMemory, Cancelled
void encode_audio(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> mel,
                  ltxmem::TensorView<float, 3> latent);
Runtime::Plan plan_encode_audio(const Runtime& runtime, const Checkpoint& checkpoint, std::int64_t mel_frames);

/// Latent to log-mel spectrogram.
///
/// Shapes    latent [Ta, bins / 4, z], normalised; mel [4 Ta - 3, bins, 2]
/// Throws    ShapeError, IoError, OutOfMemory, Cancelled
void decode_audio(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> latent,
                  ltxmem::TensorView<float, 3> mel);
Runtime::Plan plan_decode_audio(const Runtime& runtime, const Checkpoint& checkpoint, std::int64_t latent_frames);

/// Log-mel spectrogram to waveform.
///
/// Shapes    mel [frames, 64, 2], waveform [vocoder_samples, 2] in [-1, 1]
/// Throws    ShapeError, IoError, OutOfMemory, Cancelled
void vocode(Runtime& runtime, const Checkpoint& checkpoint, ltxmem::TensorView<const float, 3> mel,
            ltxmem::TensorView<float, 2> waveform);
Runtime::Plan plan_vocode(const Runtime& runtime, const Checkpoint& checkpoint, std::int64_t mel_frames);

}  // namespace ltx2
