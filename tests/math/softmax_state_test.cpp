// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/math/softmax_state.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/numbers.hpp"

namespace ltxmem {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// State of some logits by the definition.
SoftmaxState state_of(const std::vector<float>& logits) {
  SoftmaxState state;
  for (const float logit : logits) state.maximum = std::max(state.maximum, logit);
  for (const float logit : logits) state.sum += exp2_nonpositive(logit - softmax_base(state.maximum));
  return state;
}

double lse_of(const std::vector<float>& logits) {
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp2(static_cast<double>(logit));
  return std::log(sum);
}

TEST_CASE("powers of two of non-positive numbers are right to two units in the last place") {
  double worst = 0.0;
  for (int i = 0; i <= 126000; ++i) {
    const float x = -static_cast<float>(i) * 1e-3F;
    const double expected = std::exp2(static_cast<double>(x));
    worst = std::max(worst, std::abs(static_cast<double>(exp2_nonpositive(x)) - expected) / expected);
  }
  CHECK(worst < 2.0 * 0x1p-23);
}

TEST_CASE("two to the power of zero is exactly one, of minus infinity exactly zero") {
  CHECK(exp2_nonpositive(0.0F) == 1.0F);
  CHECK(exp2_nonpositive(-0.0F) == 1.0F);
  CHECK(exp2_nonpositive(-infinity) == 0.0F);
  CHECK(exp2_nonpositive(-1e30F) == 0.0F);
  CHECK(exp2_nonpositive(-127.0F) == 0.0F);
}

TEST_CASE("whole powers of two are exact") {
  for (int n = 0; n <= 126; ++n) CHECK(exp2_nonpositive(-static_cast<float>(n)) == std::ldexp(1.0F, -n));
}

TEST_CASE("exponents are taken against zero where nothing was seen, and against the maximum otherwise") {
  CHECK(softmax_base(-infinity) == 0.0F);
  CHECK(softmax_base(-3.5F) == -3.5F);
  CHECK(softmax_rescale(-infinity, -infinity) == 0.0F);
  CHECK(softmax_rescale(-infinity, 4.0F) == 0.0F);
  CHECK(softmax_rescale(2.0F, 4.0F) == 0.25F);
  CHECK(softmax_rescale(4.0F, 4.0F) == 1.0F);
}

TEST_CASE("a fresh state is the identity of append") {
  const SoftmaxState appended = softmax_append({}, 3.0F, 1.5F);
  CHECK(appended.maximum == 3.0F);
  CHECK(appended.sum == 1.5F);
  const SoftmaxState unchanged = softmax_append({3.0F, 1.5F}, -infinity, 0.0F);
  CHECK(unchanged.maximum == 3.0F);
  CHECK(unchanged.sum == 1.5F);
  const SoftmaxState nothing = softmax_append({}, -infinity, 0.0F);
  CHECK(nothing.maximum == -infinity);
  CHECK(nothing.sum == 0.0F);
}

TEST_CASE("a fresh state is the identity of merge, from both sides") {
  const SoftmaxState some{-2.0F, 5.0F};
  for (const SoftmaxMerge& merged : {softmax_merge(some, {}), softmax_merge({}, some)}) {
    CHECK(merged.state.maximum == some.maximum);
    CHECK(merged.state.sum == some.sum);
  }
  CHECK(softmax_merge(some, {}).factor_a == 1.0F);
  CHECK(softmax_merge(some, {}).factor_b == 0.0F);
  const SoftmaxMerge nothing = softmax_merge({}, {});
  CHECK(nothing.state.sum == 0.0F);
  CHECK(nothing.state.maximum == -infinity);
}

TEST_CASE("merging two rows is commutative to the bit") {
  const std::vector<float> values = test::random_values<float>(400, 3);
  for (std::size_t i = 0; i + 4 <= values.size(); i += 4) {
    const SoftmaxState a{20.0F * values[i], 1.0F + std::abs(values[i + 1])};
    const SoftmaxState b{20.0F * values[i + 2], 1.0F + std::abs(values[i + 3])};
    const SoftmaxMerge ab = softmax_merge(a, b);
    const SoftmaxMerge ba = softmax_merge(b, a);
    CHECK(ab.state.maximum == ba.state.maximum);
    CHECK(ab.state.sum == ba.state.sum);
    CHECK(ab.factor_a == ba.factor_b);
  }
}

TEST_CASE("merge is associative up to rounding, and equals the state of the union") {
  for (std::uint32_t seed = 1; seed <= 50; ++seed) {
    std::vector<float> logits = test::random_values<float>(30, seed);
    for (float& logit : logits) logit *= 40.0F;
    const auto part = [&](int begin, int end) { return state_of({logits.begin() + begin, logits.begin() + end}); };
    const SoftmaxState a = part(0, 7);
    const SoftmaxState b = part(7, 8);
    const SoftmaxState c = part(8, 30);
    const SoftmaxState left = softmax_merge(softmax_merge(a, b).state, c).state;
    const SoftmaxState right = softmax_merge(a, softmax_merge(b, c).state).state;
    CHECK(left.maximum == right.maximum);
    CHECK(std::abs(left.sum - right.sum) <= 4.0F * 0x1p-24F * left.sum);
    CHECK(static_cast<double>(softmax_natural_lse(left)) == Approx(lse_of(logits)).epsilon(1e-6).margin(1e-6));
  }
}

TEST_CASE("logits of plus and minus ten thousand give finite states") {
  const SoftmaxState high = state_of({1e4F, 9.9e3F});
  const SoftmaxState low = state_of({-1e4F, -1e4F});
  CHECK(high.sum == 1.0F);
  CHECK(low.sum == 2.0F);
  const SoftmaxMerge merged = softmax_merge(high, low);
  CHECK(merged.state.sum == 1.0F);
  CHECK(merged.factor_b == 0.0F);
  CHECK(softmax_natural_lse(low) == Approx((-1e4 + 1.0) * std::log(2.0)));
}

TEST_CASE("a row that has seen nothing has no weight and a log-sum-exp of minus infinity") {
  CHECK(softmax_inverse_sum(0.0F) == 0.0F);
  CHECK(softmax_inverse_sum(4.0F) == 0.25F);
  CHECK(softmax_natural_lse({}) == -infinity);
  CHECK(softmax_natural_lse({5.0F, 0.0F}) == -infinity);
}

}  // namespace
}  // namespace ltxmem
