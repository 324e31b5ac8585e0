// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "text/encode_prompt.hpp"

#include <string>
#include <type_traits>

#include "ltxmem/backend/tiles.hpp"
#include "text/connector.hpp"
#include "text/feature_extractor.hpp"
#include "text/gemma.hpp"

namespace ltx2 {

using ltxmem::Arena;
using ltxmem::Step;
using ltxmem::TensorView;
using ltxmem::Workspace;

namespace {

TextTiles tiles_of(const Settings& settings) {
  return {.ffn_chunk = settings.ffn_chunk, .query_tile = settings.query_tile, .key_tile = settings.key_tile};
}

const GemmaConfig& gemma_config(const Checkpoint& gemma) {
  ltxmem::expects<ltxmem::IoError>(gemma.config().gemma.has_value(), gemma.tensors().name(), ": no Gemma text model");
  return *gemma.config().gemma;
}

void expect_text_parts(const Checkpoint& model) {
  const ModelConfig& config = model.config();
  ltxmem::expects<ltxmem::IoError>(config.text_projection && config.video_connector && config.audio_connector,
                                   model.tensors().name(), ": no text projection and connectors");
}

/// Both connectors, one after the other.
template <ltxmem::Element T, class Backend>
void connect(Backend& backend, const Checkpoint& model, const FeatureAccumulator<T, Backend>& features,
             const TextTiles& tiles, const TextContexts& contexts, Arena& arena) {
  {
    const Step step(backend, "video connector");
    const Connector<T, Backend> video(*model.config().video_connector,
                                      model.prefixed("model.diffusion_model.video_embeddings_connector."));
    video(backend, features.video(), tiles, contexts.video, arena);
  }
  const Step step(backend, "audio connector");
  const Connector<T, Backend> audio(*model.config().audio_connector,
                                    model.prefixed("model.diffusion_model.audio_embeddings_connector."));
  audio(backend, features.audio(), tiles, contexts.audio, arena);
}

template <ltxmem::Element T, class Backend>
void encode(Backend& backend, Arena& arena, const Checkpoint& gemma, const Checkpoint& model,
            const std::vector<std::int32_t>& ids, const TextTiles& tiles, const TextContexts& contexts) {
  const GemmaConfig& config = gemma_config(gemma);
  const FeatureWeights weights = feature_weights(model, config.hidden_size, config.layers + 1);
  FeatureAccumulator<T, Backend> features(weights, static_cast<std::int64_t>(ids.size()), arena);
  {
    const Step step(backend, "gemma");
    const Gemma<T, Backend> encoder(config, gemma.gemma());
    encoder(
        backend, ids, tiles,
        [&](std::int64_t state, TensorView<const T, 2> hidden) { features.add(backend, state, hidden, arena); }, arena);
  }
  connect(backend, model, features, tiles, contexts, arena);
}

/// fn(body) with the body that encodes these ids, for Runtime::plan and Runtime::run.
template <class Fn>
decltype(auto) with_encode_body(Runtime& runtime, const Checkpoint& gemma, const Checkpoint& model,
                                const std::vector<std::int32_t>& ids, const TextContexts& contexts, Fn&& fn) {
  const TextTiles tiles = tiles_of(runtime.settings());
  return runtime.with_element([&]<class T>() {
    return fn([&](auto& backend, Workspace& workspace) {
      encode<T>(backend, workspace.device, gemma, model, ids, tiles, contexts);
    });
  });
}

}  // namespace

void encode_prompt(Runtime& runtime, const Tokenizer& tokenizer, const Checkpoint& gemma, const Checkpoint& model,
                   std::string_view prompt, TextContexts contexts) {
  expect_text_parts(model);
  const std::vector<std::int32_t> ids = tokenizer.encode(prompt, contexts.video.extent(0));
  with_encode_body(runtime, gemma, model, ids, contexts, [&](auto&& body) { runtime.run("text encode", body); });
}

Runtime::Plan plan_encode_prompt(Runtime& runtime, const Checkpoint& gemma, const Checkpoint& model,
                                 std::int64_t tokens, std::int64_t length) {
  expect_text_parts(model);
  const std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
  const ModelConfig& config = model.config();
  const TextContexts contexts{{nullptr, {length, config.video_connector->width()}},
                              {nullptr, {length, config.audio_connector->width()}}};
  return with_encode_body(runtime, gemma, model, ids, contexts, [&](auto&& body) { return runtime.plan(body); });
}

void run_gemma(Runtime& runtime, const Checkpoint& gemma, const std::vector<std::int32_t>& ids,
               TensorView<float, 3> hidden) {
  const GemmaConfig& config = gemma_config(gemma);
  const ltxmem::Extents<3> expected{config.layers + 1, static_cast<std::int64_t>(ids.size()), config.hidden_size};
  ltxmem::expects(hidden.extents() == expected, "gemma: room for ", hidden.extent(0), " x ", hidden.extent(1), " x ",
                  hidden.extent(2), ", expected ", expected[0], " x ", expected[1], " x ", expected[2]);
  runtime.with_element([&]<class T>() {
    runtime.run("gemma", [&](auto& backend, Workspace& workspace) {
      const Gemma<T, std::remove_reference_t<decltype(backend)>> encoder(config, gemma.gemma());
      encoder(
          backend, ids, tiles_of(runtime.settings()),
          [&](std::int64_t state, TensorView<const T, 2> rows) { backend.copy(rows, hidden[state]); },
          workspace.device);
    });
  });
}

void connect_text(Runtime& runtime, const Checkpoint& model, TensorView<const float, 3> hidden,
                  TensorView<float, 2> video_features, TensorView<float, 2> audio_features, TextContexts contexts) {
  expect_text_parts(model);
  const std::int64_t states = hidden.extent(0);
  const FeatureWeights weights = feature_weights(model, hidden.extent(2), states);
  runtime.with_element([&]<class T>() {
    runtime.run("text connect", [&](auto& backend, Workspace& workspace) {
      using Backend = std::remove_reference_t<decltype(backend)>;
      Arena& arena = workspace.device;
      FeatureAccumulator<T, Backend> features(weights, hidden.extent(1), arena);
      {
        const auto scope = arena.scope();
        const auto state = arena.take<T, 2>("hidden state", {hidden.extent(1), hidden.extent(2)});
        for (std::int64_t index = 0; index < states; ++index) {
          backend.copy(hidden[index], state);
          features.add(backend, index, state, arena);
        }
      }
      backend.copy(features.video(), video_features);
      backend.copy(features.audio(), audio_features);
      connect(backend, model, features, tiles_of(runtime.settings()), contexts, arena);
    });
  });
}

}  // namespace ltx2
