#!/usr/bin/env bash
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# On a machine with an NVIDIA GPU and the CUDA toolkit: builds, runs the tests of the CUDA backend, the example with
# --device cuda, the tests under compute-sanitizer, and the benchmarks, and writes what they said to one file that can be
# sent to the authors. Its last lines say how each part ended.
#
#   tests/cuda/on_device.sh [REPORT]     (cuda-report.txt)
#
# Ends with 0 when every part passed, with 4 before anything is built where there is no device.
set -uo pipefail
report="$(realpath -m "${1:-cuda-report.txt}")"
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
source cmake/packages.sh

need() {  # PROGRAM WHAT
  if ! command -v "$1" >/dev/null && [ ! -x "/usr/local/cuda/bin/$1" ]; then
    echo "$1 is missing: $2" >&2
    return 4
  fi
}
PATH="$PATH:/usr/local/cuda/bin"
need nvidia-smi "it comes with the driver of an NVIDIA GPU" || exit
need nvcc "it comes with the CUDA toolkit" || exit
if ! devices="$(nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total,pci.bus_id --format=csv)"; then
  echo "nvidia-smi finds no device: $devices" >&2
  exit 4
fi

cards=$(($(wc -l <<<"$devices") - 1))   # the first line has titles
export NCCL_P2P_DIRECT_DISABLE=1   # memory of the tests is given in the order of a stream, see NcclCommunicator

need_packages "${build_packages[@]}" "${test_packages[@]}"
failed=0
summary=""

# part NAME COMMAND...: runs it; what it says goes to the report as well.
part() {
  local name="$1" started=$SECONDS status=0 ended=passed
  shift
  printf '\n==== %s: %s\n' "$name" "$*"
  "$@" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    ended="FAILED, status $status,"
    failed=$((failed + 1))
  fi
  printf '==== %s %s after %d s\n' "$name" "$ended" $((SECONDS - started))
  summary+="$name $ended after $((SECONDS - started)) s"$'\n'
  return "$status"
}

# Google Benchmark ends with 0 whatever its benchmarks said. grep reads to the end: otherwise the rest would be lost.
benchmarks() {
  "$bin/ltxmem_cuda_benchmarks" "$@" | tee /dev/stderr | { ! grep 'ERROR OCCURRED' >/dev/null; }
}

# The tiny models of the example, anew.
models() {
  local golden=examples/ltx2/tests/golden model
  mkdir -p out/models/gemma_tiny && cp "$golden/models/gemma_tiny/"* out/models/gemma_tiny/ || return
  "$bin/ltx2" synth "$golden/configs/gemma_tiny.json" out/models/gemma_tiny/model.safetensors || return
  for model in ltx20_tiny ltx23_tiny ltx23_fp8 lora_tiny upscaler_tiny; do
    "$bin/ltx2" synth "$golden/configs/$model.json" "out/models/$model.safetensors" || return
  done
}

# The example's cases with known answers.
cases() {
  find examples/ltx2/tests/golden/cases -name '*.safetensors' -not -path '*/real_width/*' -print0 | sort -z |
    xargs -0 "$bin/ltx2" check --device cuda --models out/models
}

# Those of the transformer on all cards together.
cases_on_ranks() {  # LAYOUT
  local cases=examples/ltx2/tests/golden/cases
  "$bin/ltx2" check --device cuda --ranks "$cards" --parallel "$1" --models out/models \
    "$cases"/transformer/*.safetensors "$cases"/denoise/*.safetensors
}

# Everything, in the order in which it helps to know: nothing can be said of a build that failed.
all() {
  part configure cmake --preset cuda || return
  part build cmake --build --preset cuda --parallel "$(nproc)" --target cuda_host_tests cuda_backend_tests \
    ltxmem_cuda_benchmarks ltx2 || return
  part device benchmarks --benchmark_filter=/smoke
  part "host tests" "$bin/cuda_host_tests"
  part "backend tests" "$bin/cuda_backend_tests"
  part "models of the example" models
  part "cases of the example" cases
  if [ "$cards" -gt 1 ]; then
    for layout in sequence tensor both; do
      part "cases on $cards cards, $layout" cases_on_ranks "$layout"
    done
  fi
  rm -f out/report.json
  part "example from prompt to video" examples/ltx2/run.sh --preset cuda --device cuda --report "$PWD/out/report.json"
  part "memory planned and measured" cat out/report.json
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck initcheck; do
      part "$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 "$bin/cuda_backend_tests"
    done
  else
    summary+="compute-sanitizer is missing, the tests were not run under it"$'\n'
  fi
  part benchmarks benchmarks
}

bin=build/cuda/bin
{
  echo "ltxmem $(git describe --always --dirty 2>/dev/null), $(date -u +%F)"
  echo "$devices"
  nvcc --version | tail -n 2
  all
  printf '\n%s%d parts failed\n' "$summary" "$failed"
} > >(tee "$report") 2>&1
wait $!
echo "The report is $report"
[ "$failed" -eq 0 ]
