// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <variant>

#include "ltxmem/backend/cuda/target.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/core/device.hpp"
#include "runtime/host_backend.hpp"

namespace ltx2 {

/// What the backend of a device needs besides its operands, the device being chosen when the program runs. A card is
/// planned for in a build without CUDA as well.
class DeviceTarget {
 public:
  /// threads: of the processor.
  DeviceTarget(const ltxmem::Device& device, int threads) {
    if (device.kind == ltxmem::DeviceKind::cpu) target_ = HostBackend::Target{threads};
  }

  template <ltxmem::Element T>
  std::size_t linear_workspace_bytes(std::int64_t tokens, const ltxmem::WeightMatrix& weight) const {
    return visit([&](const auto& target) { return target.template linear_workspace_bytes<T>(tokens, weight); });
  }
  template <ltxmem::Element T>
  std::size_t attention_workspace_bytes(const ltxmem::AttentionTile<T>& tile) const {
    return visit([&](const auto& target) { return target.attention_workspace_bytes(tile); });
  }
  template <ltxmem::Element T>
  std::size_t convolution_workspace_bytes(const ltxmem::WeightMatrix& weight,
                                          const ltxmem::ConvolutionGeometry& geometry) const {
    return visit([&](const auto& target) { return target.template convolution_workspace_bytes<T>(weight, geometry); });
  }
  template <ltxmem::Element T>
  std::size_t transposed_workspace_bytes(const ltxmem::TransposedConvolutionArguments& arguments) const {
    return visit([&](const auto& target) { return target.template transposed_workspace_bytes<T>(arguments); });
  }

 private:
  template <class Fn>
  std::size_t visit(Fn&& fn) const {
    return std::visit(std::forward<Fn>(fn), target_);
  }

  std::variant<ltxmem::CudaTarget, HostBackend::Target> target_;
};

using PlanBackend = ltxmem::DryRunBackend<DeviceTarget>;

}  // namespace ltx2
