// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "ltxmem/attention/online_softmax.hpp"
#include "runtime/scheme.hpp"
#include "transformer/stream_block.hpp"

namespace ltx2 {

/// One block of the transformer, in an order in which at most x, keys and values exist for all video tokens, each
/// where the scheme places it.
///
/// Computes  the updates of transformer.md 7: self attention, text attention, cross-modal attention in both directions
///           from the states before it, feed-forward; for one stream or both
/// Ranks     each runs the block on its own tokens of the video and of the audio. Those of the video meet in self
///           attention; the audio is short, so whatever tokens of other ranks attend to of it is sent to all of them.
///           Ranks that share the heads of the same tokens do the same side by side, and meet behind every attention
///           and feed-forward network
/// Order     audio attention first. Then the keys and values that the video needs: its own (one pass over x) and the
///           audio's. Then one pass over tiles of video tokens that does everything to a tile while it is at hand: self
///           attention, text attention, its part as keys and values of the audio (folded into the audio's softmax
///           state before the tile changes), audio-to-video attention, feed-forward. Last the audio's update and
///           feed-forward. Tiles need each other only through keys and values that exist before the pass
/// Memory    2 * N * D elements for keys and values of the video where the scheme wants them, the same for audio and
///           text on the device, and scratch of one tile
/// Numerics  every row is independent of its tile; softmax sums run over quanta of keys in order, so no bit depends on
///           the tiles or on where the tensors lie
/// Source    docs/ltx2/transformer.md 7
template <ltxmem::Element T, ltxmem::Backend<T> Backend, ltxmem::Communicator<Backend> Ranks>
class Block {
 public:
  Block(const WeightScope& weights, const TransformerConfig& config, const HeadShare<Ranks>& share)
      : video_(weights, config, stream_shape(config, StreamKind::video), share),
        audio_(weights, config, stream_shape(config, StreamKind::audio), share),
        audio_to_video_(weights.scope("audio_to_video_attn"),
                        cross_options(config, config.width(), config.audio_width()), share),
        video_to_audio_(weights.scope("video_to_audio_attn"),
                        cross_options(config, config.audio_width(), config.width()), share) {}

  /// Either stream may be absent (null).
  void operator()(Backend& backend, TokenShares<Ranks>& shares, Stream<T, Backend>* video, Stream<T, Backend>* audio,
                  const BlockSkips& skips, const SchemeTable& scheme, const Tiles& tiles,
                  ltxmem::Workspace& workspace) const {
    ltxmem::Arena& arena = workspace.device;
    const auto scope = arena.scope();
    const bool update_video = video != nullptr && video->enabled;
    const bool update_audio = audio != nullptr && audio->enabled;
    const bool both = video != nullptr && audio != nullptr;
    Rows video_rows;
    Rows audio_rows;
    if (video != nullptr) video_rows = video_.rows(backend, *video, arena);
    if (audio != nullptr) audio_rows = audio_.rows(backend, *audio, arena);

    if (update_audio) audio_attention(backend, shares, *audio, audio_rows, skips.audio_self, tiles, arena);

    const bool is_seen = both && update_video && !skips.audio_to_video;
    const bool listens = both && update_audio && !skips.video_to_audio;
    std::optional<KeyValues<T, Backend>> sound;
    std::optional<Listener> listener;
    if (is_seen || listens) {
      const std::int64_t seen = is_seen ? 2 * audio_to_video_.inner() : 0;
      const std::int64_t asking = listens ? video_to_audio_.inner() : 0;
      const auto all = arena.take<T, 2>("audio of all ranks", {shares.audio.total(), seen + asking});
      const auto own = shares.own_audio(all);
      if (is_seen) {
        KeyValues<T, Backend> made = OneStream::side_by_side(own.columns(0, seen));
        audio_.make_keys_values(backend, audio_to_video_, *audio, audio_rows.cross[scale_a2v],
                                audio_rows.cross[shift_a2v], &TokenConditions::cross_rotary, tiles, made, arena);
        sound.emplace(OneStream::side_by_side(all.columns(0, seen)));
      }
      if (listens) {
        listener.emplace(listen(backend, *audio, audio_rows, all.columns(seen, asking), own.columns(seen, asking),
                                tiles, arena));
      }
      shares.gather_audio(backend, all);
    }
    if (update_video || listener) {
      video_pass(backend, shares, *video, video_rows, skips.video_self, sound ? &*sound : nullptr,
                 listener ? &*listener : nullptr, scheme, tiles, workspace);
    }
    if (listener) heard(backend, shares, *audio, audio_rows, *listener, tiles, arena);

    if (update_audio) {
      const ltxmem::Step step(backend, "audio feed-forward");
      for_each_tile_of(backend, *audio, tiles, arena, [&](const TokenConditions& at, ltxmem::TensorView<T, 2> y) {
        audio_.feed_forward(backend, audio_rows, tiles, at, y, arena);
      });
    }
  }

