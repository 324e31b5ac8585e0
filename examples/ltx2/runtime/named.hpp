// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace ltx2 {

/// That of the values which has the name, name_of(value), if any.
template <class Value, std::size_t count, class NameOf>
constexpr std::optional<Value> find_named(const std::array<Value, count>& values, NameOf&& name_of,
                                          std::string_view name) noexcept {
  for (const Value& value : values) {
    if (name_of(value) == name) return value;
  }
  return std::nullopt;
}

}  // namespace ltx2
