#!/usr/bin/env bash
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# Configures, builds and runs all tests, installing what is missing. The last line is "N passed, N failed", counted in
# test cases; the exit status is 0 when none failed and at least one ran.
#
#   tests/run.sh [--long] [--preset NAME]
#
#   --long         also runs the cases tagged [long] and every mutant of the CUDA kernels and host code
#   --preset NAME  which preset of CMakePresets.json to build (release)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source cmake/packages.sh

preset=release
long=no
while [ $# -gt 0 ]; do
  case "$1" in
    --long) long=yes ;;
    --preset) preset="${2:?--preset needs a name}"; shift ;;
    *) sed -n '5,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done

need_packages "${build_packages[@]}" "${test_packages[@]}"

cmake --preset "$preset"
cmake --build --preset "$preset" --parallel "$(nproc)"

passed=0
failed=0
logs="$PWD/build/$preset/logs"
mkdir -p "$logs"

# Runs a command and adds up its closing line; one that ends without it counts as a failed case.
count() {  # NAME COMMAND...
  local log="$logs/$1.log" started=$SECONDS status=0
  echo "== $1"
  "${@:2}" 2>&1 | tee "$log" || status=$?
  if [[ "$(tail -n 1 "$log")" =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
    if [ "$status" -ne 0 ] && [ "${BASH_REMATCH[2]}" -eq 0 ]; then
      failed=$((failed + 1))
    fi
  else
    echo "$1 ended with status $status before it had counted its cases"
    failed=$((failed + 1))
  fi
  echo "== $((SECONDS - started)) s"
}

run_cases() {  # PROGRAM [FILTER]
  count "$1" tests/in_parts.sh "build/$preset/bin/$1" "${@:2}"
}

if [ -x "build/$preset/bin/simt_tests" ]; then  # g++ without sanitizers only
  run_cases simt_tests
  if [ "$long" = yes ]; then
    count simt_mutation cmake --build --preset "$preset" --target simt_mutation
  fi
fi

if [ -x "build/$preset/bin/double_tests" ]; then  # where there is nvcc
  run_cases double_tests
  for seed in 0 7; do
    LTXMEM_DOUBLE_SEED=$seed LTXMEM_DOUBLE_DEVICES=3 run_cases double_backend_tests
    LTXMEM_DOUBLE_SEED=$seed run_cases ltx2_double_tests '~[long]~[golden]'
  done
  run_cases ltx2_double_tests '[golden]~[long]'
  if [ "$long" = yes ]; then
    run_cases ltx2_double_tests '[long]'
    count double_mutation cmake --build --preset "$preset" --target double_mutation
  fi
fi

for program in ltxmem_tests ltx2_tests; do
  if [ ! -x "build/$preset/bin/$program" ]; then
    echo "$program was not built"
    failed=$((failed + 1))
    continue
  fi
  run_cases "$program" '~[long]'
  if [ "$long" = yes ]; then
    # [child]: started by other cases. One at a time: some take most of the memory.
    count "$program" "build/$preset/bin/$program" '[long]~[child]'
  fi
done

echo "== scripts"
started=$SECONDS
ctest --test-dir "build/$preset" -L 'script|cuda-build|mutation' -j "$(nproc)" --output-on-failure 2>&1 |
  tee "$logs/scripts.log" || true
if [[ "$(cat "$logs/scripts.log")" =~ ([0-9]+)\ tests\ failed\ out\ of\ ([0-9]+) ]]; then
  passed=$((passed + BASH_REMATCH[2] - BASH_REMATCH[1]))
  failed=$((failed + BASH_REMATCH[1]))
else
  echo "the script tests did not run"
  failed=$((failed + 1))
fi
echo "== $((SECONDS - started)) s"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
