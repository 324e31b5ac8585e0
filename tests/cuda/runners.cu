// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "cuda/runners.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "cuda/for_each_kernels.hpp"
#include "cuda/session.cuh"
#include "ltxmem/ltxmem.hpp"  // all of it must compile under nvcc

namespace ltxmem::test::on_device {

namespace {

template <class T>
SoftmaxStateView blank_state(Session& session, const AttentionTile<T>& tile) {
  const Extents<2> per_head{tile.q.extent(0), tile.heads};
  return {session.blank<float>(tile.q.extents()), session.blank<float>(per_head), session.blank<float>(per_head)};
}

/// The recipe of a store that keeps nothing.
template <class T>
struct CopyRows {
  TensorView<const T, 2> rows;
  void operator()(CudaBackend& backend, const RowTile& tile, TensorView<T, 2> to) const {
    backend.copy(rows.rows(tile.begin, tile.count).columns(tile.column_begin, tile.column_count), to);
  }
};

}  // namespace

template <Element T, class Out>
void linear(std::span<const LinearTerm<T>> terms, const LinearEpilogue<Out>& epilogue, TensorView<Out, 2> y,
            std::int64_t chunk) {
  Session session;
  std::vector<LinearTerm<T>> device_terms;
  for (const LinearTerm<T>& term : terms) {
    device_terms.push_back({session.up(term.x), session.up(term.weight), term.strength});
  }
  const LinearEpilogue<Out> device_epilogue = session.up(epilogue);
  const TensorView<Out, 2> device_y = session.blank<Out>(y.extents());
  const std::int64_t tokens = y.extent(0);
  if (chunk == 0) chunk = std::max<std::int64_t>(tokens, 1);
  std::size_t bytes = 0;
  for (const LinearTerm<T>& term : terms) {
    bytes = std::max(bytes, session.backend.template linear_workspace_bytes<T>(std::min(chunk, tokens), term.weight));
  }
  session.within(bytes, [&](Arena& arena) {
    for (std::int64_t begin = 0; begin < tokens; begin += chunk) {
      const std::int64_t count = std::min(chunk, tokens - begin);
      std::vector<LinearTerm<T>> part = device_terms;
      for (LinearTerm<T>& term : part) term.x = term.x.rows(begin, count);
      session.backend.linear(std::span<const LinearTerm<T>>(part), device_epilogue.tokens(begin, count),
                             device_y.rows(begin, count), arena);
    }
  });
  session.down(device_y, y);
}

template <Element T>
void norm(TensorView<const T, 2> x, const NormArguments<T>& arguments, TensorView<T, 2> y) {
  Session session;
  NormArguments<T> a = arguments;
  a.weight = session.up(arguments.weight);
  a.scale = session.up(arguments.scale);
  a.shift = session.up(arguments.shift);
  a.residual = session.up(arguments.residual);
  const TensorView<T, 2> in_place = session.up(x);
  session.backend.norm(TensorView<const T, 2>(in_place), a, in_place);
  session.down(in_place, y);
}

template <Element T>
void head_norm(TensorView<T, 2> x, const HeadNormArguments& arguments, bool by_factors) {
  Session session;
  HeadNormArguments a = arguments;
  a.weight = session.up(arguments.weight);
  a.rotary.cosine = session.up(arguments.rotary.cosine);
  a.rotary.sine = session.up(arguments.rotary.sine);
  a.rotary.coordinate = session.up(arguments.rotary.coordinate);
  const TensorView<T, 2> device_x = session.up(TensorView<const T, 2>(x));
  if (by_factors) {
    const TensorView<float, 1> factors = session.blank<float>(Extents<1>{x.extent(0)});
    session.backend.head_norm_factors(TensorView<const T, 2>(device_x), a.eps, factors);
    a.row_factors = factors;
  }
  session.backend.head_norm(device_x, a);
  session.down(device_x, x);
}

template <Element T>
void convolve(TensorView<const T, 4> x, const ConvolutionArguments<T>& arguments, TensorView<T, 4> y,
              std::int64_t shift) {
  Session session;
  ConvolutionArguments<T> a = arguments;
  a.weight = session.up(arguments.weight);
  a.bias = session.up(arguments.bias);
  a.residual = session.up(arguments.residual);
  const TensorView<T, 2> around = session.blank<T>(Extents<2>{1, shift + x.size()});
  session.backend.copy(TensorView<const T, 2>(x.data(), {1, x.size()}), around.columns(shift, x.size()));
  const TensorView<T, 4> device_x(around.data() + shift, x.extents());
  const TensorView<T, 4> device_y = session.blank<T>(y.extents());
  session.within(session.backend.template convolution_workspace_bytes<T>(a.weight, a.geometry),
                 [&](Arena& arena) { session.backend.convolve(TensorView<const T, 4>(device_x), a, device_y, arena); });
  session.down(device_y, y);
}

template <Element T>
void convolve_transposed(TensorView<const T, 2> x, const TransposedConvolutionArguments& arguments,
                         TensorView<T, 2> y) {
  Session session;
  TransposedConvolutionArguments a = arguments;
  a.weight = session.up(arguments.weight);
  a.bias = session.up(arguments.bias);
  const TensorView<T, 2> device_x = session.up(x);
  const TensorView<T, 2> device_y = session.blank<T>(y.extents());
  session.within(session.backend.template transposed_workspace_bytes<T>(a), [&](Arena& arena) {
    session.backend.convolve_transposed(TensorView<const T, 2>(device_x), a, device_y, arena);
  });
  session.down(device_y, y);
}

template <Element T>
void group_norm(TensorView<const T, 2> x, std::int64_t groups, const WeightVector& weight, TensorView<T, 2> y) {
  Session session;
  const TensorView<T, 2> in_place = session.up(x);
  GroupNormArguments<T> a;
  a.groups = groups;
  a.weight = session.up(weight);
  session.within(group_norm_workspace_bytes(x.extent(0), x.extent(1), groups), [&](Arena& arena) {
    ltxmem::group_norm(session.backend, TensorView<const T, 2>(in_place), a, in_place, arena);
  });
  session.down(in_place, y);
}

template <Element T>
void tiled_attention(const AttentionTile<T>& tile, const TiledAttentionOptions& options, Keys placement,
                     TensorView<const float, 2> gate, TensorView<T, 2> out, TensorView<float, 2> natural_lse) {
  Session session;
  PinnedResource pinned;
  CudaBackend& backend = session.backend;
  const TiledAttention<T, CudaBackend> attention(options);
  const AttentionTile<T> on_device = session.up(tile);
  const TensorView<T, 2> device_out = session.blank<T>(out.extents());
  AttentionExtras extras;
  extras.mask = on_device.mask;
  extras.gate = session.up(gate);
  if (!natural_lse.empty()) extras.natural_lse = session.blank<float>(natural_lse.extents());
  extras.query_begin = tile.query_begin;
  extras.key_begin = tile.key_begin;
  const std::int64_t rows = std::max<std::int64_t>(attention.key_tile(tile.k.extent(0)), 1);
  const std::size_t slot_bytes = aligned_bytes(byte_count<T>(Extents<2>{rows, tile.k.extent(1)}));
  Arena slots(session.device, 4 * slot_bytes);  // two for keys, two for values
  Tensor<T, 2> host_keys(pinned, tile.k.extents());
  Tensor<T, 2> host_values(pinned, tile.v.extents());
  std::copy(tile.k.data(), tile.k.data() + tile.k.size(), host_keys.view().data());
  std::copy(tile.v.data(), tile.v.data() + tile.v.size(), host_values.view().data());
  const std::size_t bytes = TiledAttention<T, CudaBackend>::workspace_bytes(
      backend, {tile.q.extent(0), tile.k.extent(0), tile.head_dim()}, options);
  session.within(bytes, [&](Arena& arena) {
    if (placement == Keys::resident) {
      attention(backend, on_device.q, on_device.k, on_device.v, device_out, arena, extras);
    } else if (placement == Keys::host) {
      HostRowStore<T, CudaBackend> keys(backend, host_keys.view(), slots, rows);
      HostRowStore<T, CudaBackend> values(backend, host_values.view(), slots, rows);
      attention(backend, on_device.q, keys, values, device_out, arena, extras);
    } else {
      RecomputedRowStore<T, CopyRows<T>> keys(tile.k.extent(0), tile.k.extent(1), slots, rows, {on_device.k});
      RecomputedRowStore<T, CopyRows<T>> values(tile.v.extent(0), tile.v.extent(1), slots, rows, {on_device.v});
      attention(backend, on_device.q, keys, values, device_out, arena, extras);
    }
  });
  session.down(device_out, out);
  session.down(extras.natural_lse, natural_lse);
}

template <Element T>
void merged_attention(const AttentionTile<T>& tile, TensorView<T, 2> out) {
  Session session;
  CudaBackend& backend = session.backend;
  const AttentionTile<T> whole = session.up(tile);
  const std::int64_t half_of = tile.k.extent(0) / 2 / key_quantum * key_quantum;
  const SoftmaxStateView states[] = {blank_state(session, tile), blank_state(session, tile)};
  Arena none(session.device, 0);
  for (const int which : {0, 1}) {
    AttentionTile<T> part = whole;
    const std::int64_t begin = which == 0 ? 0 : half_of;
    const std::int64_t count = which == 0 ? half_of : tile.k.extent(0) - half_of;
    part.k = whole.k.rows(begin, count);
    part.v = whole.v.rows(begin, count);
    if (!whole.mask.empty()) part.mask = whole.mask.columns(begin, count);
    part.key_begin += begin;
    backend.attention_reset(states[which]);
    backend.attention_append(part, states[which], none);
  }
  backend.attention_merge(states[0], states[1]);
  const TensorView<T, 2> device_out = session.blank<T>(out.extents());
  backend.attention_finalize(states[1], {}, device_out, {});
  session.down(device_out, out);
}

template <Element T>
void ffn(TensorView<const T, 2> x, const WeightMatrix& up, const WeightVector& up_bias, const WeightMatrix& down,
         const WeightVector& down_bias, const ChunkedFfnOptions& options, const LinearEpilogue<T>& epilogue,
         TensorView<T, 2> y) {
  Session session;
  const ChunkedFFN<T, CudaBackend> network(DenseLinear(session.up(up), session.up(up_bias)),
                                           DenseLinear(session.up(down), session.up(down_bias)));
  const LinearEpilogue<T> device_epilogue = session.up(epilogue);
  const TensorView<T, 2> device_x = session.up(x);
  const TensorView<T, 2> device_y = session.blank<T>(y.extents());
  session.within(network.workspace_bytes(session.backend, x.extent(0), options), [&](Arena& arena) {
    network(session.backend, TensorView<const T, 2>(device_x), device_epilogue, device_y, arena, options);
  });
  session.down(device_y, y);
}

template <Element T>
void gated_ffn(TensorView<const T, 2> x, const WeightMatrix& gate, const WeightMatrix& up, const WeightMatrix& down,
               const ChunkedFfnOptions& options, TensorView<T, 2> y) {
  Session session;
  const auto layer = [&](const WeightMatrix& weight) { return DenseLinear(session.up(weight), {}); };
  const ChunkedGatedFFN<T, CudaBackend> network(layer(gate), layer(up), layer(down));
  const TensorView<T, 2> device_x = session.up(x);
  const TensorView<T, 2> device_y = session.blank<T>(y.extents());
  session.within(network.workspace_bytes(session.backend, x.extent(0), options), [&](Arena& arena) {
    network(session.backend, TensorView<const T, 2>(device_x), {}, device_y, arena, options);
  });
  session.down(device_y, y);
}

void double_through_slots(TensorView<const float, 2> from, std::int64_t slot_rows, TensorView<float, 2> to) {
  Session session;
  PinnedResource pinned;
  CudaBackend& backend = session.backend;
  Tensor<float, 2> source(pinned, from.extents());
  Tensor<float, 2> target(pinned, from.extents());
  std::copy(from.data(), from.data() + from.size(), source.view().data());
  const TensorView<float, 2> slots[] = {session.blank<float>(Extents<2>{slot_rows, from.extent(1)}),
                                        session.blank<float>(Extents<2>{slot_rows, from.extent(1)})};
  CudaBackend::Event left[2];
  for (std::int64_t begin = 0, turn = 0; begin < from.extent(0); begin += slot_rows, ++turn) {
    const std::int64_t count = std::min(slot_rows, from.extent(0) - begin);
    const TensorView<float, 2> slot = slots[turn % 2].rows(0, count);
    backend.wait(left[turn % 2]);
    backend.wait(backend.copy_async(CopyQueue::in, TensorView<const float, 2>(source.view()).rows(begin, count), slot));
    backend.for_each({"double", 0, 0}, count, DoubleValues{slot});
    left[turn % 2] =
        backend.copy_async(CopyQueue::out, TensorView<const float, 2>(slot), target.view().rows(begin, count));
  }
  backend.synchronize(left[0]);
  backend.synchronize(left[1]);
  std::copy(target.view().data(), target.view().data() + from.size(), to.data());
}

template <class From, class To>
void convert(TensorView<const From, 2> from, TensorView<To, 2> to) {
  Session session;
  const TensorView<From, 2> device_from = session.up(from);
  const TensorView<To, 2> device_to = session.blank<To>(to.extents());
  session.backend.copy(TensorView<const From, 2>(device_from), device_to);
  session.down(device_to, to);
}

void name_steps() {
  Session session;
  { const Step step(session.backend, "conditioning"); }
  const Step step(session.backend, "block", 3);
  const Step inner(session.backend, "self attention");
}

std::string exhaust_memory() {
  Session session;
  session.blank<std::byte>(Extents<1>{1 << 20});
  std::string text = "nothing was refused";
  try {
    session.blank<std::byte>(Extents<1>{2 * static_cast<std::int64_t>(session.backend.device().memory_bytes)});
  } catch (const OutOfMemory& error) {
    text = error.what();
  }
  session.blank<std::byte>(Extents<1>{1 << 20});
  session.backend.synchronize();
  return text;
}

// NOLINTBEGIN
#define LINEAR(T, Out) \
  template void linear(std::span<const LinearTerm<T>>, const LinearEpilogue<Out>&, TensorView<Out, 2>, std::int64_t);
LINEAR(float, float)
LINEAR(bfloat16, bfloat16)
LINEAR(bfloat16, float)
LINEAR(ltxmem::half, ltxmem::half)
LINEAR(ltxmem::half, float)
#define RUNNERS(T)                                                                                                    \
  template void norm(TensorView<const T, 2>, const NormArguments<T>&, TensorView<T, 2>);                              \
  template void head_norm(TensorView<T, 2>, const HeadNormArguments&, bool);                                          \
  template void convolve(TensorView<const T, 4>, const ConvolutionArguments<T>&, TensorView<T, 4>, std::int64_t);     \
  template void convolve_transposed(TensorView<const T, 2>, const TransposedConvolutionArguments&, TensorView<T, 2>); \
  template void group_norm(TensorView<const T, 2>, std::int64_t, const WeightVector&, TensorView<T, 2>);              \
  template void tiled_attention(const AttentionTile<T>&, const TiledAttentionOptions&, Keys,                          \
                                TensorView<const float, 2>, TensorView<T, 2>, TensorView<float, 2>);                  \
  template void merged_attention(const AttentionTile<T>&, TensorView<T, 2>);                                          \
  template void ffn(TensorView<const T, 2>, const WeightMatrix&, const WeightVector&, const WeightMatrix&,            \
                    const WeightVector&, const ChunkedFfnOptions&, const LinearEpilogue<T>&, TensorView<T, 2>);       \
  template void gated_ffn(TensorView<const T, 2>, const WeightMatrix&, const WeightMatrix&, const WeightMatrix&,      \
                          const ChunkedFfnOptions&, TensorView<T, 2>);
RUNNERS(float)
RUNNERS(bfloat16)
RUNNERS(ltxmem::half)
template void convert(TensorView<const float, 2>, TensorView<bfloat16, 2>);
template void convert(TensorView<const bfloat16, 2>, TensorView<float, 2>);
// NOLINTEND

}  // namespace ltxmem::test::on_device
