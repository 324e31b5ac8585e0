// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#if defined(LTXMEM_TEST_ONEDNN)

#include "backend/cpu/convolution_suite.hpp"
#include "ltxmem/backend/cpu/onednn_gemm.hpp"

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
    CHECK(equal_bits(run<OneDnnGemm>(c, c.arguments(), 2), one));
    CHECK(equal_bits(run<OneDnnGemm>(c, c.arguments(), 5), one));
  }
}

TEMPLATE_TEST_CASE("a transposed convolution by oneDNN equals its definition, for every thread count", "", float,
                   bfloat16) {
  const Transposed<TestType> t(300, 20, 530, 15, 5, 5);
  const auto one = t.template run<OneDnnGemm>(1);
  CHECK(relative_error(one, t.exact()) < convolution_tolerance<TestType>);
  CHECK(equal_bits(t.template run<OneDnnGemm>(4), one));
}

#endif
