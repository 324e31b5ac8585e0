// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "check/case.hpp"
#include "support/catch.hpp"
#include "synth/synthesise.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/scratch.hpp"

/// Reference cases as tests: a case file from the repository on a model written anew from its description.

namespace ltx2::test {

/// Folder with the models that cases name: DIR/NAME.safetensors and DIR/gemma_tiny. Written on first use, removed when
/// the program ends; a model of true width (1.6 GB) is written by the one test that wants it.
inline std::filesystem::path golden_models() {
  static const ScratchFolder folder;
  static const bool written = [] {
    for (const auto& entry : std::filesystem::directory_iterator(golden_path("configs"))) {
      const std::string name = entry.path().stem().string();
      if (name == "real23") continue;
      const Description description = read_description(entry.path().string());
      std::filesystem::path target = std::filesystem::path(folder.path()) / name;
      if (description.kind == ModelKind::gemma) {
        std::filesystem::copy(golden_path("models/" + name), target, std::filesystem::copy_options::recursive);
        target /= "model.safetensors";
        std::filesystem::remove(target);
      } else {
        target += ".safetensors";
      }
      synthesise(description, target);
    }
    return true;
  }();
  (void)written;
  return folder.path();
}

/// Settings for small cases: f32, and tiles so small that even they are cut where possible.
inline Settings case_settings(ltxmem::DType dtype = ltxmem::DType::f32) {
  Settings settings;
  settings.dtype = dtype;
  settings.threads = 2;
  settings.query_tile = settings.key_tile = settings.ffn_chunk = 256;
  return settings;
}

/// Runs the case STAGE/NAME in f32 and checks it against its tolerance.
inline void check_golden_case(const std::string& stage, const std::string& name,
                              HostTensors (*run)(const Case&, CaseModels&, Runtime&),
                              const Settings& settings = case_settings()) {
  const Case test = read_case(golden_path("cases/" + stage + "/" + name + ".safetensors"));
  Runtime runtime(settings);
  ltxmem::HostResource copies;
  CaseModels models(golden_models(), {}, copies);
  const Difference difference = compare(test.expected, run(test, models, runtime));
  INFO(stage << "/" << name << ": " << difference.tensor << " " << difference.reason);
  REQUIRE_FALSE(test.expected.empty());
  REQUIRE(test.tolerance > 0.0);
  CHECK(difference.relative <= test.tolerance);
}

}  // namespace ltx2::test
