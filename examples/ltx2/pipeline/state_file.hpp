// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "ltxmem/core/dtype.hpp"
#include "ltxmem/io/safetensors.hpp"
#include "pipeline/models.hpp"
#include "pipeline/pipeline.hpp"
#include "pipeline/request.hpp"
#include "runtime/facts.hpp"

namespace ltx2 {

/// All that the values of a clip follow from, by the names of the options: two runs with equal facts make the same clip
/// (as equal as their numbers of ranks allow).
Facts clip_facts(const GenerateRequest& request, const Models& models, ltxmem::DType dtype);

/// The file beside a clip's output that keeps the finished steps of a run: "<output>.state", a safetensors file with
/// the latents. Each step replaces the one before, whole; without an end of the run it stays.
///
/// Throws  IoError naming the file and the cause
class StateFile {
 public:
  /// facts: those of the clip, asked for once they are needed, because fingerprints read from every tensor.
  StateFile(const std::string& output_path, std::function<Facts()> facts);

  const std::string& path() const noexcept { return path_; }

  bool exists() const noexcept;

  /// Whether there are steps in it that this object has written or opened.
  bool is_ours() const noexcept { return is_ours_; }

  /// What an earlier run left, mapped while this object lives. IoError unless it is there, sound, and of the same clip:
  /// names what differs.
  const SavedSteps& open();

  void write(const SavedSteps& steps);

  /// When the clip is there: removes the file, if it is this object's.
  void remove() noexcept;

 private:
  const std::string& facts_text();

  std::string path_;
  std::function<Facts()> facts_;
  std::string facts_text_;  ///< empty: not asked for yet
  std::optional<ltxmem::SafetensorsFile> file_;
  SavedSteps steps_;
  bool is_ours_ = false;  ///< written or opened
};

/// How far the steps have come and the shapes of their tensors, as text: what a process needs to go through the same
/// run that has no numbers of its own. The tensors that come back have no memory.
std::string shapes_text(const SavedSteps& steps);
SavedSteps steps_of_shapes(const std::string& text);

}  // namespace ltx2
