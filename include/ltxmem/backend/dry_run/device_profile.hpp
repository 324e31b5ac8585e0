// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "ltxmem/backend/dry_run/record.hpp"

namespace ltxmem {

/// What a machine can do, for predicting how long a recorded program takes on it.
///
/// Rates are peaks as the vendor states them; what programs reach of them is said apart, by the fractions. An operation
/// takes operation_latency_s + max(flops / (rate * matrix_fraction), bytes / (memory rate * memory_fraction)), vector
/// work being held to vector_flops_per_s * memory_fraction; a transfer takes transfer_latency_s + bytes / (rate *
/// link_fraction), on the network and from disk bytes / rate.
struct DeviceProfile {
  std::string name{};
  std::string source{};  ///< where the figures come from, and which are assumed
  std::int64_t memory_bytes = 0;
  double f32_flops_per_s = 0;   ///< matrix products of f32 operands, not rounded to TF32
  double bf16_flops_per_s = 0;  ///< dense, fp32 accumulation; so the two below
  double f16_flops_per_s = 0;
  double f8_flops_per_s = 0;  ///< where the device has no such products: the rate of bf16, to which fp8 is expanded
  double f32_attention_flops_per_s = 0;  ///< flops of both products of attention, softmax between them included
  double bf16_attention_flops_per_s = 0;
  double f16_attention_flops_per_s = 0;
  double vector_flops_per_s = 0;
  double memory_bytes_per_s = 0;
  double link_in_bytes_per_s = 0;   ///< host to device
  double link_out_bytes_per_s = 0;  ///< device to host
  double network_bytes_per_s = 0;   ///< to other devices, per direction: messages, and copies to and from their memory
  double disk_bytes_per_s = 0;
  double operation_latency_s = 0;  ///< of each operation, launch included
  double transfer_latency_s = 0;   ///< of each transfer, message or read
  double matrix_fraction = 1;
  double memory_fraction = 1;
  double link_fraction = 1;

  double flops_per_s(Arithmetic arithmetic) const noexcept {
    switch (arithmetic) {
      case Arithmetic::f32: return f32_flops_per_s * matrix_fraction;
      case Arithmetic::bf16: return bf16_flops_per_s * matrix_fraction;
      case Arithmetic::f16: return f16_flops_per_s * matrix_fraction;
      case Arithmetic::f8: return f8_flops_per_s * matrix_fraction;
      case Arithmetic::f32_attention: return f32_attention_flops_per_s * matrix_fraction;
      case Arithmetic::bf16_attention: return bf16_attention_flops_per_s * matrix_fraction;
      case Arithmetic::f16_attention: return f16_attention_flops_per_s * matrix_fraction;
      case Arithmetic::vector: break;
    }
    return vector_flops_per_s * memory_fraction;
  }

