// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/generate_options.hpp"

#include <charconv>

namespace ltx2 {
namespace {

template <class Number>
Number number(const char* option, const std::string& text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw CLI::ValidationError(option, "'" + text + "' is not a number in range");
  }
  return value;
}

/// The parser itself takes -1 for the largest unsigned number and caps what is too large: then another clip than the
/// one asked for would be made.
template <class Number>
std::string problem_of_whole_number(const std::string& text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return {};
  return "'" + text + "' is not a whole number in range";
}

std::string problem_of_max_length(const std::string& text) {
  std::string problem = problem_of_whole_number<std::int64_t>(text);
  if (problem.empty() && number<std::int64_t>("--max-length", text) % 128 != 0) {
    problem = text + ", expected a multiple of 128";
  }
  return problem;
}

ImageRequest image_request(const std::vector<std::string>& words) {
  ImageRequest image;
  image.path = words.at(0);
  image.frame = number<std::int64_t>("--image FRAME", words.at(1));
  image.strength = number<float>("--image STRENGTH", words.at(2));
  if (words.size() > 3) image.crf = number<int>("--image CRF", words.at(3));
  return image;
}

}  // namespace

void GenerateOptions::add_guidance(CLI::App& app, const std::string& modality, const std::string& cross_option,
                                   ModalityOptions& options) {
  const std::string group = "Guidance (full checkpoints)";
  const std::string front = "--" + modality + "-";
  app.add_option(front + "cfg-guidance-scale", options.cfg, "How far to steer away from the negative prompt; 1: not")
      ->group(group);
  app.add_option(front + "stg-guidance-scale", options.stg,
                 "How far to steer away from a prediction without self-attention in some blocks; 0: not")
      ->group(group);
  app.add_option(front + "stg-blocks", options.stg_blocks, "Those blocks, counted from 0")
      ->delimiter(',')
      ->group(group);
  app.add_option(front + "rescale-scale", options.rescale,
                 "How far the guided prediction gets back the deviation of the plain one; 0 to 1")
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  app.add_option(front + "skip-step", options.skip_step, "Predict this stream anew only every N + 1 steps")
      ->check(CLI::Range(0, 1000))
      ->group(group);
  app.add_option(cross_option, options.modality,
                 "How far to steer " + modality + " away from a prediction without the other stream; 1: not")
      ->group(group);
}

