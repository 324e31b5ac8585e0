// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "ltxmem/attention/online_softmax.hpp"
#include "transformer/stream_block.hpp"

namespace ltx2 {

/// One block of the transformer, in an order in which only x, keys and values exist for all video tokens.
///
/// Computes  the updates of transformer.md 7: self attention, text attention, cross-modal attention in both directions
///           from the states before it, feed-forward; for one stream or both
/// Order     audio attention first. Then the keys and values that the video needs: its own (one pass over x) and the
///           audio's. Then one pass over tiles of video tokens that does everything to a tile while it is at hand: self
///           attention, text attention, its part as keys and values of the audio (folded into the audio's softmax
///           state before the tile changes), audio-to-video attention, feed-forward. Last the audio's update and
///           feed-forward. Tiles need each other only through keys and values that exist before the pass
/// Memory    2 * N * D elements for keys and values of the video, the same for audio and text, and scratch of one tile
/// Numerics  every row is independent of its tile; softmax sums run over quanta of keys in order, so no bit depends on
///           the tiles
/// Source    docs/ltx2/transformer.md 7
template <ltxmem::Element T, ltxmem::Backend<T> Backend>
class Block {
 public:
  Block(const WeightScope& weights, const TransformerConfig& config)
      : video_(weights, config, stream_shape(config, StreamKind::video)),
        audio_(weights, config, stream_shape(config, StreamKind::audio)),
        audio_to_video_(weights.scope("audio_to_video_attn"),
                        cross_options(config, config.width(), config.audio_width())),
        video_to_audio_(weights.scope("video_to_audio_attn"),
                        cross_options(config, config.audio_width(), config.width())) {}

  /// Either stream may be absent (null).
  void operator()(Backend& backend, const Stream<T>* video, const Stream<T>* audio, const BlockSkips& skips,
                  const Tiles& tiles, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const bool update_video = video != nullptr && video->enabled;
    const bool update_audio = audio != nullptr && audio->enabled;
    const bool both = video != nullptr && audio != nullptr;
    Rows video_rows;
    Rows audio_rows;
    if (video != nullptr) video_rows = video_.rows(backend, *video, arena);
    if (audio != nullptr) audio_rows = audio_.rows(backend, *audio, arena);

    if (update_audio) audio_attention(backend, *audio, audio_rows, skips.audio_self, tiles, arena);

    std::optional<KeyValues<T>> sound;
    if (both && update_video && !skips.audio_to_video) {
      sound = audio_.keys_values(backend, audio_to_video_, *audio, audio_rows.cross[scale_a2v],
                                 audio_rows.cross[shift_a2v], audio->cross_rotary, tiles, arena);
    }
    std::optional<Listener> listener;
    if (both && update_audio && !skips.video_to_audio) listener.emplace(listen(backend, *audio, audio_rows, arena));
    if (update_video || listener) {
      video_pass(backend, *video, video_rows, skips.video_self, sound ? &*sound : nullptr,
                 listener ? &*listener : nullptr, tiles, arena);
    }
    if (listener) heard(backend, *audio, audio_rows, *listener, arena);

    if (update_audio) {
      const ltxmem::Step step(backend, "audio feed-forward");
      ltxmem::for_each_tile(backend, audio->tokens(), tiles.queries, [&](std::int64_t begin, std::int64_t count) {
        audio_.feed_forward(backend, *audio, audio_rows, tiles, begin, count, arena);
      });
    }
  }

 private:
  using Rows = typename StreamBlock<T, Backend>::Rows;

  /// The audio's side of video-to-audio attention: its queries, and the softmax state that tiles of video are added to.
  struct Listener {
    ltxmem::TensorView<T, 2> q;
    ltxmem::TensorView<float, 2> gate;  // empty in a model without gates
    ltxmem::OnlineSoftmax<Backend> state;
  };

  static AttentionOptions cross_options(const TransformerConfig& config, std::int64_t query_inputs,
                                        std::int64_t key_inputs) {
    return {config.heads, config.audio_head_dim,  query_inputs,
            key_inputs,   config.gated_attention, static_cast<float>(config.norm_eps)};
  }

  void audio_attention(Backend& backend, const Stream<T>& audio, const Rows& rows, bool skip_self, const Tiles& tiles,
                       ltxmem::Arena& arena) const {
    const ltxmem::Step step(backend, "audio attention");
    const auto scope = arena.scope();
    std::optional<KeyValues<T>> own;
    if (!skip_self) own = audio_.self_keys_values(backend, audio, rows, tiles, arena);
    KeyValues<T> text = audio_.text_keys_values(backend, audio, rows, arena);
    ltxmem::for_each_tile(backend, audio.tokens(), tiles.queries, [&](std::int64_t begin, std::int64_t count) {
      audio_.self_attention(backend, audio, rows, own ? &*own : nullptr, tiles, begin, count, arena);
      audio_.text_attention(backend, audio, rows, text, tiles, begin, count, arena);
    });
  }

