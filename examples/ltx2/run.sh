#!/usr/bin/env bash
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# Configures and builds the ltx2 program, installing what is missing, and makes a small video with sound from a model
# that it synthesises first. The pictures look like noise: the weights are formulas, not training. The last line is the
# path of the MP4.
#
#   examples/ltx2/run.sh [--preset NAME] [OPTION...]
#
#   --preset NAME  which preset of CMakePresets.json to build (release)
#   OPTION...      further options of `ltx2 generate`, for example --threads 2
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source cmake/packages.sh

preset=release
if [ "${1:-}" = --preset ]; then
  preset="${2:?--preset needs a name}"
  shift 2
fi

need_packages "${build_packages[@]}"

cmake --preset "$preset"
cmake --build --preset "$preset" --target ltx2 --parallel "$(nproc)"
ltx2="$PWD/build/$preset/bin/ltx2"
# The descriptions and the tokenizer are those of the reference data.
golden="$PWD/examples/ltx2/tests/golden"
out="$PWD/out"
models="$out/models"
mkdir -p "$models/gemma_tiny"

"$ltx2" synth "$golden/configs/ltx23_tiny.json" "$models/ltx23_tiny.safetensors"
"$ltx2" synth "$golden/configs/upscaler_tiny.json" "$models/upscaler_tiny.safetensors"
"$ltx2" synth "$golden/configs/gemma_tiny.json" "$models/gemma_tiny/model.safetensors"
cp "$golden/models/gemma_tiny/"* "$models/gemma_tiny/"

"$ltx2" generate --pipeline distilled \
  --checkpoint-path "$models/ltx23_tiny.safetensors" \
  --spatial-upsampler-path "$models/upscaler_tiny.safetensors" \
  --gemma-root "$models/gemma_tiny" \
  --prompt "A lighthouse at dusk, waves against the rocks, gulls calling" \
  --width 256 --height 128 --num-frames 25 --frame-rate 24 --seed 1 \
  --output-path "$out/ltx2.mp4" "$@"

echo "$out/ltx2.mp4"
