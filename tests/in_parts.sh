#!/usr/bin/env bash
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# Runs the cases of a Catch2 program in as many processes at a time as there are cores. Prints what each of them printed,
# whole; the last line is "N passed, N failed" over all. A case that did not run counts as failed.
#
#   tests/in_parts.sh PROGRAM [FILTER]
set -uo pipefail

export program="$1" folder
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cores="$(nproc)"

# Catch2 2 exits with the number of names, which is no failure, and reads a comma as the end of a name.
"$program" --list-test-names-only "${@:2}" | sed 's/,/\\,/g' >"$folder/names" || true
total="$(wc -l <"$folder/names")"
if [ "$total" -eq 0 ]; then
  echo "$program lists no case ${*:2}"
  exit 1
fi
# More parts than cores: none is left alone with the slow ones.
split --number="r/$((8 * cores))" --elide-empty-files "$folder/names" "$folder/part."

run_part() {
  local status=0
  "$program" --input-file "$1" >"$1.log" 2>&1 </dev/null || status=$?
  if ! [[ "$(tail -n 1 "$1.log")" =~ ^[0-9]+\ passed,\ [0-9]+\ failed$ ]]; then
    printf '%s ended with status %d before it had counted its cases\n' "$program" "$status" >>"$1.log"
    cat "$1" >>"$1.log"
  fi
  flock "$folder" cat "$1.log"
}
export -f run_part
printf '%s\n' "$folder"/part.?? | xargs -P "$cores" -I{} bash -c 'run_part {}'

passed="$(cat "$folder"/*.log | awk '/^[0-9]+ passed, [0-9]+ failed$/ { passed += $1 } END { print passed + 0 }')"
echo "$passed passed, $((total - passed)) failed"
[ "$passed" -eq "$total" ]
