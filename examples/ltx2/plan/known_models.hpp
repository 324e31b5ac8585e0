// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/model_config.hpp"
#include "pipeline/models.hpp"

namespace ltx2 {

/// The released models of a version in bf16 with the 12B text encoder and the x2 upsampler, as far as plans need them.
/// Source  docs/ltx2/transformer.md 1, docs/ltx2/text.md 2-4, docs/ltx2/vae.md 2-7
ModelDescriptions known_models(ModelVersion version);

}  // namespace ltx2
