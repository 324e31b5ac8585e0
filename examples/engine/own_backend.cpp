// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

// How an inference engine uses the primitives with everything its own: pointers and strides, threads, stream, products
// and memory. The engine's backend models only the operations that the primitive asks for; a primitive that needs more
// refuses to compile and names the missing concept.

#include <ltxmem/ltxmem.hpp>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace engine {

/// What an engine has already: a matrix somewhere in a larger buffer.
struct Matrix {
  float* data;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t row_stride;  ///< in elements
};

/// The engine's allocator; any class with these two members is a MemoryResource.
class Pool {
 public:
  void* allocate(std::size_t bytes, std::size_t alignment) {
    in_use_ += bytes;
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  }
  void deallocate(void* pointer, std::size_t bytes, std::size_t) noexcept {
    in_use_ -= bytes;
    std::free(pointer);
  }
  std::size_t bytes_in_use() const noexcept { return in_use_; }

 private:
  std::size_t in_use_ = 0;
};

/// The engine's way to compute, as far as feed-forward networks need it: products, and names for steps.
class Backend {
 public:
  explicit Backend(void* queue) : stream_{queue} {}

  /// The queue that work is ordered on: a CUDA stream, say.
  ltxmem::StreamRef stream() const noexcept { return stream_; }

  /// y = residual + act(sum of x W^T + addend + bias), rows shared out over the engine's threads.
  template <ltxmem::Element T, class Out>
  void linear(std::span<const ltxmem::LinearTerm<T>> terms, const ltxmem::LinearEpilogue<Out>& epilogue,
              ltxmem::TensorView<Out, 2> y, ltxmem::Arena&) {
    const auto rows = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n) {
        for (std::int64_t out = 0; out < y.extent(1); ++out) y(n, out) = element(terms, epilogue, n, out);
      }
    };
    std::thread second(rows, y.extent(0) / 2, y.extent(0));
    rows(0, y.extent(0) / 2);
    second.join();
  }
  template <ltxmem::Element T>
  std::size_t linear_workspace_bytes(std::int64_t, const ltxmem::WeightMatrix&) const {
    return 0;  // these loops need no scratch
  }

  void enter_step(const char* name, std::int64_t) { std::printf("step: %s\n", name); }
  void leave_step() noexcept {}
  bool collapses_loops() const noexcept { return false; }
  void begin_repeated(std::int64_t) noexcept {}
  void end_repeated() noexcept {}

 private:
  template <class T, class Out>
  static Out element(std::span<const ltxmem::LinearTerm<T>> terms, const ltxmem::LinearEpilogue<Out>& epilogue,
                     std::int64_t n, std::int64_t out) {
    float sum = epilogue.addend.empty() ? 0.0F : epilogue.addend(n, out);
    for (const auto& term : terms) {
      const auto* weight = reinterpret_cast<const float*>(term.weight.data) + out * term.weight.row_stride;
      for (std::int64_t in = 0; in < term.weight.columns; ++in) {
        sum += term.strength * static_cast<float>(term.x(n, in)) * weight[in];
      }
    }
    if (!epilogue.bias.empty()) sum += epilogue.bias[out];
    if (epilogue.activation == ltxmem::Activation::gelu_tanh) {
      sum = 0.5F * sum * (1.0F + std::tanh(0.7978845608F * (sum + 0.044715F * sum * sum * sum)));
    }
    if (!epilogue.residual.empty()) sum += static_cast<float>(epilogue.residual(n, out));
    return static_cast<Out>(sum);
  }

  ltxmem::StreamRef stream_;
};

static_assert(ltxmem::FfnBackend<Backend, float>);

ltxmem::TensorView<float, 2> view(const Matrix& m) {
  return {m.data, {m.rows, m.columns}, {m.row_stride, 1}};
}

}  // namespace engine

int main() {
  constexpr std::int64_t tokens = 600, width = 24, hidden = 96, stride = 40;
  std::vector<float> activations(tokens * stride, 0.25F);
  std::vector<float> w1(hidden * width), w2(width * hidden);
  for (std::size_t i = 0; i < w1.size(); ++i) w1[i] = 0.01F * static_cast<float>(i % 7) - 0.02F;
  for (std::size_t i = 0; i < w2.size(); ++i) w2[i] = 0.02F * static_cast<float>(i % 5) - 0.03F;
  const engine::Matrix x{activations.data(), tokens, width, stride};

  const ltxmem::DenseLinear up(ltxmem::TensorView<const float, 2>(w1.data(), {hidden, width}));
  const ltxmem::DenseLinear down(ltxmem::TensorView<const float, 2>(w2.data(), {width, hidden}));

  // The same network once on the library's backend, once on the engine's, in place, in two chunks or three.
  ltxmem::CpuBackend<> reference_backend;
  const ltxmem::ChunkedFFN<float, ltxmem::CpuBackend<>> reference(up, down);
  engine::Backend backend(nullptr);
  const ltxmem::ChunkedFFN<float, engine::Backend> ffn(up, down);

  engine::Pool pool;
  std::vector<float> expected(tokens * width);
  {
    ltxmem::Arena arena(pool, reference.workspace_bytes(reference_backend, tokens));
    reference(reference_backend, engine::view(x), {}, {expected.data(), {tokens, width}}, arena);
  }
  const ltxmem::ChunkedFfnOptions options{.token_chunk = 256};
  {
    ltxmem::Arena arena(pool, ffn.workspace_bytes(backend, tokens, options));
    std::printf("workspace: %zu bytes, of which the pool gave %zu\n", arena.capacity_bytes(), pool.bytes_in_use());
    ffn(backend, engine::view(x), {}, engine::view(x), arena, options);
  }
  float worst = 0;
  for (std::int64_t n = 0; n < tokens; ++n) {
    for (std::int64_t d = 0; d < width; ++d) {
      worst = std::max(worst, std::abs(engine::view(x)(n, d) - expected[static_cast<std::size_t>(n * width + d)]));
    }
  }
  std::printf("largest difference to the library's own backend: %g\n", static_cast<double>(worst));
  return worst < 1e-5F && pool.bytes_in_use() == 0 ? 0 : 1;
}
