// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "text/encode_prompt.hpp"

#include <string>
#include <type_traits>

#include "checkpoint/travelling_weights.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "ltxmem/core/tensor.hpp"
#include "runtime/ledger.hpp"
#include "runtime/resident_weights.hpp"
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

/// Every block of text models is used once per prompt: what does not stay in the file streams, and none is resident.
WeightPlacement placement_of(const Settings& settings) {
  WeightPlacement placement = settings.weights;
  placement.stream = !placement.in_place();
  placement.resident_blocks = 0;
  placement.stored_blocks = 0;
  return placement;
}

std::string connector_prefix(const char* modality) {
  return "model.diffusion_model." + std::string(modality) + "_embeddings_connector.";
}

constexpr const char* projection_prefix = "text_embedding_projection.";

/// The blocks of the connectors.
struct ConnectorBlocks {
  ConnectorBlocks(const Checkpoint& model, const WeightPlacement& placement)
      : video(model, connector_block_prefixes(*model.config().video_connector, connector_prefix("video")), placement),
        audio(model, connector_block_prefixes(*model.config().audio_connector, connector_prefix("audio")), placement) {}

  ModelBlocks video;
  ModelBlocks audio;
};

ModelBlocks gemma_layers(const Checkpoint& gemma, const WeightPlacement& placement) {
  return {gemma, gemma_layer_prefixes(gemma_config(gemma), gemma.gemma()), placement};
}

ltxmem::WeightStreamOptions once(const ModelBlocks& blocks, const Runtime& runtime) {
  ltxmem::WeightStreamOptions options = blocks.options(runtime.stop());
  options.repeats = false;
  options.cached = 0;  // a plan finds nothing in the page cache
  return options;
}

/// fn(stream) with the blocks as a stream whose memory lives that long.
template <class Backend, class Fn>
void with_stream(Backend& backend, const Runtime& runtime, const ModelBlocks& blocks, Workspace& workspace, Fn&& fn) {
  const auto device_scope = workspace.device.scope();
  const auto pinned_scope = workspace.pinned.scope();
  BlockStream<Backend> stream(backend, blocks, once(blocks, runtime), workspace);
  fn(stream);
}

/// Both connectors, one after the other.
template <ltxmem::Element T, class Backend>
void connect(Backend& backend, const Runtime& runtime, const Checkpoint& model, const ConnectorBlocks& blocks,
             const FeatureAccumulator<T, Backend>& features, const TextContexts& contexts, Workspace& workspace) {
  const auto run = [&](const char* modality, const ConnectorConfig& config, const ModelBlocks& layers,
                       TensorView<const float, 2> from, TensorView<float, 2> context) {
    const auto device_scope = workspace.device.scope();
    const auto pinned_scope = workspace.pinned.scope();
    ResidentWeights ends(backend, runtime, model, connector_prefix(modality), {"transformer_1d_blocks."}, workspace);
    const Connector<T, Backend> connector(config, ends.scope());
    with_stream(backend, runtime, layers, workspace, [&](BlockStream<Backend>& stream) {
      connector(backend, from, tiles_of(runtime.settings()), stream, context, workspace.device);
    });
  };
  {
    const Step step(backend, "video connector");
    run("video", *model.config().video_connector, blocks.video, features.video(), contexts.video);
  }
  const Step step(backend, "audio connector");
  run("audio", *model.config().audio_connector, blocks.audio, features.audio(), contexts.audio);
}

