// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/plan_command.hpp"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/budgets.hpp"
#include "cli/condition_images.hpp"
#include "cli/device_profiles.hpp"
#include "cli/failure.hpp"
#include "cli/messages.hpp"
#include "cli/plan_table.hpp"
#include "cli/report_file.hpp"
#include "media/files.hpp"
#include "plan/fit.hpp"
#include "plan/job_plot.hpp"
#include "plan/known_models.hpp"
#include "plan/plan_job.hpp"
#include "plan/search.hpp"

namespace ltx2 {
namespace {

/// What connects the ranks' devices, in bytes per second and direction, of which programs reach four fifths. NVLink:
/// 900 GB/s of an H100 SXM (data sheet), both directions together; PCIe: 4.0 x16; 100gbe: its line rate.
constexpr std::array<std::pair<std::string_view, double>, 3> networks{
    {{"nvlink", 0.8 * 450e9}, {"pcie", 0.8 * 31.5e9}, {"100gbe", 0.8 * 12.5e9}}};

std::vector<std::string> network_names() {
  std::vector<std::string> names;
  for (const auto& [name, rate] : networks) names.emplace_back(name);
  return names;
}

/// A described checkpoint with the text encoder and the upsampler of its version.
ModelDescriptions described_models(const std::string& model) {
  if (model == "2.0") return known_models(ModelVersion::v2_0);
  if (model == "2.3") return known_models(ModelVersion::v2_3);
  const Description described = read_description(model);
  ltxmem::expects<ltxmem::IoError>(described.kind == ModelKind::checkpoint, "--model ", model,
                                   ": not the description of a checkpoint");
  ModelDescriptions models = known_models(described.config.version);
  models.model = described;
  return models;
}

std::string plot_title(const GenerateRequest& request, const Report& report) {
  return std::string(pipeline_name(request.pipeline)) + ", " + std::to_string(request.width) + " x " +
         std::to_string(request.height) + ", " + std::to_string(request.frames) + " frames, scheme " +
         std::string(scheme_name(report.settings.scheme)) + ", weights " + weights_text(report.settings.weights) +
         ", on " + report.device_profile;
}

}  // namespace

void PlanCommand::add_to(CLI::App& app) {
  app.description(
      "Say what generate with these options takes, without doing it: memory of every stage with the buffers at\n"
      "the peak, and predicted time. Needs no weights: --model 2.3 or 2.0 stands for the released models.\n"
      "Exit code 3 (the plan is printed all the same) when a stated budget does not hold it.\n"
      "Examples:\n"
      "  ltx2 plan --model 2.3 --width 1920 --height 1088 --num-frames 897 --device-profile rtx4090\n"
      "  ltx2 plan --num-frames 241 --scheme E3 --memory-budget 12GiB --json");
  options_.add_to(app, GenerateOptions::Purpose::plan);
  const std::string group = "Plan";
  app.add_option("--model", model_,
                 "Instead of --checkpoint-path: 2.3 (default), 2.0, or a JSON file that describes a checkpoint")
      ->excludes("--checkpoint-path")
      ->group(group);
  app.add_option(
         "--device-profile", device_profile_,
         "Whose speed and memory: rtx3060, rtx3090, rtx4070, rtx4090, rtx5090, a100, h100, a6000, cpu, or a "
         "JSON file. A device whose name begins with cpu uses weights where the file is mapped; others are cards, "
         "with the scratch that CUDA takes, where weights count as device memory")
      ->capture_default_str()
      ->group(group);
  app.add_option("--network", network_,
                 "What connects the devices of --ranks and --store, instead of the profile's network, or with --store "
                 "cuda:... of the link to the host: nvlink (360 GB/s reached in each direction), pcie (25 GB/s), "
                 "100gbe (10 GB/s)")
      ->check(CLI::IsMember(network_names()))
      ->group(group);
  app.add_flag("--json", json_, "Print the plan as JSON, in the form that --report of a run has")->group(group);
  app.add_option("--plot", plot_, "Draw memory over time by buffer into this SVG file")->group(group);
}

ExitCode PlanCommand::run(const std::stop_token& stop) const {
  ltxmem::DeviceProfile profile = read_device_profile(device_profile_);
  for (const auto& [name, rate] : networks) {
    if (network_ != name) continue;
    profile.network_bytes_per_s = rate;
    profile.name += ", " + network_;
  }
  if (!plot_.empty()) expect_writable(plot_);
  const bool is_described = options_.stated().checkpoint.empty();
  is_described ? validate_clip(options_.stated()) : validate(options_.stated());
  expect_plannable(options_.stated());
  std::optional<std::size_t> card_bytes;
  if (!is_cpu(profile)) card_bytes = static_cast<std::size_t>(profile.memory_bytes);
  const std::vector<ltxmem::MemoryBudget> budgets = stated_budgets(options_.execution, card_bytes);
  Settings settings = options_.execution.settings();
  settings.device.kind = is_cpu(profile) ? ltxmem::DeviceKind::cpu : ltxmem::DeviceKind::cuda;
  settings.weights.device_reads_files = is_cpu(profile);
  free_stores(settings, budgets, card_bytes);
  const bool stores_are_cards = !settings.stores.empty() && settings.stores.front().kind == ltxmem::DeviceKind::cuda;
  if (stores_are_cards && network_.empty()) place_in_one_machine(profile);

  ltxmem::HostResource copies;
  Models models =
      is_described ? Models(described_models(model_.empty() ? "2.3" : model_)) : Models(options_.stated(), copies);
  const GenerateRequest request = options_.request(models.model().config().version);
  const std::size_t image_bytes = condition_image_bytes(request);
  Choice choice =
      choose_plan(settings, options_.execution.automatic_for(models.model().config().transformer->layers), budgets,
                  [&](const Settings& candidate) {
                    return plan_job(request, models, candidate, {&profile, stop}, image_bytes, host_bytes_of(budgets));
                  });
  Report& report = choice.plan.report;
  report.command = "plan";
  report.budgets = budgets;
  report.fits = !choice.misfit;
  report.warnings = plan_warnings(request, report);
  if (is_described && (request.pipeline == PipelineKind::two_stage || request.pipeline == PipelineKind::hq)) {
    report.warnings.push_back("the distilled LoRA of this pipeline is not in the plan: its file says how large it is");
  }
  if (json_) {
    std::printf("%s\n", to_json(report).dump(1).c_str());
  } else {
    print_plan(request, choice.plan, profile);
  }
  if (!plot_.empty()) as_running([&] { write_memory_plot(plot_, job_plot(choice.plan, plot_title(request, report))); });
  for (const std::string& warning : report.warnings) std::fprintf(stderr, "%s\n", warning_text(warning).c_str());
  if (choice.misfit) throw ltxmem::DoesNotFit(*std::move(choice.misfit));
  return ExitCode::done;
}

}  // namespace ltx2
