// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "ltxmem/core/tensor.hpp"
#include "pipeline/models.hpp"
#include "pipeline/pipeline.hpp"
#include "pipeline/request.hpp"
#include "plan/job_plan.hpp"
#include "runtime/runtime.hpp"

namespace ltx2 {

/// Counts the copies of misaligned tensors, which the models hold, as memory of a run or plan while the tensor lives.
ltxmem::Tensor<std::byte, 1> note_copies(Runtime& runtime, const Models& models);

/// Likewise the pixels of the condition images as their files have them.
ltxmem::Tensor<std::byte, 1> note_images(Runtime& runtime, std::size_t bytes);

/// Likewise at most what writing the clip holds: four frames of 8-bit pixels (the frame, in the order of the file, and
/// its encoded bytes, in a buffer that doubles as it grows) and the sound twice.
ltxmem::Tensor<std::byte, 1> note_writer(Runtime& runtime, const GenerateRequest& request, const Sound& sound);

/// Plans everything that `generate` does, from the text to pictures and sound, by running the same code dry: no weight
/// is read, nothing that grows with the clip but a few values per token (positions, masks) is stored or computed.
///
/// The request has its guidance and steps in it, as run_pipeline wants it.
///
/// image_bytes  see note_images
/// host_bytes   what the host has; where the job leaves less of them than streamed weights need, the page cache keeps
///              only so much of them, unless the settings say how much
/// resume       steps that the run leaves out, if any: their shapes are looked at
/// Throws       what the run would throw for requests and models that do not fit each other; Cancelled
JobPlan plan_job(const GenerateRequest& request, Models& models, const Settings& settings,
                 const Runtime::DryRun& dry_run, std::size_t image_bytes = 0,
                 std::size_t host_bytes = WeightPlacement::all_cached, const SavedSteps* resume = nullptr);

}  // namespace ltx2
