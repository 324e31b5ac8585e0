// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/program.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/calibrate_command.hpp"
#include "cli/check_command.hpp"
#include "cli/failure.hpp"
#include "cli/generate_command.hpp"
#include "cli/info_command.hpp"
#include "cli/messages.hpp"
#include "cli/mpi_session.hpp"
#include "cli/plan_command.hpp"
#include "cli/suggest.hpp"
#include "cli/synth_command.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/budget.hpp"
#include "ltxmem/version.hpp"

namespace ltx2 {
namespace {

#define LTX2_TEXT_OF(x) #x
#define LTX2_TEXT(x) LTX2_TEXT_OF(x)
constexpr const char* version_text = "ltx2 (ltxmem " LTX2_TEXT(LTXMEM_VERSION_MAJOR) "." LTX2_TEXT(
    LTXMEM_VERSION_MINOR) "." LTX2_TEXT(LTXMEM_VERSION_PATCH) ")";

int fail(ExitCode code, std::string_view message) {
  std::fprintf(stderr, "%s\n", error_text(std::string(message)).c_str());
  return static_cast<int>(code);
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// What is wrong with the command line: an unknown word, if there is one, explains more than what is missing because of
/// it, and the nearest known word more still.
std::string usage_message(CLI::App& program, int argc, const char* const* argv, const CLI::ParseError& error) {
  std::vector<std::string> commands;
  for (const CLI::App* command : program.get_subcommands([](CLI::App*) { return true; })) {
    commands.push_back(command->get_name());
  }
  const auto hint = [](const std::string& suggestion) {
    return suggestion.empty() ? std::string() : "; did you mean " + suggestion + "?";
  };
  const std::string first = argc > 1 ? argv[1] : "";
  if (first.starts_with("-")) {
    const std::vector<std::string> known = option_names(program);
    return "unknown option " + first + hint(nearest(first, known)) + " (see ltx2 --help)";
  }
  if (first.empty()) return std::string(error.what()) + " (see ltx2 --help)";
  if (std::find(commands.begin(), commands.end(), first) == commands.end()) {
    return "unknown subcommand '" + first + "'" + hint(nearest(first, commands));
  }
  const CLI::App* command = program.get_subcommand(first);
  const std::vector<std::string> known = option_names(*command);
  for (int i = 2; i < argc; ++i) {
    const std::string word = std::string(argv[i]).substr(0, std::string_view(argv[i]).find('='));
    // The next word would be taken for its value, and the word after that would be the one to complain of.
    if (word.starts_with("--") && argv[i] == word + "=")
      return "option " + word + "= has no value (see ltx2 " + first + " --help)";
    if (word.starts_with("--") && std::find(known.begin(), known.end(), word) == known.end()) {
      return "unknown option " + word + hint(nearest(word, known));
    }
  }
  return std::string(error.what()) + " (see ltx2 " + first + " --help)";
}

/// How a process was started.
Facts facts_of(int argc, const char* const* argv) {
  Facts facts{{"version", version_text}};
  for (int i = 1; i < argc; ++i) facts.emplace_back("argument " + std::to_string(i), argv[i]);
  return facts;
}

}  // namespace

int run_program(int argc, const char* const* argv, const std::stop_token& stop) {
  CLI::App program(
      "Makes videos with sound from text with LTX-2 and LTX-2.3 models, exactly and in little memory.\n"
      "Exit codes: 0 done, 1 a check failed, 2 bad usage or input file, 3 does not fit, 4 failed while running, "
      "130 interrupted.");
  program.set_version_flag("--version", version_text);
  program.require_subcommand(1);

  GenerateCommand generate;
  PlanCommand plan;
  CheckCommand check;
  InfoCommand info;
  SynthCommand synth;
  CalibrateCommand calibrate;
  CLI::App& generate_app = *program.add_subcommand("generate", "Make a video with sound from a prompt");
  CLI::App& plan_app = *program.add_subcommand("plan", "Say what a generate would take, without doing it");
  CLI::App& check_app = *program.add_subcommand("check", "Run cases with known answers and compare");
  CLI::App& info_app = *program.add_subcommand("info", "Check model files completely and say what they hold");
  CLI::App& synth_app = *program.add_subcommand("synth", "Write a synthetic model from a description");
  CLI::App& calibrate_app = *program.add_subcommand("calibrate", "Measure this machine into a device profile");
  generate.add_to(generate_app);
  plan.add_to(plan_app);
  check.add_to(check_app);
  info.add_to(info_app);
  synth.add_to(synth_app);
  calibrate.add_to(calibrate_app);

  try {
    program.parse(argc, argv);
  } catch (const CLI::Success& request) {  // --help and --version
    return program.exit(request);
  } catch (const CLI::ParseError& error) {
    return fail(ExitCode::bad_input, usage_message(program, argc, argv, error));
  }

  std::unique_ptr<MpiSession> session;
  const auto failed = [&](ExitCode code, const char* message, const std::exception& error) {
    if (!session || session->speaks_for(error)) fail(code, message);
    if (session) session->leave(error, static_cast<int>(code));
    return static_cast<int>(code);
  };
  try {
    using Seconds = std::chrono::duration<double>;
    ExitCode code = ExitCode::done;
    if (generate_app.parsed()) session = MpiSession::join(Seconds(generate.execution().deadline));
    if (check_app.parsed()) session = MpiSession::join(Seconds(check.execution.deadline));
    Processes* const processes = session ? &session->processes() : nullptr;
    if (processes != nullptr) processes->expect_alike(facts_of(argc, argv));
    if (generate_app.parsed()) code = generate.run(stop, processes);
    if (plan_app.parsed()) code = plan.run(stop);
    if (check_app.parsed()) code = check.run(stop, processes);
    if (info_app.parsed()) code = info.run();
    if (synth_app.parsed()) code = synth.run(stop);
    if (calibrate_app.parsed()) code = calibrate.run(stop);
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      return fail(ExitCode::failed_running, "cannot write to standard output");
    }
    return static_cast<int>(code);
  } catch (const ltxmem::Cancelled& error) {
    return failed(ExitCode::interrupted, "interrupted", error);
  } catch (const Failure& failure) {
    return failed(failure.code(), failure.what(), failure);
  } catch (const ltxmem::DoesNotFit& error) {
    return failed(ExitCode::does_not_fit, error.what(), error);
  } catch (const ltxmem::OutOfMemory& error) {
    return failed(ExitCode::failed_running, error.what(), error);
  } catch (const ltxmem::RankError& error) {
    return failed(ExitCode::failed_running, error.what(), error);
  } catch (const ltxmem::DeviceError& error) {
    return failed(ExitCode::failed_running, error.what(), error);
  } catch (const std::bad_alloc& error) {
    return failed(ExitCode::failed_running, "out of memory", error);
  } catch (const std::exception& error) {
    return failed(ExitCode::bad_input, error.what(), error);
  }
}

}  // namespace ltx2
