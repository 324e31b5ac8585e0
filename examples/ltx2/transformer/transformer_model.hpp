// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "checkpoint/checkpoint.hpp"
#include "config/transformer_config.hpp"
#include "runtime/runtime.hpp"
#include "transformer/inputs.hpp"

namespace ltx2 {

/// The transformer of a checkpoint, ready to be called again and again: once per step and guidance pass.
///
/// Every call is planned first, which costs next to nothing; the workspace is kept from call to call and only made anew
/// when a call needs more.
///
/// With several ranks (Settings::ranks) the video's tokens are shared out among them for the time of a call.
///
/// Memory    that of Transformer and, unless weights are used in place, their slots, while the object lives
/// Throws    ShapeError for inputs that do not fit the configuration, or that resume a prefix which was not saved;
///           OutOfMemory; Cancelled; of several ranks, see RankWorkspaces
///
/// The LoRAs that the checkpoint has when the object is made stay part of it. Borrows runtime and checkpoint.
class TransformerModel {
 public:
  TransformerModel(Runtime& runtime, const Checkpoint& checkpoint);

  /// With another configuration than the file's: other rotary embeddings, for example. IoError when tensors do not fit.
  TransformerModel(Runtime& runtime, const Checkpoint& checkpoint, const TransformerConfig& config);

  ~TransformerModel();

  void predict(const TransformerInput& input, const TransformerOutput& output);

  /// What one call takes on its first working rank, without doing it.
  Runtime::Plan plan(const TransformerInput& input, const TransformerOutput& output) const;

 private:
  class Bound;
  template <class T, class Backend>
  class BoundTo;

  std::unique_ptr<Bound> bound_;
};

}  // namespace ltx2
