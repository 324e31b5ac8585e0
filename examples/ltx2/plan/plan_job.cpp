// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/plan_job.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "pipeline/pipeline.hpp"

namespace ltx2 {

ltxmem::Tensor<std::byte, 1> note_copies(Runtime& runtime, const Models& models) {
  return {runtime.noted_memory(ltxmem::MemorySpace::host, misaligned_copies),
          {static_cast<std::int64_t>(models.copied_bytes())}};
}

ltxmem::Tensor<std::byte, 1> note_images(Runtime& runtime, std::size_t bytes) {
  return {runtime.noted_memory(ltxmem::MemorySpace::host, "condition images"), {static_cast<std::int64_t>(bytes)}};
}

ltxmem::Tensor<std::byte, 1> note_writer(Runtime& runtime, const GenerateRequest& request, const Sound& sound) {
  const std::int64_t frame = request.width * request.height * 3;
  return {runtime.noted_memory(ltxmem::MemorySpace::host, "frames and sound being written"),
          {4 * frame + 2 * static_cast<std::int64_t>(sound.waveform.bytes())}};
}

namespace {

JobPlan plan_once(const GenerateRequest& request, Models& models, const Settings& settings,
                  const Runtime::DryRun& dry_run, std::size_t image_bytes, const SavedSteps* resume) {
  Runtime runtime(settings, dry_run);
  runtime.report().mapped_bytes = models.mapped_bytes();
  if (dry_run.profile != nullptr) runtime.report().device_profile = dry_run.profile->name;
  const ltxmem::Tensor<std::byte, 1> copies = note_copies(runtime, models);
  const ltxmem::Tensor<std::byte, 1> pixels = note_images(runtime, image_bytes);
  std::vector<PlacedImage> images;  // their pixels are not looked at
  for (const ImageRequest& image : request.images) images.push_back({Image(), image.frame, image.strength});
  {
    const Sample sample = run_pipeline(request, models, images, runtime, {.resume = resume});
    const Sound sound = decode_sound(models, sample.result, runtime);
    const ltxmem::Tensor<std::byte, 1> written = note_writer(runtime, request, sound);
    decode_frames(models, sample.result, runtime, {});
  }
  return {std::move(runtime.report())};
}

/// The most of the host's memory that a stage takes.
std::size_t host_peak(const Report& plan) {
  const std::vector<ltxmem::MemorySpace> spaces = host_spaces(plan.settings.device.kind);
  std::size_t most = 0;
  for (const StageReport& stage : plan.stages) most = std::max(most, stage.planned_bytes(spaces));
  return most;
}

std::size_t weight_bytes(const Checkpoint& checkpoint) {
  std::size_t sum = 0;
  for (const StoredTensor& tensor : checkpoint.tensors().tensors()) sum += tensor.bytes;
  return sum;
}

}  // namespace

JobPlan plan_job(const GenerateRequest& request, Models& models, const Settings& settings,
                 const Runtime::DryRun& dry_run, std::size_t image_bytes, std::size_t host_bytes,
                 const SavedSteps* resume) {
  JobPlan plan = plan_once(request, models, settings, dry_run, image_bytes, resume);
  if (!settings.weights.stream || settings.weights.page_cache_bytes != WeightPlacement::all_cached) return plan;
  const std::size_t left = host_bytes - std::min(host_bytes, host_peak(plan.report));
  if (left >= weight_bytes(models.model())) return plan;
  Settings with_less = settings;
  with_less.weights.page_cache_bytes = left;
  return plan_once(request, models, with_less, dry_run, image_bytes, resume);
}

}  // namespace ltx2
