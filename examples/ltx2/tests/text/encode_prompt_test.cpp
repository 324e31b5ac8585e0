// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "text/encode_prompt.hpp"

#include <stop_token>
#include <string>
#include <vector>

#include "tests/support/golden_case.hpp"
#include "text/tokenizer.hpp"

namespace {

using ltxmem::TensorView;

struct TinyModels {
  ltxmem::HostResource host;
  std::string tokenizer_path = (ltx2::test::golden_models() / "gemma_tiny" / "tokenizer.model").string();
  ltx2::Tokenizer tokenizer{tokenizer_path};
  ltx2::Checkpoint gemma{ltx2::test::golden_models() / "gemma_tiny", host};
  ltx2::Checkpoint model{ltx2::test::golden_models() / "ltx23_tiny.safetensors", host};

  std::vector<float> encode(const std::string& prompt, ltx2::Runtime& runtime, std::int64_t length = 128) const {
    const std::int64_t video = model.config().video_connector->width();
    const std::int64_t audio = model.config().audio_connector->width();
    std::vector<float> both(static_cast<std::size_t>(length * (video + audio)));
    ltx2::encode_prompt(runtime, tokenizer.encode(prompt, length), gemma, model,
                        {{both.data(), {length, video}}, {both.data() + length * video, {length, audio}}});
    return both;
  }
};

}  // namespace

TEST_CASE_METHOD(TinyModels, "White space around a prompt changes nothing, another word does") {
  ltx2::Runtime runtime(ltx2::test::case_settings());
  const std::vector<float> plain = encode("a red fox", runtime);
  CHECK(encode("  a red fox\n", runtime) == plain);
  CHECK(encode("a red box", runtime) != plain);
}

TEST_CASE_METHOD(TinyModels, "Encoding takes the memory that is planned for it") {
  ltx2::Runtime runtime(ltx2::test::case_settings());
  encode("a red fox", runtime);
  REQUIRE(runtime.report().stages.size() == 1);
  const ltx2::StageReport& stage = runtime.report().stages.front();
  CHECK(stage.name == "text encode");
  CHECK(stage.measured_peak == stage.planned_peak);
  const auto tokens = static_cast<std::int64_t>(tokenizer.encode("a red fox", 128).size());
  CHECK(ltx2::plan_encode_prompt(runtime, gemma, model, tokens, 128).peak[0] == stage.measured_peak[0]);
}

TEST_CASE_METHOD(TinyModels, "A model without text parts is refused by name") {
  const ltx2::Checkpoint upsampler(ltx2::test::golden_models() / "upscaler_tiny.safetensors", host);
  ltx2::Runtime runtime(ltx2::test::case_settings());
  CHECK_THROWS_WITH(ltx2::encode_prompt(runtime, {2}, gemma, upsampler, {}),
                    Catch::Contains("no text projection and connectors"));
}

TEST_CASE_METHOD(TinyModels, "Encoding stops when asked to") {
  std::stop_source stop;
  stop.request_stop();
  ltx2::Runtime runtime(ltx2::test::case_settings(), stop.get_token());
  CHECK_THROWS_AS(encode("a red fox", runtime), ltxmem::Cancelled);
}
