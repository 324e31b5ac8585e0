// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden_case.hpp"

namespace {

void check(const std::string& name) {
  ltx2::test::check_golden_case("text", name, ltx2::run_text_case);
}

}  // namespace

TEST_CASE("The check of tokens compares them exactly", "[golden]") {
  const ltx2::Case test = ltx2::read_case(ltx2::test::golden_path("cases/text/tokenize_128.safetensors"));
  ltx2::Runtime runtime(ltx2::test::case_settings());
  ltx2::CaseModels models(ltx2::test::golden_models(), {}, runtime.host_memory());
  ltx2::HostTensors ids = ltx2::run_text_case(test, models, runtime);
  CHECK(ltx2::compare(test.expected, ids).relative == 0.0);
  std::get<std::vector<std::int32_t>>(ids.at("ids.2").values).back() += 1;
  CHECK(ltx2::compare(test.expected, ids).relative > 0.0);
}
TEST_CASE("Gemma gives the reference's hidden states for a short prompt", "[golden]") {
  check("gemma_short");
}
TEST_CASE("Gemma does for a prompt longer than its sliding window", "[golden]") {
  check("gemma_middle");
}
TEST_CASE("Gemma does for a prompt of full length", "[golden]") {
  check("gemma_long");
}
TEST_CASE("The 2.0 features and connectors fill a short prompt up with registers", "[golden]") {
  check("20_connect_short");
}
TEST_CASE("The 2.0 features and connectors give the reference's contexts", "[golden]") {
  check("20_connect_middle");
}
TEST_CASE("The 2.0 connectors do without registers", "[golden]") {
  check("20_connect_long");
}
TEST_CASE("The 2.3 features and connectors fill a short prompt up with registers", "[golden]") {
  check("23_connect_short");
}
TEST_CASE("The 2.3 features and connectors give the reference's contexts", "[golden]") {
  check("23_connect_middle");
}
TEST_CASE("The 2.3 connectors do without registers", "[golden]") {
  check("23_connect_long");
}
TEST_CASE("A short prompt becomes the reference's 2.0 contexts", "[golden]") {
  check("20_encode_short");
}
TEST_CASE("A sentence becomes the reference's 2.0 contexts", "[golden]") {
  check("20_encode_middle");
}
TEST_CASE("A prompt that is cut becomes the reference's 2.0 contexts", "[golden]") {
  check("20_encode_long");
}
TEST_CASE("A short prompt becomes the reference's 2.3 contexts", "[golden]") {
  check("23_encode_short");
}
TEST_CASE("A sentence becomes the reference's 2.3 contexts", "[golden]") {
  check("23_encode_middle");
}
TEST_CASE("A prompt that is cut becomes the reference's 2.3 contexts", "[golden]") {
  check("23_encode_long");
}
