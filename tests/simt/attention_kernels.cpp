// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <stdexcept>

#include "simt/launchers.hpp"

namespace simt {

namespace cuda = ltxmem::cuda;

namespace {

unsigned blocks(std::int64_t total, std::int64_t each) {
  return static_cast<unsigned>((total + each - 1) / each);
}

template <class T, int head_dim, int key_rows>
Report run_flash(const AttentionKernelArguments<T>& a, std::int64_t heads, const Options& options) {
  return launch(&cuda::flash_attention<T, head_dim, key_rows>,
                {blocks(a.queries, cuda::flash_query_rows), static_cast<unsigned>(heads)}, {cuda::flash_threads},
                sizeof(cuda::FlashShared<T, head_dim, key_rows>), options, a);
}

Extent3 state_grid(std::int64_t rows, std::int64_t heads) {
  return {blocks(rows * heads, cuda::row_threads / 32)};
}

}  // namespace

template <class T>
Report run_attention(const AttentionKernelArguments<T>& a, std::int64_t heads, int key_rows, const Options& options) {
  if (key_rows == 0) {
    return launch(&cuda::plain_attention<T>, {blocks(a.queries, cuda::plain_query_rows), static_cast<unsigned>(heads)},
                  {cuda::plain_threads}, sizeof(cuda::PlainAttentionShared), options, a);
  }
  if constexpr (!std::is_same_v<T, float>) {
    if (a.head_dim == 64 && key_rows == 64) return run_flash<T, 64, 64>(a, heads, options);
    if (a.head_dim == 128 && key_rows == 64) return run_flash<T, 128, 64>(a, heads, options);
    if (a.head_dim == 256 && key_rows == 32) return run_flash<T, 256, 32>(a, heads, options);
  }
  throw std::invalid_argument("no kernel for this head dim");
}
template Report run_attention(const AttentionKernelArguments<float>&, std::int64_t, int, const Options&);
template Report run_attention(const AttentionKernelArguments<ltxmem::bfloat16>&, std::int64_t, int, const Options&);
template Report run_attention(const AttentionKernelArguments<ltxmem::half>&, std::int64_t, int, const Options&);

template <class T>
Report run_finalize(const DeviceSoftmaxState& state, Rows<const float> gate, Rows<T> out, Rows<float> natural_lse,
                    std::int64_t rows, std::int64_t heads, std::int64_t head_dim, const Options& options) {
  return launch(&cuda::finalize_states<T>, state_grid(rows, heads), {cuda::row_threads}, 0, options, state, gate, out,
                natural_lse, rows, heads, head_dim);
}
template Report run_finalize(const DeviceSoftmaxState&, Rows<const float>, Rows<float>, Rows<float>, std::int64_t,
                             std::int64_t, std::int64_t, const Options&);
template Report run_finalize(const DeviceSoftmaxState&, Rows<const float>, Rows<ltxmem::bfloat16>, Rows<float>,
                             std::int64_t, std::int64_t, std::int64_t, const Options&);
template Report run_finalize(const DeviceSoftmaxState&, Rows<const float>, Rows<ltxmem::half>, Rows<float>,
                             std::int64_t, std::int64_t, std::int64_t, const Options&);

Report run_reset(const DeviceSoftmaxState& state, std::int64_t rows, std::int64_t heads, std::int64_t head_dim,
                 const Options& options) {
  return launch(&cuda::reset_states<0>, state_grid(rows, heads), {cuda::row_threads}, 0, options, state, rows, heads,
                head_dim);
}

Report run_merge(const DeviceSoftmaxState& from, const DeviceSoftmaxState& into, std::int64_t rows, std::int64_t heads,
                 std::int64_t head_dim, const Options& options) {
  return launch(&cuda::merge_states<0>, state_grid(rows, heads), {cuda::row_threads}, 0, options, from, into, rows,
                heads, head_dim);
}

}  // namespace simt
