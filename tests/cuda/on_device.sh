#!/usr/bin/env bash
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# On a machine with an NVIDIA GPU and the CUDA toolkit: builds, runs the tests of the CUDA backend, the example with
# --device cuda, the tests under compute-sanitizer, and the benchmarks, and writes what they said to one file that can be
# sent to the authors.
#
#   tests/cuda/on_device.sh [REPORT]     (cuda-report.txt)
#
# Ends with 0 when every test passed, with 4 before anything is built where there is no device.
set -uo pipefail
report="$(realpath -m "${1:-cuda-report.txt}")"
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
source cmake/packages.sh

need() {  # PROGRAM WHAT
  if ! command -v "$1" >/dev/null && [ ! -x "/usr/local/cuda/bin/$1" ]; then
    echo "$1 is missing: $2" >&2
    exit 4
  fi
}
PATH="$PATH:/usr/local/cuda/bin"
need nvidia-smi "it comes with the driver of an NVIDIA GPU"
need nvcc "it comes with the CUDA toolkit"
if ! devices="$(nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total,pci.bus_id --format=csv)"; then
  echo "nvidia-smi finds no device: $devices" >&2
  exit 4
fi

need_packages "${build_packages[@]}" "${test_packages[@]}"
failed=0

# part NAME COMMAND...: runs it; what it says goes to the report as well.
part() {
  local name="$1" started=$SECONDS status=0
  shift
  printf '\n==== %s: %s\n' "$name" "$*"
  "$@" 2>&1 || status=$?
  printf '==== %s: status %d after %d s\n' "$name" "$status" $((SECONDS - started))
  [ "$status" -eq 0 ] || failed=$((failed + 1))
}

# Google Benchmark ends with 0 whatever its benchmarks said.
benchmarks() {
  "$bin/ltxmem_cuda_benchmarks" "$@" | tee /dev/stderr | { ! grep -q 'ERROR OCCURRED'; }
}

# The example's cases with known answers, with the models that its run.sh has written and those it has not.
cases() {
  local golden=examples/ltx2/tests/golden model
  for model in ltx20_tiny ltx23_fp8 lora_tiny; do
    "$bin/ltx2" synth "$golden/configs/$model.json" "out/models/$model.safetensors" || return
  done
  find "$golden/cases" -name '*.safetensors' -not -path '*/real_width/*' -print0 | sort -z |
    xargs -0 "$bin/ltx2" check --device cuda --models out/models
}

programs=(cuda_host_tests cuda_backend_tests ltxmem_cuda_benchmarks)
bin=build/cuda/bin
{
  echo "ltxmem $(git describe --always --dirty 2>/dev/null), $(date -u +%F)"
  echo "$devices"
  nvcc --version | tail -n 2
  part configure cmake --preset cuda
  part build cmake --build --preset cuda --parallel "$(nproc)" --target "${programs[@]}"
  part "device" benchmarks --benchmark_filter=/smoke
  part "host tests" "$bin/cuda_host_tests"
  part "backend tests" "$bin/cuda_backend_tests"
  part "example from prompt to video" examples/ltx2/run.sh --preset cuda --device cuda
  part "example's cases" cases
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck initcheck; do
      part "$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 "$bin/cuda_backend_tests"
    done
  else
    echo "compute-sanitizer is missing, the tests were not run under it"
  fi
  part benchmarks benchmarks
  printf '\n%d parts failed\n' "$failed"
} > >(tee "$report") 2>&1
wait $!
echo "The report is $report"
[ "$failed" -eq 0 ]
