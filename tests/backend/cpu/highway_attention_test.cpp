// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#ifdef LTXMEM_TEST_HIGHWAY

#include "ltxmem/backend/cpu/highway_attention.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "backend/cpu/attention_suite.hpp"
#include "support/sanitizers.hpp"

namespace ltxmem {
namespace {

using Kernel = HighwayAttention;

/// Runs the check once for every instruction set that was compiled and that this processor has, alone, and once with
/// all of them: only then is there a dot product of bf16 pairs.
template <class Check>
void on_every_target(const Check& check) {
  std::vector<std::int64_t> targets = hwy::SupportedAndGeneratedTargets();
  REQUIRE_FALSE(targets.empty());
#ifdef LTXMEM_SANITIZED
  targets.resize(1);  // the best; emulated vectors take minutes
#endif
  for (const std::int64_t target : targets) {
    CAPTURE(std::string(hwy::TargetName(target)));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    check();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  check();
}

TEMPLATE_TEST_CASE("highway attention matches double precision", "[attention][highway]", float, bfloat16, half) {
  on_every_target([] { test::attention_matches_double_precision<Kernel, TestType>(); });
}
TEMPLATE_TEST_CASE("highway attention is causal and keeps to its window", "[attention][highway]", float, bfloat16) {
  test::attention_hides_what_it_must<Kernel, TestType>();
}
TEMPLATE_TEST_CASE("highway attention adds masks, infinite ones too", "[attention][highway]", float, bfloat16) {
  on_every_target([] { test::attention_adds_masks<Kernel, TestType>(); });
}
TEMPLATE_TEST_CASE("highway attention gives the same bits for every cut and thread count", "[attention][highway]",
                   float, bfloat16) {
  // Several blocks of rows are the same on every target, and slow on some.
  on_every_target([] { test::attention_keeps_its_bits_however_it_is_cut<Kernel, TestType>(20, 259); });
  test::attention_keeps_its_bits_however_it_is_cut<Kernel, TestType>();
}
TEMPLATE_TEST_CASE("highway attention rows ignore their neighbours", "[attention][highway]", float, bfloat16) {
  on_every_target([] { test::attention_rows_ignore_their_neighbours<Kernel, TestType>(); });
}
TEMPLATE_TEST_CASE("highway attention: hidden quanta change no bit", "[attention][highway]", float, bfloat16) {
  on_every_target([] { test::attention_hidden_quanta_change_no_bit<Kernel, TestType>(); });
}
TEMPLATE_TEST_CASE("highway attention survives logits of ten thousand", "[attention][highway]", float, bfloat16, half) {
  on_every_target([] { test::attention_survives_large_logits<Kernel, TestType>(); });
}
TEMPLATE_TEST_CASE("highway attention takes any scale", "[attention][highway]", float, bfloat16) {
  on_every_target([] { test::attention_takes_any_scale<Kernel, TestType>(20); });
  test::attention_takes_any_scale<Kernel, TestType>(64);
}
TEMPLATE_TEST_CASE("highway attention reads rows with gaps between them", "[attention][highway]", float, bfloat16) {
  on_every_target([] { test::attention_reads_strided_rows<Kernel, TestType>(); });
}
// Heads of whole matrix tiles take another path for bf16 where the processor has them.
TEMPLATE_TEST_CASE("highway attention keeps its promises for heads of 64 channels", "[attention][highway]", float,
                   bfloat16) {
  test::attention_hides_what_it_must<Kernel, TestType>(64);
  test::attention_adds_masks<Kernel, TestType>(64);
  test::attention_keeps_its_bits_however_it_is_cut<Kernel, TestType>(64);
  test::attention_rows_ignore_their_neighbours<Kernel, TestType>(64);
  test::attention_reads_strided_rows<Kernel, TestType>(64);
}
TEST_CASE("highway attention without keys leaves the state alone", "[attention][highway]") {
  test::attention_without_keys_leaves_the_state<Kernel, float>();
}
}  // namespace
}  // namespace ltxmem

#endif  // LTXMEM_TEST_HIGHWAY