  double bytes_per_s(WorkQueue queue) const noexcept {
    switch (queue) {
      case WorkQueue::compute: return memory_bytes_per_s * memory_fraction;
      case WorkQueue::copy_in: return link_in_bytes_per_s * link_fraction;
      case WorkQueue::copy_out: return link_out_bytes_per_s * link_fraction;
      case WorkQueue::network:
      case WorkQueue::peer_in:
      case WorkQueue::peer_out: return network_bytes_per_s;
      case WorkQueue::disk: break;
    }
    return disk_bytes_per_s;
  }
};

namespace detail {

/// Figures of a card; the rest is assumed alike for all: 10 Gbit/s Ethernet, an NVMe disk, launches of 5 us. Attention
/// has the peak of products, since its flops are theirs, and the same fraction of it: FlashAttention-2 reaches from 50
/// to 73 % of the peak of an A100 (arXiv 2307.08691, abstract).
inline DeviceProfile graphics_card(std::string name, std::string source, int gibibytes, double f32_tflops,
                                   double f16_tflops, double f8_tflops, double memory_gb_per_s, double link_gb_per_s) {
  return {.name = std::move(name),
          .source = std::move(source) +
                    "; dense, fp32 accumulation; assumed: fractions, latencies, network (10 GbE), disk (NVMe)",
          .memory_bytes = std::int64_t{gibibytes} << 30,
          .f32_flops_per_s = f32_tflops * 1e12,
          .bf16_flops_per_s = f16_tflops * 1e12,
          .f16_flops_per_s = f16_tflops * 1e12,
          .f8_flops_per_s = f8_tflops * 1e12,
          .f32_attention_flops_per_s = f32_tflops * 1e12,
          .bf16_attention_flops_per_s = f16_tflops * 1e12,
          .f16_attention_flops_per_s = f16_tflops * 1e12,
          .vector_flops_per_s = f32_tflops * 1e12,
          .memory_bytes_per_s = memory_gb_per_s * 1e9,
          .link_in_bytes_per_s = link_gb_per_s * 1e9,
          .link_out_bytes_per_s = link_gb_per_s * 1e9,
          .network_bytes_per_s = 1.25e9,
          .disk_bytes_per_s = 3e9,
          .operation_latency_s = 5e-6,
          .transfer_latency_s = 10e-6,
          .matrix_fraction = 0.7,
          .memory_fraction = 0.8,
          .link_fraction = 0.8};
}

}  // namespace detail

/// The profiles that need no file. GeForce cards run products that accumulate in fp32 at half the rate that their
/// boxes advertise. Links: 31.5 GB/s is PCI Express 4.0 x16, 63 GB/s 5.0 x16, per
/// direction.
inline const std::array<DeviceProfile, 9>& built_in_device_profiles() {
  static const std::array<DeviceProfile, 9> profiles{
      // Twice the fp32 rate of the shaders, as in the GA102 whitepaper's table for this generation.
      detail::graphics_card("rtx3060", "NVIDIA GeForce RTX 3060 specifications (12 GB); NVIDIA GA102 whitepaper", 12,
                            12.7, 25.5, 25.5, 360, 31.5),
      detail::graphics_card("rtx3090", "NVIDIA Ampere GA102 GPU architecture whitepaper", 24, 35.6, 71, 71, 936, 31.5),
      detail::graphics_card("rtx4070", "NVIDIA Ada GPU architecture whitepaper; GeForce RTX 4070 specifications", 12,
                            29.1, 58.3, 116.6, 504, 31.5),
      detail::graphics_card("rtx4090", "NVIDIA Ada GPU architecture whitepaper", 24, 82.6, 165.2, 330.3, 1008, 31.5),
      detail::graphics_card("rtx5090", "NVIDIA RTX Blackwell GPU architecture whitepaper", 32, 104.8, 209.5, 419, 1792,
                            63),
      detail::graphics_card("a100", "NVIDIA A100 80GB SXM data sheet", 80, 19.5, 312, 312, 2039, 31.5),
      detail::graphics_card("h100", "NVIDIA H100 SXM data sheet (halved where it counts sparsity)", 80, 67, 989.5, 1979,
                            3350, 63),
      detail::graphics_card("a6000", "NVIDIA RTX A6000 data sheet; NVIDIA GA102 whitepaper", 48, 38.7, 154.8, 154.8,
                            768, 31.5),
      // Two cores with AVX-512, to have an order of magnitude; measured figures replace it.
      DeviceProfile{.name = "cpu",
                    .source = "assumed for a small machine; measure yours with a calibration",
                    .memory_bytes = std::int64_t{16} << 30,
                    .f32_flops_per_s = 1e11,
                    .bf16_flops_per_s = 1e11,
                    .f16_flops_per_s = 1e11,
                    .f8_flops_per_s = 1e11,
                    .f32_attention_flops_per_s = 1e11,
                    .bf16_attention_flops_per_s = 1e11,
                    .f16_attention_flops_per_s = 1e11,
                    .vector_flops_per_s = 1e10,
                    .memory_bytes_per_s = 1e10,
                    .link_in_bytes_per_s = 5e9,
                    .link_out_bytes_per_s = 5e9,
                    .network_bytes_per_s = 1.25e8,
                    .disk_bytes_per_s = 1e9,
                    .operation_latency_s = 2e-6,
                    .transfer_latency_s = 5e-6}};
  return profiles;
}

/// The built-in profile of that name, or nullptr.
inline const DeviceProfile* find_device_profile(std::string_view name) {
  for (const DeviceProfile& profile : built_in_device_profiles()) {
    if (profile.name == name) return &profile;
  }
  return nullptr;
}

}  // namespace ltxmem
