// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "ltxmem/core/device.hpp"
#include "runtime/named.hpp"

/// The memory schemes: where the long tensors of the video lie while a block works, and in which order it works. All
/// compute the same function and the same bits.

namespace ltx2 {

enum class Scheme : std::uint8_t { plain, e1, e2, e3, e4 };

inline constexpr std::array<Scheme, 5> schemes{Scheme::plain, Scheme::e1, Scheme::e2, Scheme::e3, Scheme::e4};

constexpr std::string_view scheme_name(Scheme scheme) noexcept {
  constexpr std::array<std::string_view, schemes.size()> names{"plain", "E1", "E2", "E3", "E4"};
  return names[static_cast<std::size_t>(scheme)];
}

constexpr std::optional<Scheme> find_scheme(std::string_view name) noexcept {
  return find_named(schemes, scheme_name, name);
}

/// In which order self attention of the video works.
enum class AttentionOrder : std::uint8_t {
  whole,   ///< all tokens at once: one tile
  tiles,   ///< keys and values of all heads, then everything else for one tile of tokens after the other
  groups,  ///< one group of heads after the other, each with its keys and values; the attended rows are kept
};

/// A scheme, read as a table. u is one row of x for every video token: tokens * width * bytes of an element.
struct SchemeTable {
  ltxmem::MemorySpace x;
  ltxmem::MemorySpace keys_values;
  AttentionOrder order;
};

constexpr SchemeTable scheme_table(Scheme scheme) noexcept {
  constexpr auto device = ltxmem::MemorySpace::device;
  constexpr auto pinned = ltxmem::MemorySpace::pinned;
  switch (scheme) {
    case Scheme::plain: return {.x = device, .keys_values = device, .order = AttentionOrder::whole};
    case Scheme::e1: return {.x = device, .keys_values = device, .order = AttentionOrder::tiles};
    case Scheme::e2: return {.x = device, .keys_values = device, .order = AttentionOrder::groups};
    case Scheme::e3: return {.x = device, .keys_values = pinned, .order = AttentionOrder::tiles};
    case Scheme::e4: return {.x = pinned, .keys_values = pinned, .order = AttentionOrder::tiles};
  }
  return {};
}

/// Heads of a group: an eighth of all, or one where eight do not divide them, or there are none. Where ranks divide a
/// group among them it has heads for all of them: the next number that divides both, or all heads.
constexpr std::int64_t heads_per_group(std::int64_t heads, std::int64_t among = 1) noexcept {
  std::int64_t group = heads > 0 && heads % 8 == 0 ? heads / 8 : 1;
  while (group < heads && (heads % group != 0 || group % among != 0)) ++group;
  return group;
}

}  // namespace ltx2
