// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/plan_job.hpp"

#include <utility>
#include <vector>

#include "pipeline/pipeline.hpp"

namespace ltx2 {

ltxmem::Tensor<std::byte, 1> note_copies(Runtime& runtime, const Models& models) {
  return {runtime.noted_memory(ltxmem::MemorySpace::host, misaligned_copies),
          {static_cast<std::int64_t>(models.copied_bytes())}};
}

JobPlan plan_job(const GenerateRequest& request, Models& models, const Settings& settings,
                 const ltxmem::DeviceProfile* profile) {
  Runtime runtime(settings, Runtime::DryRun{profile});
  runtime.report().mapped_bytes = models.mapped_bytes();
  if (profile != nullptr) runtime.report().device_profile = profile->name;
  const ltxmem::Tensor<std::byte, 1> copies = note_copies(runtime, models);
  std::vector<PlacedImage> images;  // their pixels are not looked at
  for (const ImageRequest& image : request.images) images.push_back({Image(), image.frame, image.strength});
  {
    const Sample sample = run_pipeline(request, models, images, runtime, {});
    const Sound sound = decode_sound(models, sample.result, runtime);
    decode_frames(models, sample.result, runtime, {});
  }
  return {std::move(runtime.report())};
}

}  // namespace ltx2
