// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "check/host_tensor.hpp"
#include "checkpoint/checkpoint.hpp"
#include "runtime/runtime.hpp"

/// Cases with known answers: what `ltx2 check` runs.

namespace ltx2 {

/// One case file: a stage, its inputs and what it should put out.
struct Case {
  std::string stage;
  std::string name;
  std::string model;       ///< name below the models folder; "-" or empty: none
  nlohmann::json options;  ///< an object, possibly empty
  double tolerance = 0;    ///< of max |got - expected| / max |expected|, fp32
  HostTensors inputs;
  HostTensors expected;  ///< may be empty: then the case is only run

  /// The input of that name; IoError naming case and tensor when it is missing.
  const HostTensor& input(std::string_view tensor_name) const;
  bool has_input(std::string_view tensor_name) const { return inputs.contains(std::string(tensor_name)); }
};

Case read_case(const std::filesystem::path& path);

/// Finds and keeps the model files that cases name: DIR/NAME.safetensors or folder DIR/NAME.
class CaseModels {
 public:
  /// checkpoint, if not empty, stands for the model that a case names.
  CaseModels(std::filesystem::path folder, std::filesystem::path checkpoint, ltxmem::ResourceRef resource)
      : folder_(std::move(folder)), checkpoint_(std::move(checkpoint)), resource_(resource) {}

  std::filesystem::path path(const std::string& name) const;

  /// Opened on first use and kept. A case that adds LoRAs must clear them again.
  Checkpoint& open(const std::string& name);
  Checkpoint& model_of(const Case& test) { return open_path(path_of_model(test)); }
  std::filesystem::path path_of_model(const Case& test) const {
    return checkpoint_.empty() ? path(test.model) : checkpoint_;
  }

 private:
  Checkpoint& open_path(const std::filesystem::path& path);

  std::filesystem::path folder_;
  std::filesystem::path checkpoint_;
  ltxmem::ResourceRef resource_;
  std::map<std::filesystem::path, std::unique_ptr<Checkpoint>> opened_;
};

/// How far an output is from its expected value.
struct Difference {
  double relative = 0;  ///< max |got - expected| / max |expected|; infinite for NaN, infinities or another shape
  std::string tensor;   ///< where the largest difference is
  std::string reason;   ///< shape, NaN, integer that differs; empty for a plain numeric difference
};

/// The worst difference over all expected tensors. Integers must be equal, bytes may be one level off.
Difference compare(const HostTensors& expected, const HostTensors& got);

/// Runs the stage a case names and returns its outputs. IoError for an unknown stage.
HostTensors run_case(const Case& test, CaseModels& models, Runtime& runtime);

// One function per stage, each in the file of its name.
HostTensors run_schedule_case(const Case& test, CaseModels& models, Runtime& runtime);
HostTensors run_text_case(const Case& test, CaseModels& models, Runtime& runtime);
HostTensors run_transformer_case(const Case& test, CaseModels& models, Runtime& runtime);  ///< also real_width, lora
HostTensors run_denoise_case(const Case& test, CaseModels& models, Runtime& runtime);
HostTensors run_upsample_case(const Case& test, CaseModels& models, Runtime& runtime);
HostTensors run_video_encode_case(const Case& test, CaseModels& models, Runtime& runtime);
HostTensors run_video_decode_case(const Case& test, CaseModels& models, Runtime& runtime);
HostTensors run_audio_encode_case(const Case& test, CaseModels& models, Runtime& runtime);
HostTensors run_audio_decode_case(const Case& test, CaseModels& models, Runtime& runtime);
HostTensors run_vocode_case(const Case& test, CaseModels& models, Runtime& runtime);
HostTensors run_generate_case(const Case& test, CaseModels& models, Runtime& runtime);

}  // namespace ltx2
