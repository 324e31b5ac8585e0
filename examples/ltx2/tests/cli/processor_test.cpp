// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "tests/support/program.hpp"

/// Processors with fewer instructions than this one.

#if defined(LTX2_WITH_ONEDNN)
TEST_CASE("Reference cases pass where oneDNN finds AVX2 only", "[cli]") {
  using namespace ltx2::test;
  const ScopedVariable limit("DNNL_MAX_CPU_ISA", "AVX2");
  std::vector<std::string> words{"check", "--models", TinyModels::get().folder(), "--threads", "2"};
  for (const char* name :
       {"transformer/v23_i2v", "denoise/v23_guided", "text/23_encode_short", "video_decode/v23_2x2x3",
        "audio_decode/v23_4", "vocode/v23_9", "upsample/upscaler_tiny_3x2x3"}) {
    words.push_back(golden_path(std::string("cases/") + name + ".safetensors"));
  }
  const Ended ended = run_ltx2(words);
  CAPTURE(ended.output, ended.messages);
  CHECK(ended.code == 0);
}
#endif
