// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/info_command.hpp"

#include <cstdio>
#include <exception>

#include "cli/messages.hpp"
#include "ltxmem/memory/host_resource.hpp"

namespace ltx2 {

namespace {

constexpr std::size_t shown_unknown = 5;

/// "18.99 B", "1.23 M", "456".
std::string count_text(std::int64_t count) {
  char text[32];
  const auto number = static_cast<double>(count);
  if (count >= 1'000'000'000) {
    std::snprintf(text, sizeof text, "%.2f B", number / 1e9);
  } else if (count >= 1'000'000) {
    std::snprintf(text, sizeof text, "%.2f M", number / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%lld", static_cast<long long>(count));
  }
  return text;
}

}  // namespace

std::string info_text(const ModelReport& report) {
  std::string text = report.path.string() + ": " + report.kind;
  if (!report.version.empty()) text += " " + report.version;
  text += ", " + std::to_string(report.file_bytes) + " bytes, valid\n";
  for (const ModelReport::Component& component : report.components) {
    char line[160];
    std::snprintf(line, sizeof line, "  %-18s %6lld tensors %12s parameters", component.name.c_str(),
                  static_cast<long long>(component.tensors), count_text(component.parameters).c_str());
    text += line;
    for (const auto& [dtype, bytes] : component.bytes) {
      text += "  " + std::string(dtype_name(dtype)) + " " + std::to_string(bytes) + " bytes";
    }
    text += "\n";
  }
  if (report.copied_bytes > 0)
    text += "  misaligned, copied when opened: " + std::to_string(report.copied_bytes) + " bytes\n";
  return text;
}

void InfoCommand::add_to(CLI::App& app) {
  app.add_option("FILE", files, "Checkpoint, latent upsampler, LoRA, or the file or folder of the text model")
      ->required();
}

ExitCode InfoCommand::run() const {
  ExitCode code = ExitCode::done;
  ltxmem::HostResource host;
  for (const std::filesystem::path& file : files) {
    try {
      const ModelReport report = validate_model(file, host);
      std::fputs(info_text(report).c_str(), stdout);
      if (report.unknown.empty()) continue;
      std::string message =
          file.string() + ": " + std::to_string(report.unknown.size()) + " tensors that are not used:";
      for (std::size_t i = 0; i < report.unknown.size() && i < shown_unknown; ++i) message += " " + report.unknown[i];
      if (report.unknown.size() > shown_unknown) message += " ...";
      std::fprintf(stderr, "%s\n", warning_text(message).c_str());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error_text(error.what()).c_str());
      code = ExitCode::bad_input;
    }
  }
  return code;
}

}  // namespace ltx2
