// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "simt/launchers.hpp"

namespace simt {

namespace cuda = ltxmem::cuda;

namespace {

Extent3 element_grid(std::int64_t rows, std::int64_t columns, int width) {
  const std::int64_t each = static_cast<std::int64_t>(cuda::row_threads) * width;
  return {static_cast<unsigned>((columns + each - 1) / each), static_cast<unsigned>(rows)};
}

template <class T>
inline constexpr int wide = 16 / sizeof(T);

}  // namespace

template <class T>
Report run_norm(const cuda::NormKernelArguments<T>& arguments, std::int64_t rows, int width, const Options& options) {
  const auto kernel = width == 1 ? &cuda::norm_rows<T, 1> : &cuda::norm_rows<T, wide<T>>;
  return launch(kernel, {static_cast<unsigned>(rows)}, {cuda::row_threads}, sizeof(cuda::NormShared), options,
                arguments);
}

template <class T>
Report run_head_norm(const cuda::HeadNormKernelArguments<T>& arguments, std::int64_t rows, const Options& options) {
  return launch(&cuda::head_norm_rows<T>, {static_cast<unsigned>(rows)}, {cuda::row_threads}, sizeof(cuda::NormShared),
                options, arguments);
}

template <class T>
Report run_head_norm_factors(Rows<const T> x, std::int64_t rows, std::int64_t width, float eps, float* factors,
                             const Options& options) {
  return launch(&cuda::head_norm_factors<T>, {static_cast<unsigned>(rows)}, {cuda::row_threads},
                sizeof(cuda::NormShared), options, x, width, eps, factors, 1);
}

template <class Out>
Report run_finish(const cuda::FinishKernelArguments<Out>& arguments, std::int64_t rows, int width,
                  const Options& options) {
  const auto kernel = width == 1 ? &cuda::finish_linear<Out, 1> : &cuda::finish_linear<Out, 4>;
  return launch(kernel, element_grid(rows, arguments.columns, width), {cuda::row_threads}, 0, options, arguments);
}

Report run_product_factors(float strength, const float* scale, float beta, float* factors) {
  return launch(&cuda::product_factors<0>, {1}, {1}, 0, {}, strength, scale, beta, factors);
}

template <class From, class To>
Report run_cast(Rows<const From> from, Rows<To> to, std::int64_t rows, std::int64_t columns, int width,
                const Options& options) {
  const auto kernel = width == 1 ? &cuda::cast_rows<From, To, 1> : &cuda::cast_rows<From, To, 4>;
  return launch(kernel, element_grid(rows, columns, width), {cuda::row_threads}, 0, options, from, to, columns);
}

template <class Fn>
Report run_for_each(const Fn& fn, std::int64_t count, const Options& options) {
  const std::int64_t threads = count * cuda::threads_of_call<Fn>;
  return launch(&cuda::for_each_item<Fn>, element_grid(1, threads, 1), {cuda::row_threads}, 0, options, fn, count);
}
template Report run_for_each(const Doubled&, std::int64_t, const Options&);
template Report run_for_each(const DoubledByParts&, std::int64_t, const Options&);

// NOLINTBEGIN
#define SIMT_ROWS(T)                                                                                               \
  template Report run_norm(const cuda::NormKernelArguments<T>&, std::int64_t, int, const Options&);                \
  template Report run_head_norm(const cuda::HeadNormKernelArguments<T>&, std::int64_t, const Options&);            \
  template Report run_head_norm_factors(Rows<const T>, std::int64_t, std::int64_t, float, float*, const Options&); \
  template Report run_finish(const cuda::FinishKernelArguments<T>&, std::int64_t, int, const Options&);
SIMT_ROWS(float)
SIMT_ROWS(ltxmem::bfloat16)
SIMT_ROWS(ltxmem::half)
#define SIMT_CAST(From, To) \
  template Report run_cast(Rows<const From>, Rows<To>, std::int64_t, std::int64_t, int, const Options&);
SIMT_CAST(float, ltxmem::bfloat16)
SIMT_CAST(float, ltxmem::half)
SIMT_CAST(ltxmem::bfloat16, float)
SIMT_CAST(ltxmem::half, float)
SIMT_CAST(ltxmem::float8_e4m3, float)
SIMT_CAST(ltxmem::float8_e4m3, ltxmem::bfloat16)
SIMT_CAST(ltxmem::float8_e4m3, ltxmem::half)
// NOLINTEND

}  // namespace simt
