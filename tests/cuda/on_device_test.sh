#!/usr/bin/env bash
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# on_device.sh where there is no device, and where its first step fails: what it says, its exit code and its report.
set -euo pipefail
script="$(dirname "$(realpath "${BASH_SOURCE[0]}")")/on_device.sh"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

pretend() {  # PROGRAM COMMANDS
  printf '#!/bin/sh\n%s\n' "$2" >"$folder/$1"
  chmod +x "$folder/$1"
}

# What it said is in $folder/said; it must end with that status.
expect_status() {
  local status=0
  PATH="$folder:$PATH" "$script" "$folder/report" >"$folder/said" 2>&1 || status=$?
  if [ "$status" -ne "$1" ]; then
    cat "$folder/said"
    echo "on_device.sh ended with $status, expected $1"
    exit 1
  fi
}

pretend nvcc 'echo "a compiler"'
pretend nvidia-smi 'echo "No devices were found"; exit 6'
expect_status 4
grep -qx 'nvidia-smi finds no device: No devices were found' "$folder/said"
[ ! -e "$folder/report" ]

pretend nvidia-smi 'echo "a device"'
pretend cmake 'echo "this goes wrong"; exit 7'
expect_status 1
grep -qx 'this goes wrong' "$folder/report"
grep -q '^configure FAILED, status 7, after' "$folder/report"
[ "$(tail -n 1 "$folder/report")" = '1 parts failed' ]
if grep -q 'build' "$folder/report"; then
  echo "on_device.sh went on after its first step had failed"
  exit 1
fi