 private:
  using OneStream = StreamBlock<T, Backend, Ranks>;
  using Rows = typename OneStream::Rows;

  /// The audio's side of video-to-audio attention: the queries of all ranks, and the softmax state that tiles of video
  /// are added to.
  struct Listener {
    ltxmem::TensorView<T, 2> q;
    ltxmem::TensorView<T, 2> own;       // part of q
    ltxmem::TensorView<float, 2> gate;  // of the own ones; empty in a model without gates
    ltxmem::OnlineSoftmax<Backend> state;
  };

  /// fn(conditions, x) for tiles of tokens that it updates in place.
  template <class Fn>
  static void for_each_tile_of(Backend& backend, Stream<T, Backend>& stream, const Tiles& tiles, ltxmem::Arena& arena,
                               const Fn& fn) {
    ltxmem::update_tiles(backend, stream.x, tiles.queries, [&](std::int64_t begin, ltxmem::TensorView<T, 2> x) {
      const auto scope = arena.scope();
      fn(stream.conditions(backend, begin, x.extent(0), arena), x);
    });
  }

  static AttentionOptions cross_options(const TransformerConfig& config, std::int64_t query_inputs,
                                        std::int64_t key_inputs) {
    return {config.heads, config.audio_head_dim,  query_inputs,
            key_inputs,   config.gated_attention, static_cast<float>(config.norm_eps)};
  }

  void audio_attention(Backend& backend, const TokenShares<Ranks>& shares, Stream<T, Backend>& audio, const Rows& rows,
                       bool skip_self, const Tiles& tiles, ltxmem::Arena& arena) const {
    const ltxmem::Step step(backend, "audio attention");
    const auto scope = arena.scope();
    std::optional<KeyValues<T, Backend>> all;
    if (!skip_self) all.emplace(audio_.self_keys_values_of_all(backend, audio, rows, tiles, shares, arena));
    KeyValues<T, Backend> text = audio_.text_keys_values(backend, audio, rows, arena);
    for_each_tile_of(backend, audio, tiles, arena, [&](const TokenConditions& at, ltxmem::TensorView<T, 2> y) {
      audio_.self_attention(backend, audio, rows, all ? &*all : nullptr, tiles, at, y, arena);
      audio_.text_attention(backend, rows, text, tiles, at, y, arena);
    });
  }

  /// The pass over tiles of video tokens. Without sound or listener that direction is left out; a video that is not
  /// enabled is only listened to.
  void video_pass(Backend& backend, TokenShares<Ranks>& shares, Stream<T, Backend>& video, const Rows& rows,
                  bool skip_self, KeyValues<T, Backend>* sound, Listener* listener, const SchemeTable& scheme,
                  const Tiles& tiles, ltxmem::Workspace& workspace) const {
    ltxmem::Arena& arena = workspace.device;
    const auto scope = arena.scope();
    const auto off_device_scope = workspace.off_device_scope();
    if (!video.enabled) {
      const ltxmem::Step step(backend, "video heard");
      ltxmem::read_tiles(backend, video.x, tiles.queries, [&](std::int64_t begin, ltxmem::TensorView<const T, 2> x) {
        const auto tile_scope = arena.scope();
        hear(backend, rows, *listener, tiles, video.conditions(backend, begin, x.extent(0), arena), x, arena);
      });
      return;
    }
    std::optional<KeyValues<T, Backend>> own;
    std::optional<ltxmem::PlacedRowStore<T, Backend>> attended;
    std::optional<KeyValues<T, Backend>> text;
    {
      const ltxmem::Step step(backend, "video keys and values");
      if (!skip_self && shares.are_many()) {
        attended.emplace(video_.attend_over_ranks(backend, video, rows, tiles, scheme, shares, workspace));
      } else if (!skip_self && scheme.order == AttentionOrder::groups) {
        attended.emplace(video_.attend_by_groups(backend, video, rows, tiles, scheme.keys_values, workspace));
      } else if (!skip_self) {
        own.emplace(video_.self_keys_values(backend, video, rows, tiles, scheme.keys_values, workspace));
      }
      text.emplace(video_.text_keys_values(backend, video, rows, arena));
    }
    const ltxmem::Step step(backend, "video queries");
    for_each_tile_of(backend, video, tiles, arena, [&](const TokenConditions& at, ltxmem::TensorView<T, 2> x) {
      if (attended) {
        const auto tile = attended->load(backend, at.begin, x.extent(0));
        ltxmem::prefetch_tile(backend, *attended, at.begin + x.extent(0), tiles.queries);
        video_.take_attended(backend, rows, tile, at, x, arena);
      } else {
        video_.self_attention(backend, video, rows, own ? &*own : nullptr, tiles, at, x, arena);
      }
      video_.text_attention(backend, rows, *text, tiles, at, x, arena);
      if (listener != nullptr) hear(backend, rows, *listener, tiles, at, x, arena);
      if (sound != nullptr) see_sound(backend, rows, *sound, tiles, at, x, arena);
      video_.feed_forward(backend, rows, tiles, at, x, arena);
    });
  }

