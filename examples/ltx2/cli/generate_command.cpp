// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/generate_command.hpp"

#include <cstdio>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/budgets.hpp"
#include "cli/condition_images.hpp"
#include "cli/device_profiles.hpp"
#include "cli/failure.hpp"
#include "cli/report_file.hpp"
#include "cli/run_progress.hpp"
#include "media/video_writer.hpp"
#include "pipeline/pipeline.hpp"
#include "pipeline/state_file.hpp"
#include "plan/fit.hpp"
#include "plan/plan_job.hpp"
#include "plan/search.hpp"
#include "runtime/rank_cards.hpp"

namespace ltx2 {
namespace {

std::vector<PlacedImage> place_images(const GenerateRequest& request,
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
  const ltxmem::Tensor<std::byte, 1> noted = note_writer(runtime, request, sound);
  VideoWriter writer(path, request.width, request.height, request.fps, stop);
  const auto waveform = sound.waveform.view();
  Audio audio{sound.sample_rate, waveform.extent(1), {}};
  audio.samples.reserve(static_cast<std::size_t>(waveform.size()));
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

/// The primary opens the file of finished steps, the other processes learn how far they have come.
SavedSteps steps_to_resume(StateFile& state, const Processes* processes) {
  if (processes != nullptr && !processes->is_primary()) return steps_of_shapes(processes->from_primary({}));
  const SavedSteps& steps = state.open();
  if (processes != nullptr) static_cast<void>(processes->from_primary(shapes_text(steps)));
  return steps;
}

/// What was refused, in which stage, and what was planned for it.
Failure refusal(const Report& run, const Report& plan, const std::string& what) {
  if (run.stages.empty()) return {ExitCode::failed_running, what};
  std::string text = run.stages.back().name + ": " + what;
  const StageReport& planned = plan.stages.at(run.stages.size() - 1);
  for (const ltxmem::MemoryPeak& peak : planned.at_peak) {
    if (peak.buffers.empty()) continue;
    text += "; planned peak of " + std::string(memory_space_name(peak.space)) + " memory " +
            std::to_string(peak.bytes) + " bytes in " + peak.step + ", most of it " + peak.buffers.front().name;
  }
  return {ExitCode::failed_running, text};
}

/// Runs fn, and an error of memory that was there when the run began says what it was for.
template <class Fn>
ExitCode naming_stage(const Report& run, const Report& plan, Fn&& fn) {
  try {
    return fn();
  } catch (const ltxmem::OutOfMemory& error) {
    throw refusal(run, plan, error.what());
  } catch (const std::bad_alloc&) {
    throw refusal(run, plan, "out of memory: the heap refused something small that no plan counts");
  }
}

}  // namespace

void GenerateCommand::add_to(CLI::App& app) {
  options_.add_to(app);
  app.add_option("--device-profile", device_profile_,
                 "Profile of this machine, as ltx2 calibrate writes it: the report then has predicted beside measured "
                 "seconds, and auto compares plans by it")
      ->group("Execution");
  app.add_flag("--resume", resumes_,
               "Go on from the finished steps of a run that did not come to its end: they are kept in OUTPUT.state "
               "until the clip is there. The clip must be the same; devices, ranks, memory schemes and the like may "
               "differ")
      ->group("Execution");
}

ExitCode GenerateCommand::run(const std::stop_token& stop, Processes* processes) const {
  // Everything that can be known to be wrong is found before the work starts.
  validate(options_.stated());
  Settings settings = options_.execution.settings_to_run(processes);
  const bool is_primary = processes == nullptr || processes->is_primary();
  if (is_primary) check_output(options_.output_path);
  const ReportFile report_file(is_primary ? options_.execution.report : std::string());
  // The built-in ones are good enough to tell what is faster.
  const bool on_cpu = settings.device.kind == ltxmem::DeviceKind::cpu;
  ltxmem::DeviceProfile profile = read_device_profile(!device_profile_.empty() ? device_profile_
                                                      : on_cpu                 ? "cpu"
                                                                               : "rtx4090");
  ltxmem::expects(is_cpu(profile) == on_cpu, "--device-profile ", device_profile_, ": a profile of ", profile.name,
                  on_cpu ? ", expected one of this machine, which ltx2 calibrate writes" : ", expected one of a card");
  if (!settings.stores.empty()) place_in_one_machine(profile);
  expect_plannable(options_.stated());
  ltxmem::HostResource copies;
  Models models(options_.stated(), copies);
  if (processes != nullptr) processes->expect_alike(models.fingerprints());
  const std::vector<ltxmem::MemoryBudget> budgets = budgets_of_run(options_.execution, free_card_bytes(settings));
  free_stores(settings, budgets);
  const GenerateRequest request = options_.request(models.model().config().version);
  const std::size_t image_bytes = condition_image_bytes(request);
  StateFile state(options_.output_path, [&] { return clip_facts(request, models, settings.dtype); });
  std::optional<SavedSteps> resume;
  if (resumes_) resume = steps_to_resume(state, processes);
  const SavedSteps* const resumed = resume ? &*resume : nullptr;
  // Processes that are ranks need equal settings, and what is available changes from moment to moment.
  const std::size_t host_bytes =
      processes == nullptr || !options_.execution.host_budget.empty() ? host_bytes_of(budgets) : host_bytes_of({});
  const JobPlan plan =
      plan_within(settings, options_.execution.automatic_for(models.model().config().transformer->layers), budgets,
                  [&](const Settings& candidate) {
                    return plan_job(request, models, candidate, {&profile, stop}, image_bytes, host_bytes, resumed);
                  });

  if (processes != nullptr) processes->expect_alike(plan.report.settings);
  Runtime runtime(plan.report.settings, stop, limits_of(budgets));
  Report& report = runtime.report();
  report.command = "generate";
  if (!device_profile_.empty()) report.device_profile = profile.name;
  report.budgets = budgets;
  report.mapped_bytes = models.mapped_bytes();

  RunProgress progress(runtime, options_.execution);
  const auto warn = [&](const std::string& message) { progress.warn(message); };
  for (const std::string& message : clip_warnings(request)) warn(message);
  for (const std::string& message : store_warnings(plan.report)) warn(message);
  const std::vector<PlacedImage> images = place_images(request, warn);
  PipelineHooks hooks{.stop = stop, .resume = resumed};
  if (is_primary) {
    if (!resumes_ && state.exists()) {
      warn(state.path() + ": finished steps of an earlier run, which this one replaces; --resume goes on from them");
    }
    hooks.on_step = [&, keeps = true](const SavedSteps& steps) mutable {
      if (!keeps) return;
      try {
        state.write(steps);
      } catch (const ltxmem::IoError& error) {
        warn(std::string(error.what()) + ": finished steps are not kept any more");
        keeps = false;
      }
    };
  }

  const auto run = [&] {
    const ltxmem::Tensor<std::byte, 1> copied = note_copies(runtime, models);
    const ltxmem::Tensor<std::byte, 1> pixels = note_images(runtime, image_bytes);
    const Sample sample = run_pipeline(request, models, images, runtime, hooks);
    if (processes != nullptr) processes->collect(report);
    if (!is_primary) {
      wait_for_primary(*processes);
      return ExitCode::done;
    }
    write_video(options_.output_path, request, models, sample.result, runtime, stop, warn);
    state.remove();
    adopt_plan(report, plan.report);
    const bool as_planned = is_as_planned(report, warn);
    report_file.write(std::span(&report, 1));
    if (options_.execution.verbose >= 2) {
      print_stages(report);
      if (device_profile_.empty()) {
        std::fprintf(stderr, "no seconds predicted: --device-profile names no profile of this machine\n");
      }
    }
    if (processes != nullptr) wait_for_primary(*processes);
    std::printf("%s\n", options_.output_path.c_str());
    return as_planned ? ExitCode::done : ExitCode::check_failed;
  };
  try {
    return as_running([&] { return naming_stage(report, plan.report, run); });
  } catch (...) {
    if (state.is_ours()) warn(state.path() + " keeps the finished steps: --resume goes on from them");
    throw;
  }
}

}  // namespace ltx2
