// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/generate_command.hpp"

#include <cstdio>
#include <vector>

#include "cli/budgets.hpp"
#include "cli/failure.hpp"
#include "cli/report_file.hpp"
#include "cli/run_progress.hpp"
#include "media/video_writer.hpp"
#include "pipeline/pipeline.hpp"
#include "plan/fit.hpp"
#include "plan/plan_job.hpp"
#include "plan/search.hpp"

namespace ltx2 {
namespace {

std::vector<PlacedImage> load_images(const GenerateRequest& request,
                                     const std::function<void(const std::string&)>& warn) {
  std::vector<PlacedImage> images;
  for (const ImageRequest& image : request.images) {
    images.push_back({recompress(load_image(image.path.string()), image.crf, warn), image.frame, image.strength});
  }
  return images;
}

/// Decodes the clip into the output file, frame by frame.
void write_video(const std::string& path, const GenerateRequest& request, const Models& models, const Latents& latents,
                 Runtime& runtime, const std::stop_token& stop, const std::function<void(const std::string&)>& warn) {
  const Sound sound = decode_sound(models, latents, runtime);
  VideoWriter writer(path, request.width, request.height, request.fps, stop);
  const auto waveform = sound.waveform.view();
  Audio audio{sound.sample_rate, waveform.extent(1), {}};
  for (std::int64_t channel = 0; channel < waveform.extent(1); ++channel) {
    for (std::int64_t i = 0; i < waveform.extent(0); ++i) audio.samples.push_back(waveform(i, channel));
  }
  writer.set_audio(std::move(audio));
  decode_frames(models, latents, runtime, [&](ltxmem::TensorView<const float, 4> frames) {
    writer.write(std::span(frames.data(), static_cast<std::size_t>(frames.size())));
  });
  writer.finish();
  if (writer.nan_count() > 0) {
    warn(std::to_string(writer.nan_count()) + " values of the video are not numbers and are shown black");
  }
}

}  // namespace

ExitCode GenerateCommand::run(const std::stop_token& stop, Processes* processes) const {
  // Everything that can be known to be wrong is found before the work starts.
  validate(options_.stated());
  const Settings settings = options_.execution.settings_to_run(processes);
  const bool is_primary = processes == nullptr || processes->is_primary();
  if (is_primary) check_output(options_.output_path);
  const ReportFile report_file(is_primary ? options_.execution.report : std::string());
  const std::vector<ltxmem::MemoryBudget> budgets = budgets_on_cpu(options_.execution);
  ltxmem::HostResource copies;
  Models models(options_.stated(), copies);
  if (processes != nullptr) processes->expect_alike(models.fingerprints());
  const GenerateRequest request = options_.request(models.model().config().version);
  const ltxmem::DeviceProfile* profile = ltxmem::find_device_profile("cpu");  // to tell what is faster
  const JobPlan plan =
      plan_within(settings, options_.execution.automatic_for(models.model().config().transformer->layers), budgets,
                  [&](const Settings& candidate) { return plan_job(request, models, candidate, profile); });

  if (processes != nullptr) processes->expect_alike(plan.report.settings);
  Runtime runtime(plan.report.settings, stop, limits_of(budgets));
  Report& report = runtime.report();
  report.command = "generate";
  report.budgets = budgets;
  report.mapped_bytes = models.mapped_bytes();

  RunProgress progress(runtime, options_.execution);
  const auto warn = [&](const std::string& message) { progress.warn(message); };
  for (const std::string& message : clip_warnings(request)) warn(message);
  const std::vector<PlacedImage> images = load_images(request, warn);

  return as_running([&] {
    const ltxmem::Tensor<std::byte, 1> noted = note_copies(runtime, models);
    const Sample sample = run_pipeline(request, models, images, runtime, {.stop = stop, .initial_noise = {}});
    if (processes != nullptr) processes->collect(report);
    if (!is_primary) {
      wait_for_primary(*processes);
      return ExitCode::done;
    }
    write_video(options_.output_path, request, models, sample.result, runtime, stop, warn);
    adopt_plan(report, plan.report);
    const bool as_planned = is_as_planned(report, warn);
    report_file.write(std::span(&report, 1));
    if (options_.execution.verbose >= 2) print_stages(report);
    if (processes != nullptr) wait_for_primary(*processes);
    std::printf("%s\n", options_.output_path.c_str());
    return as_planned ? ExitCode::done : ExitCode::check_failed;
  });
}

}  // namespace ltx2
