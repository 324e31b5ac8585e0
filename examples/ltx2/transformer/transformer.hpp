// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/travelling_weights.hpp"
#include "ltxmem/backend/tiles.hpp"
#include "runtime/scheme.hpp"
#include "transformer/block.hpp"
#include "transformer/saved_prefix.hpp"
#include "transformer/stream.hpp"

namespace ltx2 {

/// The weights of a transformer as they travel: the blocks, and what is outside them, which stays. Ranks that share the
/// heads bring their parts of the blocks alone.
struct TransformerWeights {
  TransformerWeights(const Checkpoint& checkpoint, const TransformerConfig& config, const WeightPlacement& placement,
                     const ltxmem::Partition& heads)
      : ends(checkpoint, {prefix}, {.device_reads_files = placement.device_reads_files},
             {"transformer_blocks.", "video_embeddings_connector.", "audio_embeddings_connector."}) {
    for (int rank = 0; rank < heads.ranks(); ++rank) {
      const HeadPart part(heads, rank);
      const auto same =
          std::find_if(parts_.begin(), parts_.end(), [&](const auto& other) { return other == part.own; });
      of_rank_.push_back(static_cast<std::size_t>(same - parts_.begin()));
      if (same != parts_.end()) continue;
      parts_.push_back(part.own);
      blocks_.emplace_back(checkpoint, numbered_prefixes(std::string(prefix) + "transformer_blocks.", config.layers),
                           placement, std::vector<std::string>(),
                           [part](const StoredTensor& tensor) { return part.of_tensor(tensor); });
    }
  }

  static constexpr const char* prefix = "model.diffusion_model.";

  /// Of one of the ranks that share the heads.
  const ModelBlocks& blocks(int rank) const { return blocks_[of_rank_.at(static_cast<std::size_t>(rank))]; }

  ModelBlocks ends;

