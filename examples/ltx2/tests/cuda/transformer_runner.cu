// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "tests/cuda/transformer_runner.hpp"

#include "ltxmem/backend/cuda/backend.cuh"
#include "ltxmem/backend/cuda/cuda_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/parallel/communicator.hpp"
#include "transformer/transformer.hpp"

namespace ltx2::test {

WorkspaceBytes transform_on_cuda(const Checkpoint& checkpoint, const TransformerConfig& config,
                                 const Settings& settings, const WorkspaceBytes& planned, int calls,
                                 const TransformerInput& input, const TransformerOutput& output) {
  ltxmem::CudaBackend backend;
  ltxmem::CudaResource device(backend.stream());
  ltxmem::PinnedResource pinned;
  ltxmem::HostResource host;
  ltxmem::Workspace workspace{{device, planned[0]}, {pinned, planned[1]}, {host, planned[2]}};
  const TransformerWeights weights(checkpoint, config, settings.weights);
  const Transformer<float, ltxmem::CudaBackend> transformer(weights, config);
  const auto stream_of = [&](const ModelBlocks& blocks) {
    return BlockStream<ltxmem::CudaBackend>(backend, blocks, blocks.options(), workspace);
  };
  {
    BlockStream<ltxmem::CudaBackend> ends = stream_of(weights.ends);
    BlockStream<ltxmem::CudaBackend> blocks = stream_of(weights.blocks);
    ltxmem::SingleRank rank;
    const std::int64_t tokens = input.video ? input.video->tokens() : 0;
    TokenShares<ltxmem::SingleRank> shares{rank, ltxmem::Partition::even(tokens, 1)};
    for (int call = 0; call < calls; ++call) {
      transformer(backend, shares, ends, blocks, nullptr, input, output, settings.scheme,
                  {settings.query_tile, settings.key_tile, settings.ffn_chunk}, workspace);
    }
    backend.synchronize();
  }
  return {workspace.device.peak_bytes(), workspace.pinned.peak_bytes(), workspace.host.peak_bytes()};
}

}  // namespace ltx2::test