void GenerateOptions::add_to(CLI::App& app, Purpose purpose) {
  const bool is_run = purpose == Purpose::generate;
  const std::string models = "Models";
  app.add_option("--checkpoint-path", request_.checkpoint, "LTX-2 or LTX-2.3 checkpoint (.safetensors)")
      ->required(is_run)
      ->group(models);
  app.add_option("--gemma-root", request_.gemma, "Folder of the Gemma 3 text encoder with its tokenizer.model")
      ->required(is_run)
      ->group(models);
  app.add_option("--spatial-upsampler-path", request_.upsampler, "Latent upsampler, for pipelines of two stages")
      ->group(models);
  app.add_option_function<std::vector<std::string>>(
         "--distilled-lora",
         [this](const std::vector<std::string>& words) {
           request_.distilled_lora =
               LoraRequest{words.at(0), words.size() > 1 ? number<float>("--distilled-lora STRENGTH", words[1]) : 1.0F};
         },
         "LoRA that two-stage and hq run their last stage with")
      ->type_name("PATH [STRENGTH]")
      ->expected(1, 2)
      ->group(models);
  app.add_option_function<std::vector<std::vector<std::string>>>(
         "--lora",
         [this](const std::vector<std::vector<std::string>>& loras) {
           for (const auto& words : loras) {
             request_.loras.push_back({words.at(0), number<float>("--lora STRENGTH", words.at(1))});
           }
         },
         "LoRA added in every stage; repeatable")
      ->type_size(2)
      ->type_name("PATH STRENGTH")
      ->group(models);

  const std::string clip = "Clip";
  app.add_option("--prompt", request_.prompt, "What to show and to be heard")->required(is_run)->group(clip);
  app.add_option("--negative-prompt", request_.negative_prompt, "What guided pipelines steer away from")->group(clip);
  app.add_option("--width", request_.width, "Pixels; a multiple of 64 (one-stage: 32)")
      ->check(problem_of_whole_number<std::int64_t>)
      ->capture_default_str()
      ->group(clip);
  app.add_option("--height", request_.height, "Pixels; a multiple of 64 (one-stage: 32)")
      ->check(problem_of_whole_number<std::int64_t>)
      ->capture_default_str()
      ->group(clip);
  app.add_option("--num-frames", request_.frames, "Frames; one more than a multiple of 8")
      ->check(problem_of_whole_number<std::int64_t>)
      ->capture_default_str()
      ->group(clip);
  app.add_option("--frame-rate", request_.fps, "Frames per second")->capture_default_str()->group(clip);
  app.add_option("--seed", request_.seed, "Equal seeds give equal files")
      ->check(problem_of_whole_number<std::uint64_t>)
      ->capture_default_str()
      ->group(clip);
  app.add_option_function<std::vector<std::vector<std::string>>>(
         "--image",
         [this](const std::vector<std::vector<std::string>>& images) {
           for (const auto& words : images) request_.images.push_back(image_request(words));
         },
         "PNG or JPEG shown at that frame with that strength (0 to 1), first recompressed with H.264 at CRF "
         "(default 33, 0: not); repeatable")
      ->type_size(3, 4)
      ->type_name("PATH FRAME STRENGTH [CRF]")
      ->group(clip);
  app.add_option("--output-path", output_path, "NAME.mp4, NAME.y4m (sound in NAME.wav) or NAME/ (PNG files and a WAV)")
      ->capture_default_str()
      ->group(clip);

  const std::string sampling = "Sampling";
  app.add_option_function<std::string>(
         "--pipeline", [this](const std::string& name) { request_.pipeline = *pipeline_from_name(name); },
         "distilled (default), two-stage, hq or one-stage. Distilled and full checkpoints look alike: this says which "
         "it "
         "is")
      ->check(CLI::IsMember({"distilled", "two-stage", "hq", "one-stage"}))
      ->group(sampling);
  app.add_option("--num-inference-steps", request_.steps, "Steps of the guided stage; 0: the pipeline's own number")
      ->check(CLI::Range(0, 10000))
      ->capture_default_str()
      ->group(sampling);
  app.add_option("--max-length", request_.max_length, "Rows of text context; a multiple of 128")
      ->check(CLI::Range(128, 1024))
      ->check(problem_of_max_length)
      ->capture_default_str()
      ->group(sampling);

  add_guidance(app, "video", "--a2v-guidance-scale", video_);
  add_guidance(app, "audio", "--v2a-guidance-scale", audio_);
  execution.add_to(app);
}

void GenerateOptions::apply(const ModalityOptions& options, ModalityGuidance& guidance) {
  if (options.cfg) guidance.cfg = *options.cfg;
  if (options.stg) guidance.stg = *options.stg;
  if (options.modality) guidance.modality = *options.modality;
  if (options.rescale) guidance.rescale = *options.rescale;
  if (options.stg_blocks) guidance.stg_blocks = *options.stg_blocks;
  if (options.skip_step) guidance.skip_step = *options.skip_step;
}

GenerateRequest GenerateOptions::request(ModelVersion version) const {
  GenerateRequest request = request_;
  const PipelinePreset preset = pipeline_preset(request.pipeline, version);
  if (request.steps == 0) request.steps = preset.steps;
  request.guidance = preset.guidance;
  apply(video_, request.guidance.video);
  apply(audio_, request.guidance.audio);
  if (request.negative_prompt.empty()) request.negative_prompt = default_negative_prompt();
  return request;
}

}  // namespace ltx2
