// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>
#include <vector>

#include "check/case.hpp"
#include "text/encode_prompt.hpp"
#include "text/tokenizer.hpp"

namespace ltx2 {

namespace {

using ltxmem::expects;
using ltxmem::IoError;

Tokenizer tokenizer_of(const CaseModels& models, const std::string& gemma) {
  return Tokenizer((models.path(gemma) / "tokenizer.model").string());
}

HostTensors tokenize(const Case& test, const CaseModels& models) {
  const Tokenizer tokenizer = tokenizer_of(models, test.model);
  HostTensors outputs;
  std::size_t index = 0;
  for (const nlohmann::json& prompt : test.options.at("prompts")) {
    std::vector<std::int32_t> ids = tokenizer.encode(prompt.get<std::string>(), test.options.at("max_length"));
    outputs["ids." + std::to_string(index++)] = {{static_cast<std::int64_t>(ids.size())}, std::move(ids)};
  }
  return outputs;
}

HostTensors gemma(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  expects<IoError>(model.config().gemma.has_value(), test.name, ": the model is no Gemma text model");
  const auto& ids = std::get<std::vector<std::int32_t>>(test.input("ids").values);
  const ltxmem::Extents<3> extents{model.config().gemma->layers + 1, static_cast<std::int64_t>(ids.size()),
                                   model.config().gemma->hidden_size};
  HostTensors outputs;
  HostTensor& hidden = outputs["hidden"] = HostTensor::zeros({extents.begin(), extents.end()});
  run_gemma(runtime, model, ids, hidden.view(extents));
  return outputs;
}

/// Zeros [rows, width of that connector], and a view of them.
ltxmem::TensorView<float, 2> add_output(HostTensors& outputs, const std::string& name, std::int64_t rows,
                                        std::int64_t width) {
  HostTensor& tensor = outputs[name] = HostTensor::zeros({rows, width});
  return tensor.view(ltxmem::Extents<2>{rows, width});
}

TextContexts add_contexts(const Case& test, const ModelConfig& config, HostTensors& outputs) {
  expects<IoError>(config.video_connector && config.audio_connector, test.name, ": the model has no text connectors");
  const std::int64_t length = test.options.value("max_length", default_context_length);
  return {add_output(outputs, "video.context", length, config.video_connector->width()),
          add_output(outputs, "audio.context", length, config.audio_connector->width())};
}

HostTensors connect(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  HostTensors outputs;
  const TextContexts contexts = add_contexts(test, model.config(), outputs);
  const HostTensor& hidden = test.input("hidden");
  expects<IoError>(hidden.shape.size() == 3, test.name, ": hidden of rank ", hidden.shape.size(), ", expected 3");
  const ltxmem::Extents<3> extents{hidden.shape[0], hidden.shape[1], hidden.shape[2]};
  const auto video = add_output(outputs, "video.features", extents[1], model.config().video_connector->width());
  const auto audio = add_output(outputs, "audio.features", extents[1], model.config().audio_connector->width());
  connect_text(runtime, model, hidden.view(extents), video, audio, contexts);
  return outputs;
}

HostTensors encode(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  const std::string gemma_name = test.options.at("gemma");
  HostTensors outputs;
  const TextContexts contexts = add_contexts(test, model.config(), outputs);
  const std::vector<std::int32_t> ids =
      tokenizer_of(models, gemma_name).encode(test.options.at("prompt").get<std::string>(), contexts.video.extent(0));
  encode_prompt(runtime, ids, models.open(gemma_name), model, contexts);
  return outputs;
}

}  // namespace

HostTensors run_text_case(const Case& test, CaseModels& models, Runtime& runtime) {
  const std::string task = test.options.at("task");
  if (task == "tokenize") return tokenize(test, models);
  if (task == "gemma") return gemma(test, models, runtime);
  if (task == "connect") return connect(test, models, runtime);
  if (task == "encode") return encode(test, models, runtime);
  throw IoError("case " + test.name + ": unknown task '" + task + "'");
}

}  // namespace ltx2
