// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "audio/filters.hpp"
#include "audio/layers.hpp"
#include "ltxmem/ops/group_norm.hpp"
#include "ltxmem/parallel/message_ranks.hpp"
#include "ltxmem/parallel/tensor_parallel_linear.hpp"
#include "model/latent_statistics.hpp"
#include "text/connector.hpp"
#include "text/feature_extractor.hpp"
#include "text/gemma.hpp"
#include "transformer/stream_block.hpp"
#include "upsampler/latent_upsampler.hpp"
#include "video_vae/pixel_moves.hpp"

namespace ltx2 {

/// What the models give to for_each: a card has kernels of these function objects alone. Calls visit.operator()<Fn>()
/// for each.
template <class Visit>
void visit_card_functions(Visit&& visit) {
  const auto all = [&]<class... Fn>() { (visit.template operator()<Fn>(), ...); };
  all.template
  operator()<detail::LogMask, detail::RotaryAngles, detail::PromptStatistics, Unnormalise<float, float>,
             Normalise<float, float>, LeakyRelu, Accumulate, LimitSamples, AntiAliasedSnake, ResampleAndAdd,
             ChannelsOfMel, Magnitude, LogFloor, RepeatTwice<float>, ltxmem::detail::GroupMoments,
             ltxmem::detail::GroupChannelTable, ltxmem::detail::ReduceRanks<float>, ltxmem::detail::StartSums,
             ltxmem::detail::FactorToSquares, ltxmem::detail::SquaresToFactor>();
  const auto element = [&]<class T>() {
    all.template
    operator()<detail::AddTable<T>, detail::GateHeads<T>, detail::SiluTo<T>, detail::TimestepSinusoid<T>,
               detail::MultiplyBy<T>, detail::RowExtremes<T>, detail::NormalisePrompt<T>, Patchify<T>, Unpatchify<T>,
               SpaceToDepthSum<T>, DepthToSpace<T>, BlurDown<T>, ltxmem::detail::GroupChunkMoments<T>,
               ltxmem::detail::GroupNormApply<T>, ltxmem::detail::FinishRows<T>>();
  };
  element.template operator()<float>();
  element.template operator()<ltxmem::bfloat16>();
  all.template operator()<Unnormalise<float, ltxmem::bfloat16>, Normalise<ltxmem::bfloat16, float>>();
  const auto weight = [&]<class W>() {
    all.template
    operator()<detail::EmbedTokens<float, W>, detail::EmbedTokens<ltxmem::bfloat16, W>, detail::FillRegisters<float, W>,
               detail::FillRegisters<ltxmem::bfloat16, W>, detail::GatherColumns<W>>();
  };
  weight.template operator()<float>();
  weight.template operator()<ltxmem::bfloat16>();
  weight.template operator()<ltxmem::half>();
  weight.template operator()<ltxmem::float8_e4m3>();
}

}  // namespace ltx2
