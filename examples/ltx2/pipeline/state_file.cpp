// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/state_file.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/io/safetensors_writer.hpp"
#include "media/cleanup.hpp"

namespace ltx2 {
namespace {

using ltxmem::IoError;
using ltxmem::TensorView;

constexpr const char* format_name = "ltx2 finished steps 1";

/// The tensors of saved steps, by name; those that a run does not need are empty.
template <class Steps>
auto tensors_of(Steps& steps) {
  return std::array<std::pair<const char*, decltype(&steps.video)>, 5>{{{"video", &steps.video},
                                                                        {"audio", &steps.audio},
                                                                        {"video estimate", &steps.steps.video_estimate},
                                                                        {"audio estimate", &steps.steps.audio_estimate},
                                                                        {"sound of stage 1", &steps.first_sound}}};
}

/// A number as few digits as give it back.
template <class Number>
std::string text_of(Number number) {
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
  return {text.data(), end};
}

void add(Facts& facts, const std::string& modality, const std::string& cross, const ModalityGuidance& guidance) {
  const std::string front = "--" + modality + "-";
  std::string blocks;
  for (const std::int64_t block : guidance.stg_blocks) blocks += (blocks.empty() ? "" : ",") + text_of(block);
  facts.emplace_back(front + "cfg-guidance-scale", text_of(guidance.cfg));
  facts.emplace_back(front + "stg-guidance-scale", text_of(guidance.stg));
  facts.emplace_back(front + "stg-blocks", blocks);
  facts.emplace_back(front + "rescale-scale", text_of(guidance.rescale));
  facts.emplace_back(front + "skip-step", text_of(guidance.skip_step));
  facts.emplace_back(cross, text_of(guidance.modality));
}

/// Not converted: a number of another kind, or too large, would become something else.
std::int64_t whole_number(const nlohmann::json& json) {
  return json.get_ref<const std::int64_t&>();
}

}  // namespace

Facts clip_facts(const GenerateRequest& request, const Models& models, ltxmem::DType dtype) {
  Facts facts = models.fingerprints();
  facts.emplace_back("--pipeline", pipeline_name(request.pipeline));
  if (request.distilled_lora) facts.emplace_back("--distilled-lora", text_of(request.distilled_lora->strength));
  for (const LoraRequest& lora : request.loras) facts.emplace_back("--lora", text_of(lora.strength));
  facts.emplace_back("--prompt", request.prompt);
  if (request.is_guided()) facts.emplace_back("--negative-prompt", request.negative_prompt);
  facts.emplace_back("--max-length", text_of(request.max_length));
  facts.emplace_back("--width", text_of(request.width));
  facts.emplace_back("--height", text_of(request.height));
  facts.emplace_back("--num-frames", text_of(request.frames));
  facts.emplace_back("--frame-rate", text_of(request.fps));
  facts.emplace_back("--num-inference-steps", text_of(request.steps));
  facts.emplace_back("--seed", text_of(request.seed));
  for (const ImageRequest& image : request.images) {
    facts.emplace_back("--image", image.path.string() + " " + text_of(image.frame) + " " + text_of(image.strength) +
                                      " " + text_of(image.crf));
  }
  if (request.is_guided()) {
    add(facts, "video", "--a2v-guidance-scale", request.guidance.video);
    add(facts, "audio", "--v2a-guidance-scale", request.guidance.audio);
  }
  facts.emplace_back("--dtype", ltxmem::dtype_name(dtype));
  return facts;
}

StateFile::StateFile(const std::string& output_path, std::function<Facts()> facts)
    : path_(output_path), facts_(std::move(facts)) {
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();  // a folder of pictures
  path_ += ".state";
}

const std::string& StateFile::facts_text() {
  // A prompt need not be text of any encoding, a file's header must be.
  constexpr auto replace = nlohmann::json::error_handler_t::replace;
  if (facts_text_.empty()) facts_text_ = nlohmann::json(facts_()).dump(-1, ' ', false, replace);
  return facts_text_;
}

bool StateFile::exists() const noexcept {
  std::error_code ignored;
  return std::filesystem::exists(path_, ignored);
}

const SavedSteps& StateFile::open() {
  ltxmem::expects<IoError>(exists(), path_, ": no finished steps of an earlier run to resume from");
  file_.emplace(path_);
  const auto& metadata = file_->metadata();
  const auto format = metadata.find("format");
  ltxmem::expects<IoError>(format != metadata.end() && format->second == format_name, path_,
                           ": not finished steps of a run");
  Facts facts;
  try {
    facts = nlohmann::json::parse(metadata.at("facts")).get<Facts>();
    const nlohmann::json position = nlohmann::json::parse(metadata.at("position"));
    steps_.stage = static_cast<int>(std::clamp<std::int64_t>(whole_number(position.at(0)), 0, 3));
    steps_.steps.done = whole_number(position.at(1));
    steps_.steps.total = whole_number(position.at(2));
  } catch (const std::exception&) {
    throw IoError(path_ + ": does not say which steps it holds, and of which clip");
  }
  if (const auto difference = first_difference(facts, nlohmann::json::parse(facts_text()).get<Facts>())) {
    throw IoError(path_ + ": steps of another clip: " + difference->name + " " + difference->text);
  }
  for (const auto& [name, view] : tensors_of(steps_)) {
    if (file_->find(name) == nullptr) continue;
    const ltxmem::WeightMatrix matrix = file_->weight_matrix(name);
    ltxmem::expects<IoError>(matrix.dtype == ltxmem::DType::f32, path_, ": tensor '", name, "' is ",
                             ltxmem::dtype_name(matrix.dtype), ", expected F32");
    *view = {reinterpret_cast<const float*>(matrix.data), {matrix.rows, matrix.columns}};
  }
  ltxmem::expects<IoError>(steps_.steps.done > 0, path_, ": no step is finished");
  is_ours_ = true;
  return steps_;
}

void StateFile::write(const SavedSteps& steps) {
  std::vector<ltxmem::TensorSpec> specs;
  for (const auto& [name, view] : tensors_of(steps)) {
    if (!view->empty()) specs.push_back({name, ltxmem::DType::f32, {view->extent(0), view->extent(1)}});
  }
  const nlohmann::json position{steps.stage, steps.steps.done, steps.steps.total};
  ltxmem::SafetensorsWriter writer(path_, specs,
                                   {{"format", format_name}, {"position", position.dump()}, {"facts", facts_text()}});
  const RegisteredPath temporary(writer.temporary_path());
  for (const auto& [name, view] : tensors_of(steps)) {
    for (std::int64_t row = 0; row < view->extent(0); ++row) {
      writer.write(std::as_bytes(std::span((*view)[row].data(), static_cast<std::size_t>(view->extent(1)))));
    }
  }
  writer.commit();
  is_ours_ = true;
}

void StateFile::remove() noexcept {
  if (!is_ours_) return;
  file_.reset();
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

std::string shapes_text(const SavedSteps& steps) {
  nlohmann::json numbers{steps.stage, steps.steps.done, steps.steps.total};
  for (const auto& [name, view] : tensors_of(steps)) {
    numbers.push_back(view->extent(0));
    numbers.push_back(view->extent(1));
  }
  return numbers.dump();
}

SavedSteps steps_of_shapes(const std::string& text) {
  const nlohmann::json numbers = nlohmann::json::parse(text);
  auto next = numbers.begin();
  SavedSteps steps;
  steps.stage = *next++;
  steps.steps.done = *next++;
  steps.steps.total = *next++;
  for (const auto& [name, view] : tensors_of(steps)) {
    const std::int64_t rows = *next++;
    const std::int64_t columns = *next++;
    *view = {nullptr, {rows, columns}};
  }
  return steps;
}

}  // namespace ltx2
