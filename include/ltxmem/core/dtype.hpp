// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ltxmem/config.hpp"
#include "ltxmem/core/error.hpp"

/// Storage types narrower than float and the run-time name of every element type.
///
/// The types only store: arithmetic happens in float. They are bit-compatible with the CUDA types of the same format.
/// Narrowing rounds to nearest, ties to even; NaN stays NaN; float8_e4m3 saturates at 448 (it has no infinity).

namespace ltxmem {

namespace detail {

LTXMEM_HOST_DEVICE constexpr std::uint16_t bfloat16_bits(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  // Without a branch, and with as few instructions as can be: loops over it are to be vectorised. NaN becomes quiet.
  const std::uint32_t increment = value != value ? ~bits & 0x400000U : 0x7fffU + ((bits >> 16) & 1U);
  return static_cast<std::uint16_t>((bits + increment) >> 16);
}

LTXMEM_HOST_DEVICE constexpr std::uint16_t half_bits(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U);
  if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);  // 65520 and above round to infinity
  if (magnitude < 0x38800000U) {  // below the smallest normal, 2^-14: the unit in the last place is 2^-24
    const float scaled = std::bit_cast<float>(magnitude) * 16777216.0F;
    const auto floor = static_cast<std::uint32_t>(scaled);
    const float rest = scaled - static_cast<float>(floor);
    const bool up = rest > 0.5F || (rest == 0.5F && (floor & 1U) != 0);
    return static_cast<std::uint16_t>(sign | (floor + (up ? 1U : 0U)));
  }
  const std::uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

LTXMEM_HOST_DEVICE constexpr float half_value(std::uint16_t bits) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU;
  const std::uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 5.9604644775390625e-8F;  // 2^-24
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

LTXMEM_HOST_DEVICE constexpr std::uint8_t float8_e4m3_bits(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 24) & 0x80U;
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<std::uint8_t>(sign | 0x7fU);
  if (magnitude >= 0x43e00000U) return static_cast<std::uint8_t>(sign | 0x7eU);  // 448 and above saturate
  if (magnitude < 0x3c800000U) {  // below the smallest normal, 2^-6: the unit in the last place is 2^-9
    const float scaled = std::bit_cast<float>(magnitude) * 512.0F;
    const auto floor = static_cast<std::uint32_t>(scaled);
    const float rest = scaled - static_cast<float>(floor);
    const bool up = rest > 0.5F || (rest == 0.5F && (floor & 1U) != 0);
    return static_cast<std::uint8_t>(sign | (floor + (up ? 1U : 0U)));
  }
  const std::uint32_t rounded = magnitude + 0x7ffffU + ((magnitude >> 20) & 1U);
  const std::uint32_t code = (rounded - 0x3c000000U) >> 20;
  return static_cast<std::uint8_t>(sign | (code > 0x7eU ? 0x7eU : code));
}

LTXMEM_HOST_DEVICE constexpr float float8_e4m3_value(std::uint8_t bits) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80U) << 24;
  const std::uint32_t exponent = (bits >> 3) & 0xfU;
  const std::uint32_t mantissa = bits & 0x7U;
  if (exponent == 15 && mantissa == 7) return std::bit_cast<float>(sign | 0x7fc00000U);
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 0.001953125F;  // 2^-9
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
  }
  return std::bit_cast<float>(sign | ((exponent + 120U) << 23) | (mantissa << 20));
}

}  // namespace detail

/// The upper half of a float: 8 exponent bits, 7 mantissa bits.
struct bfloat16 {
  std::uint16_t bits = 0;

  bfloat16() = default;
  LTXMEM_HOST_DEVICE constexpr explicit bfloat16(float value) noexcept : bits(detail::bfloat16_bits(value)) {}
  LTXMEM_HOST_DEVICE constexpr explicit operator float() const noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

/// IEEE 754 binary16.
struct half {
  std::uint16_t bits = 0;

  half() = default;
  LTXMEM_HOST_DEVICE constexpr explicit half(float value) noexcept : bits(detail::half_bits(value)) {}
  LTXMEM_HOST_DEVICE constexpr explicit operator float() const noexcept { return detail::half_value(bits); }
};

/// 4 exponent bits (bias 7), 3 mantissa bits, no infinity, largest value 448. Weights only.
struct float8_e4m3 {
  std::uint8_t bits = 0;

  float8_e4m3() = default;
  LTXMEM_HOST_DEVICE constexpr explicit float8_e4m3(float value) noexcept : bits(detail::float8_e4m3_bits(value)) {}
  LTXMEM_HOST_DEVICE constexpr explicit operator float() const noexcept { return detail::float8_e4m3_value(bits); }
};

/// Run-time name of an element type. The spelling of dtype_name() is the one of safetensors headers.
enum class DType : std::uint8_t { f32, bf16, f16, f8_e4m3, f64, i8, u8, i16, i32, i64, boolean };

constexpr std::size_t dtype_bytes(DType dtype) noexcept {
  switch (dtype) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::bf16:
    case DType::f16:
    case DType::i16: return 2;
    case DType::f8_e4m3:
    case DType::i8:
    case DType::u8:
    case DType::boolean: return 1;
  }
  return 0;
}

constexpr std::string_view dtype_name(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32: return "F32";
    case DType::bf16: return "BF16";
    case DType::f16: return "F16";
    case DType::f8_e4m3: return "F8_E4M3";
    case DType::f64: return "F64";
    case DType::i8: return "I8";
    case DType::u8: return "U8";
    case DType::i16: return "I16";
    case DType::i32: return "I32";
    case DType::i64: return "I64";
    case DType::boolean: return "BOOL";
  }
  return "?";
}

template <class T>
inline constexpr bool is_element_v = std::same_as<T, float> || std::same_as<T, bfloat16> || std::same_as<T, half>;

/// A type that activations are stored in.
template <class T>
concept Element = is_element_v<T>;

namespace detail {
template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<bfloat16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<half> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<float8_e4m3> {
  static constexpr DType value = DType::f8_e4m3;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<std::int8_t> {
  static constexpr DType value = DType::i8;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<std::int16_t> {
  static constexpr DType value = DType::i16;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::boolean;
};
}  // namespace detail

template <class T>
inline constexpr DType dtype_of = detail::DTypeOf<std::remove_const_t<T>>::value;

/// Calls fn with a null pointer of the C++ type behind a floating dtype; ShapeError for any other.
template <class Fn>
decltype(auto) with_floating_type(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::f32: return fn(static_cast<const float*>(nullptr));
    case DType::bf16: return fn(static_cast<const bfloat16*>(nullptr));
    case DType::f16: return fn(static_cast<const half*>(nullptr));
    case DType::f8_e4m3: return fn(static_cast<const float8_e4m3*>(nullptr));
    default: break;
  }
  throw ShapeError(std::string("expected a floating type of at most 32 bits, found ") + std::string(dtype_name(dtype)));
}

static_assert(sizeof(bfloat16) == 2 && sizeof(half) == 2 && sizeof(float8_e4m3) == 1);

}  // namespace ltxmem
