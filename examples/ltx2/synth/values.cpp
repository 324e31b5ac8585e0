// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "synth/values.hpp"

#include <cmath>
#include <cstddef>
#include <numbers>

namespace ltx2 {

namespace {

/// Modified Bessel function of the first kind, order 0, by its power series: the sum of ((x/2)^k / k!)^2.
double bessel_i0(double x) noexcept {
  double sum = 1, term = 1;
  for (int k = 1; term > sum * 1e-18; ++k) {
    term *= (x / (2 * k)) * (x / (2 * k));
    sum += term;
  }
  return sum;
}

double sinc(double x) noexcept {
  const double y = std::numbers::pi * (x == 0 ? 1e-20 : x);
  return std::sin(y) / y;
}

/// The sum as array programs form it: eight interleaved partial sums, joined in pairs, then the rest one by one.
double pairwise_sum(const std::vector<double>& values) noexcept {
  std::size_t i = 0;
  double sum = 0;
  if (values.size() >= 8) {
    double part[8];
    for (; i < 8; ++i) part[i] = values[i];
    for (; i + 8 <= values.size(); i += 8) {
      for (std::size_t j = 0; j < 8; ++j) part[j] += values[i + j];
    }
    sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
  }
  for (; i < values.size(); ++i) sum += values[i];
  return sum;
}

/// Two-dimensional binomial blur, 5 x 5.
std::vector<double> binomial_kernel() {
  const double row[] = {1.0 / 16, 4.0 / 16, 6.0 / 16, 4.0 / 16, 1.0 / 16};
  std::vector<double> kernel;
  for (const double y : row) {
    for (const double x : row) kernel.push_back(y * x);
  }
  return kernel;
}

/// Discrete Fourier transform with a Hann window: the rows of the real parts, then those of the imaginary parts.
std::vector<double> fourier_basis(std::int64_t rows, std::int64_t length) {
  const std::int64_t bins = rows / 2;
  const auto n_double = static_cast<double>(length);
  std::vector<double> basis(static_cast<std::size_t>(2 * bins * length));
  for (std::int64_t k = 0; k < bins; ++k) {
    for (std::int64_t n = 0; n < length; ++n) {
      const double window = 0.5 - 0.5 * std::cos(2 * std::numbers::pi * static_cast<double>(n) / n_double);
      const double phase = 2 * std::numbers::pi * static_cast<double>((k * n) % length) / n_double;
      const auto at = static_cast<std::size_t>(k * length + n);
      basis[at] = std::cos(phase) * window;
      basis[at + static_cast<std::size_t>(bins * length)] = -std::sin(phase) * window;
    }
  }
  return basis;
}

bool contains(std::string_view text, std::string_view part) noexcept {
  return text.find(part) != std::string_view::npos;
}

/// True when the last two parts of a dotted name are these.
bool ends_with_parts(std::string_view name, std::string_view parts) noexcept {
  return name == parts || (name.ends_with(parts) && name[name.size() - parts.size() - 1] == '.');
}

}  // namespace

std::uint32_t fnv1a(std::string_view text) noexcept {
  std::uint32_t hash = 2166136261U;
  for (const char byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 16777619U;
  return hash;
}

TensorValues::TensorValues(const Description& description, const std::string& name,
                           const std::vector<std::int64_t>& shape)
    : hash_(fnv1a(description.salt.empty() ? name : description.salt + "/" + name)) {
  if (contains(name, "q_norm") || contains(name, "k_norm") || name.ends_with("std-of-means") ||
      ends_with_parts(name, "initial_norm.weight") || ends_with_parts(name, "norm1.weight") ||
      ends_with_parts(name, "norm2.weight")) {
    rule_ = Rule::around_one;
  } else if (name.ends_with("mel_basis")) {
    rule_ = Rule::positive;
  } else if (contains(name, "table")) {
    factor_ = 0.5;
  } else if (shape.size() == 1) {
    factor_ = 0.2;
  } else {
    std::int64_t fan_in = 1;
    for (std::size_t axis = 1; axis < shape.size(); ++axis) fan_in *= shape[axis];
    factor_ = 1.7;
    divisor_ = std::sqrt(static_cast<double>(fan_in));
  }
  for (const auto& [part, gain] : description.gains) {
    if (contains(name, part)) {
      gain_ = gain;
      break;
    }
  }
}

double TensorValues::operator()(std::uint64_t index) const noexcept {
  std::uint32_t s = static_cast<std::uint32_t>(index * 2654435761U) ^ hash_;
  s *= 2246822519U;
  s ^= s >> 15;
  s *= 3266489917U;
  s ^= s >> 13;
  const double u = static_cast<double>(s) / 2147483648.0 - 1.0;
  double value = 0;
  switch (rule_) {
    case Rule::around_one: value = 1 + 0.3 * u; break;
    case Rule::positive: value = 0.05 * (1 + u); break;
    case Rule::scaled: value = factor_ * u / divisor_; break;
  }
  return gain_ ? value * *gain_ : value;
}

std::vector<double> kaiser_filter(std::int64_t taps, double cutoff, double half_width) {
  const auto half = static_cast<double>(taps / 2);
  const double attenuation = 2.285 * (half - 1) * std::numbers::pi * 4 * half_width + 7.95;
  const double beta = 0.5842 * std::pow(attenuation - 21, 0.4) + 0.07886 * (attenuation - 21);
  const double center = static_cast<double>(taps - 1) / 2.0;
  std::vector<double> filter;
  for (std::int64_t i = 0; i < taps; ++i) {
    const double x = (static_cast<double>(i) - center) / center;
    const double window = bessel_i0(beta * std::sqrt(1 - x * x)) / bessel_i0(beta);
    const double t = static_cast<double>(i) - half + 0.5;
    filter.push_back(2 * cutoff * window * sinc(2 * cutoff * t));
  }
  const double sum = pairwise_sum(filter);
  for (double& value : filter) value /= sum;
  return filter;
}

std::optional<std::vector<double>> fixed_values(std::string_view name, const std::vector<std::int64_t>& shape) {
  if (name.ends_with(".filter")) return kaiser_filter(shape.back());
  if (name.ends_with("blur_down.kernel")) return binomial_kernel();
  if (name.ends_with("_basis") && contains(name, "stft_fn")) return fourier_basis(shape.front(), shape.back());
  return std::nullopt;
}

}  // namespace ltx2
