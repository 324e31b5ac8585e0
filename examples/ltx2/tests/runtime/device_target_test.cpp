// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/device_target.hpp"

#include <cstdint>

#include "runtime/runtime.hpp"
#include "support/catch.hpp"

namespace ltx2 {
namespace {

using ltxmem::bfloat16;
using ltxmem::DType;
using ltxmem::Extents;
using ltxmem::WeightMatrix;

constexpr std::int64_t tokens = 300;
constexpr int threads = 3;
const ltxmem::Device first_card{ltxmem::DeviceKind::cuda, 0};

WeightMatrix described(std::int64_t rows, std::int64_t columns) {
  WeightMatrix weight;
  weight.rows = rows;
  weight.columns = columns;
  weight.row_stride = columns;
  weight.dtype = DType::f32;
  return weight;
}

}  // namespace

TEST_CASE("A device's scratch is what its backend asks for", "[runtime]") {
  const ltxmem::CudaTarget cuda;
  const HostBackend::Target host{threads};
  const DeviceTarget on_card(first_card, threads);
  const DeviceTarget on_host({}, threads);
  const WeightMatrix weight = described(96, 3 * 3 * 3 * 8);
  CHECK(on_card.linear_workspace_bytes<bfloat16>(tokens, weight) ==
        cuda.linear_workspace_bytes<bfloat16>(tokens, weight));
  CHECK(on_host.linear_workspace_bytes<bfloat16>(tokens, weight) ==
        host.linear_workspace_bytes<bfloat16>(tokens, weight));

  ltxmem::ConvolutionGeometry geometry;
  geometry.kernel = {3, 3, 3};
  CHECK(host.convolution_workspace_bytes<float>(weight, geometry) > 0);
  CHECK(on_card.convolution_workspace_bytes<float>(weight, geometry) == 0);
  CHECK(cuda.convolution_workspace_bytes<bfloat16>(weight, geometry) > 0);
  CHECK(on_card.convolution_workspace_bytes<bfloat16>(weight, geometry) ==
        cuda.convolution_workspace_bytes<bfloat16>(weight, geometry));
  CHECK(on_host.convolution_workspace_bytes<float>(weight, geometry) ==
        host.convolution_workspace_bytes<float>(weight, geometry));
}

TEST_CASE("The settings' device decides for whom is planned", "[runtime]") {
  const WeightMatrix weight = described(64, 64);
  const auto planned = [&](const ltxmem::Device& device) {
    Settings settings;
    settings.device = device;
    settings.threads = threads;
    const Runtime runtime(settings, Runtime::DryRun{});
    const Runtime::Plan plan = runtime.plan([&](PlanBackend& backend, ltxmem::Workspace& workspace) {
      const ltxmem::LinearTerm<float> term{{nullptr, {tokens, 64}}, weight};
      backend.linear<float>({&term, 1}, ltxmem::LinearEpilogue<float>{}, {nullptr, Extents<2>{tokens, 64}},
                            workspace.device);
    });
    return plan.peak[0];
  };
  CHECK(planned(first_card) ==
        ltxmem::aligned_bytes(ltxmem::CudaTarget().linear_workspace_bytes<float>(tokens, weight)));
  CHECK(planned({}) ==
        ltxmem::aligned_bytes(HostBackend::Target{threads}.linear_workspace_bytes<float>(tokens, weight)));
}

}  // namespace ltx2
