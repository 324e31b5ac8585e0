// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Everything that needs a C++20 compiler and the standard library alone. Parts with a dependency are included by name:
/// ltxmem/backend/cpu/onednn_gemm.hpp, ltxmem/backend/cpu/highway_attention.hpp, ltxmem/backend/cuda/backend.cuh,
/// ltxmem/parallel/mpi_communicator.hpp and ltxmem/parallel/nccl_communicator.hpp.

#include "ltxmem/attention/online_softmax.hpp"
#include "ltxmem/attention/ring_attention.hpp"
#include "ltxmem/attention/tiled_attention.hpp"
#include "ltxmem/attention/ulysses_attention.hpp"
#include "ltxmem/backend/cpu/backend.hpp"
#include "ltxmem/backend/cuda/target.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"
#include "ltxmem/backend/dry_run/device_profile_json.hpp"
#include "ltxmem/backend/dry_run/replay.hpp"
#include "ltxmem/core/device.hpp"
#include "ltxmem/core/tensor.hpp"
#include "ltxmem/ffn/chunked_ffn.hpp"
#include "ltxmem/ffn/chunked_gated_ffn.hpp"
#include "ltxmem/io/safetensors.hpp"
#include "ltxmem/io/safetensors_writer.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/memory/budget.hpp"
#include "ltxmem/memory/counting_resource.hpp"
#include "ltxmem/memory/host_resource.hpp"
#include "ltxmem/memory/limiting_resource.hpp"
#include "ltxmem/ops/group_norm.hpp"
#include "ltxmem/parallel/any_transport.hpp"
#include "ltxmem/parallel/planned_communicator.hpp"
#include "ltxmem/parallel/rank_group.hpp"
#include "ltxmem/parallel/tensor_parallel_linear.hpp"
#include "ltxmem/parallel/thread_communicator.hpp"
#include "ltxmem/stores/host_row_store.hpp"
#include "ltxmem/stores/placed_row_store.hpp"
#include "ltxmem/stores/recomputed_row_store.hpp"
#include "ltxmem/stores/spread_rows.hpp"
#include "ltxmem/version.hpp"
#include "ltxmem/weights/any_linear.hpp"
#include "ltxmem/weights/lora_linear.hpp"
#include "ltxmem/weights/quantized_linear.hpp"
#include "ltxmem/weights/weight_stream.hpp"