/// fn(body) with the body that encodes these ids, for Runtime::plan and Runtime::run.
template <class Fn>
decltype(auto) with_encode_body(Runtime& runtime, const Checkpoint& gemma, const Checkpoint& model,
                                const std::vector<std::int32_t>& ids, const TextContexts& contexts, Fn&& fn) {
  const GemmaConfig& config = gemma_config(gemma);
  const WeightPlacement placement = placement_of(runtime.settings());
  const ModelBlocks layers = gemma_layers(gemma, placement);
  const ConnectorBlocks connectors(model, placement);
  return runtime.with_element([&]<class T>() {
    return fn([&](auto& backend, Workspace& workspace) {
      using Backend = std::remove_reference_t<decltype(backend)>;
      ResidentWeights projection(backend, runtime, model, projection_prefix, {}, workspace);
      const FeatureWeights weights = feature_weights(projection.scope(), config.hidden_size, config.layers + 1);
      FeatureAccumulator<T, Backend> features(weights, static_cast<std::int64_t>(ids.size()), workspace.device);
      {
        const Step step(backend, "gemma");
        const auto device_scope = workspace.device.scope();
        const auto pinned_scope = workspace.pinned.scope();
        ResidentWeights ends(backend, runtime, gemma, gemma.gemma().prefix(), {"layers."}, workspace);
        const Gemma<T, Backend> encoder(config, ends.scope());
        const auto add = [&](std::int64_t state, TensorView<const T, 2> hidden) {
          features.add(backend, state, hidden, workspace.device);
        };
        with_stream(backend, runtime, layers, workspace, [&](BlockStream<Backend>& stream) {
          encoder(backend, ids, tiles_of(runtime.settings()), stream, add, workspace.device);
        });
      }
      connect(backend, runtime, model, connectors, features, contexts, workspace);
    });
  });
}

}  // namespace

void encode_prompt(Runtime& runtime, const std::vector<std::int32_t>& ids, const Checkpoint& gemma,
                   const Checkpoint& model, TextContexts contexts) {
  expect_text_parts(model);
  with_encode_body(runtime, gemma, model, ids, contexts, [&](auto&& body) { runtime.run("text encode", body); });
}

Runtime::Plan plan_encode_prompt(Runtime& runtime, const Checkpoint& gemma, const Checkpoint& model,
                                 std::int64_t tokens, std::int64_t length) {
  expect_text_parts(model);
  const std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens));
  const ModelConfig& config = model.config();
  VirtualResource nowhere;
  ltxmem::Tensor<float, 2> video(nowhere, {length, config.video_connector->width()});
  ltxmem::Tensor<float, 2> audio(nowhere, {length, config.audio_connector->width()});
  return with_encode_body(runtime, gemma, model, ids, {video.view(), audio.view()},
                          [&](auto&& body) { return runtime.plan(body); });
}

void run_gemma(Runtime& runtime, const Checkpoint& gemma, const std::vector<std::int32_t>& ids,
               TensorView<float, 3> hidden) {
  const GemmaConfig& config = gemma_config(gemma);
  const ltxmem::Extents<3> expected{config.layers + 1, static_cast<std::int64_t>(ids.size()), config.hidden_size};
  ltxmem::expects(hidden.extents() == expected, "gemma: room for ", hidden.extent(0), " x ", hidden.extent(1), " x ",
                  hidden.extent(2), ", expected ", expected[0], " x ", expected[1], " x ", expected[2]);
  const ModelBlocks layers = gemma_layers(gemma, placement_of(runtime.settings()));
  runtime.with_element([&]<class T>() {
    runtime.run("gemma", [&](auto& backend, Workspace& workspace) {
      using Backend = std::remove_reference_t<decltype(backend)>;
      ResidentWeights ends(backend, runtime, gemma, gemma.gemma().prefix(), {"layers."}, workspace);
      const Gemma<T, Backend> encoder(config, ends.scope());
      const auto keep = [&](std::int64_t state, TensorView<const T, 2> rows) { backend.copy(rows, hidden[state]); };
      with_stream(backend, runtime, layers, workspace, [&](BlockStream<Backend>& stream) {
        encoder(backend, ids, tiles_of(runtime.settings()), stream, keep, workspace.device);
      });
    });
  });
}

void connect_text(Runtime& runtime, const Checkpoint& model, TensorView<const float, 3> hidden,
                  TensorView<float, 2> video_features, TensorView<float, 2> audio_features, TextContexts contexts) {
  expect_text_parts(model);
  const std::int64_t states = hidden.extent(0);
  const ConnectorBlocks connectors(model, placement_of(runtime.settings()));
  runtime.with_element([&]<class T>() {
    runtime.run("text connect", [&](auto& backend, Workspace& workspace) {
      using Backend = std::remove_reference_t<decltype(backend)>;
      Arena& arena = workspace.device;
      ResidentWeights projection(backend, runtime, model, projection_prefix, {}, workspace);
      const FeatureWeights weights = feature_weights(projection.scope(), hidden.extent(2), states);
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
      connect(backend, runtime, model, connectors, features, contexts, workspace);
    });
  });
}

}  // namespace ltx2