  /// The pass over tiles of video tokens. Without sound or listener that direction is left out; a video that is not
  /// enabled is only listened to.
  void video_pass(Backend& backend, const Stream<T>& video, const Rows& rows, bool skip_self, KeyValues<T>* sound,
                  Listener* listener, const Tiles& tiles, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    std::optional<KeyValues<T>> own;
    std::optional<KeyValues<T>> text;
    if (video.enabled) {
      const ltxmem::Step step(backend, "video keys and values");
      if (!skip_self) own = video_.self_keys_values(backend, video, rows, tiles, arena);
      text = video_.text_keys_values(backend, video, rows, arena);
    }
    const ltxmem::Step step(backend, "video queries");
    ltxmem::for_each_tile(backend, video.tokens(), tiles.queries, [&](std::int64_t begin, std::int64_t count) {
      if (video.enabled) {
        video_.self_attention(backend, video, rows, own ? &*own : nullptr, tiles, begin, count, arena);
        video_.text_attention(backend, video, rows, *text, tiles, begin, count, arena);
      }
      if (listener != nullptr) hear(backend, video, rows, *listener, tiles, begin, count, arena);
      if (sound != nullptr) see_sound(backend, video, rows, *sound, tiles, begin, count, arena);
      if (video.enabled) video_.feed_forward(backend, video, rows, tiles, begin, count, arena);
    });
  }

  /// x += gate * AudioToVideo(x) for a tile of video tokens.
  void see_sound(Backend& backend, const Stream<T>& video, const Rows& rows, KeyValues<T>& sound, const Tiles& tiles,
                 std::int64_t begin, std::int64_t count, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto input =
        video_.modulated(backend, video, rows.cross[scale_a2v], rows.cross[shift_a2v], begin, count, arena);
    const auto x = video.x.rows(begin, count);
    audio_to_video_.attend(backend, input, video.cross_rotary.tokens(begin, count), sound.keys, sound.values, {},
                           tiles.keys, StreamBlock<T, Backend>::gated_residual(x, rows.cross_gate), x, arena);
  }

  Listener listen(Backend& backend, const Stream<T>& audio, const Rows& rows, ltxmem::Arena& arena) const {
    const std::int64_t tokens = audio.tokens();
    const auto q = arena.take<T, 2>("audio queries", {tokens, video_to_audio_.inner()});
    ltxmem::TensorView<float, 2> gate;
    if (video_to_audio_.gated()) gate = arena.take<float, 2>("head gate", {tokens, video_to_audio_.heads()});
    Listener listener{q, gate, {backend, arena, tokens, video_to_audio_.heads(), video_to_audio_.head_dim()}};
    const auto scope = arena.scope();
    const auto input = audio_.modulated(backend, audio, rows.cross[scale_v2a], rows.cross[shift_v2a], 0, tokens, arena);
    video_to_audio_.queries(backend, input, audio.cross_rotary, q, arena);
    if (!gate.empty()) video_to_audio_.gate(backend, input, gate, arena);
    return listener;
  }

  /// Adds a tile of video tokens, as keys and values, to what the audio has seen.
  void hear(Backend& backend, const Stream<T>& video, const Rows& rows, Listener& listener, const Tiles& tiles,
            std::int64_t begin, std::int64_t count, ltxmem::Arena& arena) const {
    const auto scope = arena.scope();
    const auto input =
        video_.modulated(backend, video, rows.cross[scale_v2a], rows.cross[shift_v2a], begin, count, arena);
    const auto k = arena.take<T, 2>("keys", {count, video_to_audio_.inner()});
    const auto v = arena.take<T, 2>("values", {count, video_to_audio_.inner()});
    video_to_audio_.keys(backend, input, video.cross_rotary.tokens(begin, count), k, arena);
    video_to_audio_.values(backend, input, v, arena);
    ltxmem::AttentionExtras extras;
    extras.key_begin = begin;
    video_to_audio_.tiled({.key_tile = tiles.keys})
        .accumulate(backend, listener.q, k, v, listener.state.view(), arena, extras);
  }

  /// y += gate * to_out(what the audio has seen of the video).
  void heard(Backend& backend, const Stream<T>& audio, const Rows& rows, const Listener& listener,
             ltxmem::Arena& arena) const {
    listener.state.template finalize<T>(listener.q, listener.gate);
    video_to_audio_.output(backend, listener.q, StreamBlock<T, Backend>::gated_residual(audio.x, rows.cross_gate),
                           audio.x, arena);
  }

  StreamBlock<T, Backend> video_;
  StreamBlock<T, Backend> audio_;
  Attention<T, Backend> audio_to_video_;
  Attention<T, Backend> video_to_audio_;
};

}  // namespace ltx2
