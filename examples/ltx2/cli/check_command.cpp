// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/check_command.hpp"

#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <system_error>

#include "check/case.hpp"
#include "cli/budgets.hpp"
#include "cli/failure.hpp"
#include "cli/report_file.hpp"
#include "cli/run_progress.hpp"
#include "ltxmem/io/safetensors_writer.hpp"
#include "media/cleanup.hpp"
#include "media/files.hpp"
#include "plan/fit.hpp"
#include "plan/search.hpp"
#include "runtime/rank_cards.hpp"
#include "runtime/runtime.hpp"

namespace ltx2 {
namespace {

/// Case files name their outputs, so the names must stay below the output folder.
void expect_plain_name(const Case& test, const std::string& name, const char* what) {
  ltxmem::expects<ltxmem::IoError>(!name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos,
                                   "case ", test.name, ": ", what, " '", name, "' is not a plain name");
}

/// The folders OUTPUT/STAGE, made before the work starts: a place that cannot be written to is bad input. Those that
/// nothing was written into are removed again.
class OutputFolders {
 public:
  OutputFolders() = default;
  OutputFolders(const OutputFolders&) = delete;
  OutputFolders& operator=(const OutputFolders&) = delete;
  ~OutputFolders() {
    for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) ::rmdir(folder->c_str());  // only if empty
  }

  void prepare(const std::filesystem::path& folder, const std::string& file) {
    make(folder, folder);
    expect_writable((folder / file).string());
  }

 private:
  void make(const std::filesystem::path& folder, const std::filesystem::path& asked) {
    if (folder.empty() || std::filesystem::is_directory(folder)) return;
    if (folder.has_relative_path()) make(folder.parent_path(), asked);
    std::error_code problem;
    if (std::filesystem::create_directory(folder, problem)) made_.push_back(folder);
    if (problem) {
      throw ltxmem::IoError("--output: cannot make the folder " + asked.string() + ": " + problem.message());
    }
  }

  std::vector<std::filesystem::path> made_;
};

void write_outputs(const std::filesystem::path& path, const HostTensors& outputs) {
  std::vector<ltxmem::TensorSpec> specs;
  for (const auto& [name, tensor] : outputs) {
    const ltxmem::DType dtype =
        std::visit([]<class V>(const std::vector<V>&) { return ltxmem::dtype_of<V>; }, tensor.values);
    specs.push_back({"out." + name, dtype, tensor.shape});
  }
  ltxmem::SafetensorsWriter writer(path, specs, {{"format", "ltx2 check"}});
  const RegisteredPath temporary(writer.temporary_path());
  for (const auto& [name, tensor] : outputs) {
    std::visit([&](const auto& values) { writer.write(std::as_bytes(std::span(values))); }, tensor.values);
  }
  writer.commit();
}

/// What the options leave to the plan of a case: blocks in stores, but none that stay on the device.
Automatic automatic_for(const ExecutionOptions& execution, const Case& test, CaseModels& models) {
  Automatic automatic = execution.automatic_for(0);
  if (execution.store == "host" || test.model.empty() || test.model == "-") return automatic;
  const auto& transformer = models.model_of(test).config().transformer;
  if (transformer) automatic.stored_blocks = execution.automatic_for(transformer->layers).stored_blocks;
  return automatic;
}

/// Runs a case in a stage of its own; the pipeline names its own ones.
HostTensors run_staged(const Case& test, CaseModels& models, Runtime& runtime) {
  std::optional<Stage> stage;
  if (test.stage != "generate") stage.emplace(runtime, test.stage);
  return run_case(test, models, runtime);
}

}  // namespace

void CheckCommand::add_to(CLI::App& app) {
  app.add_option("CASE", cases, "Case files: inputs, and the outputs they should give")->required();
  app.add_option("--models", models, "Folder with the models that the cases name");
  app.add_option("--checkpoint-path", checkpoint, "Use this checkpoint, whatever model a case names");
  app.add_option("--output", output, "Write what was computed to OUTPUT/STAGE/NAME.safetensors");
  execution.add_to(app);
}

ExitCode CheckCommand::run(const std::stop_token& stop, Processes* processes) const {
  Settings settings = execution.settings_to_run(processes);
  const bool is_primary = processes == nullptr || processes->is_primary();
  std::vector<Case> tests;
  for (const std::filesystem::path& path : cases) {
    tests.push_back(read_case(path));
    expect_plain_name(tests.back(), tests.back().stage, "stage");
    expect_plain_name(tests.back(), tests.back().name, "name");
  }
  OutputFolders folders;
  if (!output.empty() && is_primary) {
    for (const Case& test : tests) folders.prepare(output / test.stage, test.name + ".safetensors");
  }
  const ReportFile report_file(is_primary ? execution.report : std::string());
  const std::vector<ltxmem::MemoryBudget> budgets = stated_budgets(execution, free_card_bytes(settings));
  free_stores(settings, budgets);
  ltxmem::HostResource copies;
  CaseModels case_models(models, checkpoint, copies);
  if (processes != nullptr) {
    Facts facts;
    for (const Case& test : tests) {
      if (test.model.empty() || test.model == "-") continue;
      facts.emplace_back("checkpoint", std::to_string(case_models.model_of(test).tensors().fingerprint()));
    }
    processes->expect_alike(facts);
  }
  bool all_ok = true;
  std::vector<Report> reports;
  for (const Case& test : tests) {
    const auto plan_with = [&](const Settings& candidate) {
      Runtime dry(candidate, Runtime::DryRun{ltxmem::find_device_profile("cpu"), stop});
      run_staged(test, case_models, dry);
      return JobPlan{std::move(dry.report())};
    };
    const JobPlan plan = plan_within(settings, automatic_for(execution, test, case_models), budgets, plan_with);
    if (processes != nullptr) processes->expect_alike(plan.report.settings);
    Runtime runtime(plan.report.settings, stop, limits_of(budgets));
    runtime.report().command = "check";
    runtime.report().budgets = budgets;
    RunProgress progress(runtime, execution);
    const HostTensors got = run_staged(test, case_models, runtime);
    if (processes != nullptr) {
      wait_for_primary(*processes);
      processes->collect(runtime.report());
    }
    if (!is_primary) continue;
    adopt_plan(runtime.report(), plan.report);
    const bool as_planned =
        is_as_planned(runtime.report(), [&](const std::string& message) { progress.warn(message); });
    all_ok = as_planned && all_ok;
    if (!output.empty()) {
      as_running([&] { write_outputs(output / test.stage / (test.name + ".safetensors"), got); });
    }
    reports.push_back(runtime.report());
    if (test.expected.empty()) {
      std::printf("%-28s %-13s ran, nothing to compare\n", test.name.c_str(), test.stage.c_str());
    } else {
      const Difference difference = compare(test.expected, got);
      const bool ok = difference.relative <= test.tolerance;
      all_ok = all_ok && ok;
      std::printf("%-28s %-13s %.2e of %.0e in %-22s %s%s%s\n", test.name.c_str(), test.stage.c_str(),
                  difference.relative, test.tolerance, difference.tensor.c_str(), ok ? "ok" : "FAIL",
                  difference.reason.empty() ? "" : ": ", difference.reason.c_str());
    }
    std::fflush(stdout);
    if (execution.verbose >= 2) print_stages(reports.back());
  }
  as_running([&] { report_file.write(reports); });
  if (processes != nullptr) wait_for_primary(*processes);
  return all_ok ? ExitCode::done : ExitCode::check_failed;
}

}  // namespace ltx2
