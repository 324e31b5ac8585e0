// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/execution_options.hpp"
#include "pipeline/request.hpp"

namespace ltx2 {

/// The command line of `ltx2 generate`.
struct GenerateOptions {
  ExecutionOptions execution{"bf16"};
  std::string output_path = "ltx2.mp4";

  /// A plan needs neither models nor a prompt: then all that is optional.
  enum class Purpose { generate, plan };
  void add_to(CLI::App& app, Purpose purpose = Purpose::generate);

  /// The request, with the guidance of the pipeline's preset where no option says otherwise. The version is that of the
  /// checkpoint. Throws CLI::ValidationError for values that are no numbers.
  GenerateRequest request(ModelVersion version) const;

  /// Where the models are and what is asked for, before the checkpoint is opened: presets are not applied.
  const GenerateRequest& stated() const noexcept { return request_; }

 private:
  struct ModalityOptions {
    std::optional<float> cfg;
    std::optional<float> stg;
    std::optional<float> modality;
    std::optional<float> rescale;
    std::optional<std::vector<std::int64_t>> stg_blocks;
    std::optional<std::int64_t> skip_step;
  };

  void add_guidance(CLI::App& app, const std::string& modality, const std::string& cross_option,
                    ModalityOptions& options);
  static void apply(const ModalityOptions& options, ModalityGuidance& guidance);

  GenerateRequest request_;
  ModalityOptions video_;
  ModalityOptions audio_;
};

}  // namespace ltx2
