// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#if defined(LTXMEM_TEST_ONEDNN)

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/cpu/convolution_suite.hpp"
#include "ltxmem/backend/cpu/onednn_gemm.hpp"
#include "ltxmem/backend/cpu/target.hpp"
#include "ltxmem/backend/dry_run/backend.hpp"

using namespace ltxmem;
using namespace ltxmem::test;

TEMPLATE_TEST_CASE("a convolution by oneDNN equals its definition in double precision", "", float, bfloat16) {
  const Convolution<TestType> c({2, 9, 17, 20}, 530, cube);
  CHECK(relative_error(run<OneDnnGemm>(c, c.arguments()), c.exact()) < convolution_tolerance<TestType>);
}

TEMPLATE_TEST_CASE("a convolution by oneDNN gives the same bits for every thread count", "", float, bfloat16) {
  for (const Extents<4>& input : {Extents<4>{1, 2, 3, 5}, Extents<4>{2, 10, 30, 5}}) {
    const Convolution<TestType> c(input, 1030, cube);
    const auto one = run<OneDnnGemm>(c, c.arguments(), 1);
    CHECK(same_bits(run<OneDnnGemm>(c, c.arguments(), 2), one));
    CHECK(same_bits(run<OneDnnGemm>(c, c.arguments(), 5), one));
  }
}

TEMPLATE_TEST_CASE("a transposed convolution by oneDNN equals its definition, for every thread count", "", float,
                   bfloat16) {
  const Transposed<TestType> t(300, 20, 530, 15, 5, 5);
  const auto one = t.template run<OneDnnGemm>(1);
  CHECK(relative_error(one, t.exact()) < convolution_tolerance<TestType>);
  CHECK(same_bits(t.template run<OneDnnGemm>(4), one));
}

TEMPLATE_TEST_CASE("a convolution by oneDNN copies weights with gaps or at odd addresses and keeps the bits", "", float,
                   bfloat16) {
  const Convolution<TestType> c({2, 6, 6, 9}, 700, cube);
  const auto expected = run<OneDnnGemm>(c, c.arguments());
  const std::int64_t columns = c.matrix().columns;

  std::vector<TestType> gaps(static_cast<std::size_t>(700 * (columns + 3)));
  for (std::int64_t row = 0; row < 700; ++row) {
    std::copy_n(c.weight.begin() + row * columns, columns, gaps.begin() + row * (columns + 3));
  }
  ConvolutionArguments<TestType> arguments = c.arguments();
  arguments.weight = TensorView<const TestType, 2>(gaps.data(), {700, columns}, {columns + 3, 1});
  CHECK(same_bits(run<OneDnnGemm>(c, arguments), expected));

  std::vector<std::byte> bytes(c.weight.size() * sizeof(TestType) + 1);
  std::memcpy(bytes.data() + 1, c.weight.data(), bytes.size() - 1);
  arguments.weight = c.matrix();
  arguments.weight.data = bytes.data() + 1;
  CHECK(same_bits(run<OneDnnGemm>(c, arguments), expected));
}

TEST_CASE("the workspace of a convolution of one tap by oneDNN counts a copy only of weights with gaps") {
  const Convolution<float> c({1, 4, 5, 54}, 40, {});
  const std::vector<float> gaps = random_values<float>(40 * 60, 9);
  ConvolutionArguments<float> arguments = c.arguments();
  const std::size_t in_place =
      cpu::convolution_workspace_bytes<OneDnnGemm, float>(1, arguments.weight, arguments.geometry);
  arguments.weight = TensorView<const float, 2>(gaps.data(), {40, 54}, {60, 1});
  const std::size_t asked =
      cpu::convolution_workspace_bytes<OneDnnGemm, float>(1, arguments.weight, arguments.geometry);
  CHECK(asked == in_place + aligned_bytes(40 * 54 * sizeof(float)));

  DryRunBackend<CpuTarget<OneDnnGemm>> dry({1});
  Arena imaginary = Arena::make_virtual();
  dry.convolve(TensorView<const float, 4>(c.x.data(), c.input), arguments, TensorView<float, 4>(nullptr, c.output()),
               imaginary);
  CHECK(imaginary.peak_bytes() == asked);
  HostResource memory;
  Arena arena(memory, asked);
  ThreadPool pool(1);
  std::vector<float> y(static_cast<std::size_t>(element_count(c.output())));
  cpu::convolve(pool, OneDnnGemm(), TensorView<const float, 4>(c.x.data(), c.input), arguments,
                TensorView<float, 4>(y.data(), c.output()), arena);
  CHECK(arena.peak_bytes() == asked);
}

#endif