  /// x += gate * AudioToVideo(x) for a tile of video tokens.
  void see_sound(Backend& backend, const Rows& rows, KeyValues<T, Backend>& sound, const Tiles& tiles,
                 const TokenConditions& at, ltxmem::TensorView<T, 2> x, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto input = video_.modulated(backend, x, at, rows.cross[scale_a2v], rows.cross[shift_a2v], arena);
    audio_to_video_.attend(backend, input, at.cross_rotary, sound.keys, sound.values, {}, tiles.keys,
                           OneStream::gated_residual(x, rows.cross_gate), x, arena);
  }

  /// q: of all ranks; those of its own tokens are made here.
  Listener listen(Backend& backend, Stream<T, Backend>& audio, const Rows& rows, ltxmem::TensorView<T, 2> q,
                  ltxmem::TensorView<T, 2> own, const Tiles& tiles, ltxmem::Arena& arena) const {
    ltxmem::TensorView<float, 2> gate;
    if (video_to_audio_.gated()) gate = arena.take<float, 2>("head gate", {own.extent(0), video_to_audio_.heads()});
    Listener listener{
        q, own, gate, {backend, arena, q.extent(0), video_to_audio_.heads(), video_to_audio_.head_dim()}};
    ltxmem::read_tiles(backend, audio.x, tiles.queries, [&](std::int64_t begin, ltxmem::TensorView<const T, 2> y) {
      const auto scope = arena.scope();
      const std::int64_t count = y.extent(0);
      const TokenConditions at = audio.conditions(backend, begin, count, arena);
      const auto input = audio_.modulated(backend, y, at, rows.cross[scale_v2a], rows.cross[shift_v2a], arena);
      video_to_audio_.queries(backend, input, at.cross_rotary, own.rows(begin, count), arena);
      if (!gate.empty()) video_to_audio_.gate(backend, input, gate.rows(begin, count), arena);
    });
    return listener;
  }

  /// Adds a tile of video tokens, as keys and values, to what the audio has seen.
  void hear(Backend& backend, const Rows& rows, Listener& listener, const Tiles& tiles, const TokenConditions& at,
            ltxmem::TensorView<const T, 2> x, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto input = video_.modulated(backend, x, at, rows.cross[scale_v2a], rows.cross[shift_v2a], arena);
    const ltxmem::Extents<2> extents{x.extent(0), video_to_audio_.inner()};
    const auto k = arena.take<T, 2>("keys", extents);
    const auto v = arena.take<T, 2>("values", extents);
    video_to_audio_.keys(backend, input, at.cross_rotary, k, arena);
    video_to_audio_.values(backend, input, v, arena);
    if (!video_to_audio_.has_heads()) return;
    ltxmem::AttentionExtras extras;
    extras.key_begin = at.begin;
    video_to_audio_.tiled({.key_tile = tiles.keys})
        .accumulate(backend, listener.q, k, v, listener.state.view(), arena, extras);
  }

  /// y += gate * to_out(what the audio has seen of the video).
  void heard(Backend& backend, const TokenShares<Ranks>& shares, Stream<T, Backend>& audio, const Rows& rows,
             const Listener& listener, const Tiles& tiles, ltxmem::Arena& arena) const {
    if (video_to_audio_.has_heads() && shares.are_many()) {
      finalize_over_ranks<T>(backend, shares.ranks, shares.audio, listener.state.view(), listener.gate, listener.own,
                             arena);
    } else if (video_to_audio_.has_heads()) {
      listener.state.template finalize<T>(listener.own, listener.gate);
    }
    ltxmem::update_tiles(backend, audio.x, tiles.queries, [&](std::int64_t begin, ltxmem::TensorView<T, 2> y) {
      video_to_audio_.output(backend, listener.own.rows(begin, y.extent(0)),
                             OneStream::gated_residual(y, rows.cross_gate), y, arena);
    });
  }

  OneStream video_;
  OneStream audio_;
  typename OneStream::Layer audio_to_video_;
  typename OneStream::Layer video_to_audio_;
};

}  // namespace ltx2