 private:
  std::vector<ltxmem::Segment> parts_;
  std::deque<ModelBlocks> blocks_;  // by part
  std::vector<std::size_t> of_rank_;
};

/// The audio-video diffusion transformer: one forward pass for one sample.
///
/// Computes  the velocity of every token, from noisy latents, noise levels, positions and text
/// Shapes    see TransformerInput and TransformerOutput; either modality may be absent
/// Memory    per video token what the scheme places on the device: x, and keys and values of one block; the audio's 3
///           D elements, the text's keys and values, and scratch of one tile. Nothing is stored per token for
///           modulation and positions: rows exist once per distinct timestep, angle tables once per distinct coordinate
/// Numerics  activations are rounded to T between operations; no bit depends on tiles, chunks or threads
/// Ranks     each holds its share of the video's tokens and of the audio's, and its heads of every attention. Every
///           rank is given the whole input and writes the velocities of its own tokens where it is given an output for
///           them. Keys and values go round on the device, wherever the scheme wants them
/// Throws    ShapeError for inputs that do not fit the configuration; Cancelled; RankError
/// Source    docs/ltx2/transformer.md
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class Transformer {
 public:
  /// The configuration may differ from the file's in what changes no shape. IoError when tensors do not fit it.
  Transformer(const TransformerWeights& weights, const TransformerConfig& config) : config_(config) {
    const Ends ends(weights.ends.in_place(0), config);
    ltxmem::SingleRank alone;
    const HeadShare<ltxmem::SingleRank> all = whole_heads(alone, config.heads);
    for (std::int64_t i = 0; i < config.layers; ++i) {
      Block<T, Backend, ltxmem::SingleRank>(weights.blocks(0).in_place(i), config, all);
    }
  }

  /// Weights are bound to the place where they are at the time: for the ends until the pass is over, for a block until
  /// the next one is asked for. Without room for a prefix (null) every pass computes all blocks.
  template <ltxmem::Communicator<Backend> Ranks>
  void operator()(Backend& backend, TokenShares<Ranks>& shares, const HeadShare<Ranks>& heads,
                  BlockStream<Backend>& ends, BlockStream<Backend>& blocks, SavedPrefix<T, Backend>* saved,
                  const TransformerInput& input, const TransformerOutput& output, Scheme scheme, const Tiles& options,
                  ltxmem::Workspace& workspace) const {
    ltxmem::expects(input.video || input.audio, "transformer: neither video nor audio");
    ltxmem::expects(input.skips.empty() || input.skips.size() == static_cast<std::size_t>(config_.layers),
                    "transformer: perturbations for ", input.skips.size(), " blocks of ", config_.layers);
    const SharedPrefix& prefix = input.prefix;
    ltxmem::expects(prefix.blocks >= 0 && prefix.blocks < std::max(config_.layers, std::int64_t{1}),
                    "transformer: a shared prefix of ", prefix.blocks, " blocks of ", config_.layers);
    const SchemeTable table = scheme_table(scheme);
    const Tiles tiles = effective_tiles(table, options, input);
    static_assert(ltxmem::row_quantum % ltxmem::key_quantum == 0,
                  "a tile of rows that the audio attends to must be whole key quanta");

    const auto scope = workspace.device.scope();
    const auto off_device_scope = workspace.off_device_scope();
    std::optional<Stream<T, Backend>> video;
    std::optional<Stream<T, Backend>> audio;
    const Ends bound(ends.acquire(0), config_);
    {
      const ltxmem::Step step(backend, "conditioning");
      const auto sigma = [](const std::optional<StreamInput>& other) {
        return other ? std::optional<float>(other->sigma) : std::nullopt;
      };
      if (input.video) {
        video.emplace(bound.video.begin(backend, *input.video, shares.own_video(), sigma(input.audio), tiles.queries,
                                        table.x, workspace));
      }
      if (input.audio) {
        audio.emplace(bound.audio.begin(backend, *input.audio, shares.own_audio(), sigma(input.video), tiles.queries,
                                        ltxmem::MemorySpace::device, workspace));
      }
    }
    Stream<T, Backend>* const video_stream = video ? &*video : nullptr;
    Stream<T, Backend>* const audio_stream = audio ? &*audio : nullptr;
    std::int64_t first = 0;
    if (saved != nullptr && prefix.role == SharedPrefix::Role::resume) {
      saved->restore(backend, video_stream, audio_stream);
      first = prefix.blocks;
    }
    for (std::int64_t i = first; i < config_.layers; ++i) {
      if (saved != nullptr && prefix.role == SharedPrefix::Role::save && i == prefix.blocks) {
        saved->save(backend, video_stream, audio_stream);
      }
      const ltxmem::Step step(backend, "block", i);
      const Block<T, Backend, Ranks> block(blocks.acquire(i), config_, heads);
      block(backend, shares, video_stream, audio_stream,
            input.skips.empty() ? BlockSkips{} : input.skips[static_cast<std::size_t>(i)], table, tiles, workspace);
    }
    const ltxmem::Step step(backend, "output");
    if (video && !output.video.empty()) {
      bound.video.finish(backend, *video, tiles.queries, output.video, workspace.device);
    }
    if (audio && !output.audio.empty()) {
      bound.audio.finish(backend, *audio, tiles.queries, output.audio, workspace.device);
    }
  }

 private:
  /// Tiles rounded up to whole quanta; those of a scheme without tiles hold every token.
  static Tiles effective_tiles(const SchemeTable& table, Tiles tiles, const TransformerInput& input) {
    if (table.order == AttentionOrder::whole) {
      const auto tokens = [](const std::optional<StreamInput>& stream) { return stream ? stream->tokens() : 0; };
      const std::int64_t all = std::max({std::int64_t{1}, tokens(input.video), tokens(input.audio)});
      tiles = {.queries = all, .keys = all, .ffn_chunk = all};
    }
    tiles.queries = ltxmem::round_up(tiles.queries, ltxmem::row_quantum);
    tiles.keys = ltxmem::round_up(tiles.keys, ltxmem::key_quantum);
    return tiles;
  }

  struct Ends {
    Ends(const WeightScope& weights, const TransformerConfig& config)
        : video(weights, config, StreamKind::video), audio(weights, config, StreamKind::audio) {}

    StreamEnds<T, Backend> video;
    StreamEnds<T, Backend> audio;
  };

  TransformerConfig config_;
};

}  // namespace ltx2
