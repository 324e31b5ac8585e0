// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <stop_token>
#include <vector>

#include "sampler/conditioning.hpp"
#include "sampler/guidance.hpp"
#include "sampler/solver.hpp"

/// The sampling loop, over a model that it knows only as a function from noisy tokens to velocities.
/// Source  docs/ltx2/sampling.md 4-6

namespace ltx2 {

/// One modality as the model sees it in one pass.
struct NoisyTokens {
  ltxmem::TensorView<const float, 2> latent;     ///< [tokens, channels]
  ltxmem::TensorView<const float, 1> timesteps;  ///< [tokens] in [0, 1]: noise level times mask
  ltxmem::TensorView<const float, 2> midpoints;  ///< [tokens, axes]
  float sigma = 0;                               ///< noise level of the modality as a whole
  bool updated = true;  ///< false: keeps its input projection through all blocks; its velocity is not wanted
  std::span<const std::int64_t> blocks_without_self_attention;
};

/// One evaluation of the model. The passes of a step share everything but context and perturbations, so a model may
/// keep what is equal from one to the next; evaluation counts the groups of passes with equal latents.
struct VelocityRequest {
  std::int64_t evaluation = 0;
  Pass pass = Pass::conditional;
  bool negative_context = false;
  bool cross_modal = true;  ///< false: both cross-modal attentions are skipped in all blocks
  NoisyTokens video;
  NoisyTokens audio;
};

/// Writes the velocities (noise - clean), each [tokens, channels]; the view of a modality that is not updated is empty.
using VelocityModel =
    std::function<void(const VelocityRequest&, ltxmem::TensorView<float, 2> video, ltxmem::TensorView<float, 2> audio)>;

enum class Solver : std::uint8_t { euler, res_2s };

/// Writes standard normal noise [tokens, channels] for one step of res_2s: purpose midpoint or step.
using DrawNoise = std::function<void(Modality, NoisePurpose, std::int64_t step, ltxmem::TensorView<float, 2>)>;

/// Draws from the streams of a seed.
DrawNoise draw_from_seed(std::uint64_t seed, std::uint8_t stage);

/// A loop between two steps. What it goes on from are both states' latents and, where guidance leaves out predictions,
/// the last ones: a step without a new prediction takes them again.
struct StepsDone {
  std::int64_t done = 0;
  std::int64_t total = 0;
  ltxmem::TensorView<const float, 2> video_estimate;  ///< empty where every step predicts anew
  ltxmem::TensorView<const float, 2> audio_estimate;
};

/// Throws ShapeError, naming it, where what was saved is not as large as what it is to fill.
inline void expect_resumable(const char* what, const ltxmem::Extents<2>& saved, const ltxmem::Extents<2>& expected) {
  ltxmem::expects(saved == expected, what, " of ", saved[0], " x ", saved[1], " to resume from, expected ", expected[0],
                  " x ", expected[1]);
}

struct DenoiseOptions {
  Solver solver = Solver::euler;
  Guidance guidance;
  DrawNoise draw_noise;                           ///< needed by res_2s
  std::function<void(const StepsDone&)> on_step;  ///< after every step; may be empty
  StepsDone resume;                               ///< steps that are not done again; 0 of 0: none
  std::stop_token stop;
};

/// Takes the noise out of both states along the given levels, in place. Noise of the first level must be in them, or
/// what the steps to resume from left.
///
/// Memory   in floats per element of the latents: 1, with guidance 3, with res_2s 4 more; 1 per token
/// Numerics estimates, guidance and Euler in fp32; res_2s in double; deterministic
/// Throws   Cancelled when the stop token fires, before the next evaluation; ShapeError for levels that do not
///          decrease, or steps to resume from that are not of this run
void denoise(LatentState& video, LatentState& audio, std::span<const float> sigmas, const DenoiseOptions& options,
             const VelocityModel& model, const HostWork& host);

/// How often denoise() evaluates the model after the first so many steps, by kind of pass: for progress and cost
/// estimates.
using PassCounts = std::array<std::int64_t, 4>;  // indexed by Pass
PassCounts count_passes(std::span<const float> sigmas, Solver solver, const Guidance& guidance, std::int64_t done = 0);

}  // namespace ltx2
