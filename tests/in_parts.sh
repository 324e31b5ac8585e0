#!/usr/bin/env bash
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

# Runs the cases of a Catch2 program in as many processes at a time as there are cores. Prints what each of them printed,
# whole; the last line is "N passed, N failed" over all. A case that did not run counts as failed, and so does a process
# that ends badly although its cases passed: a sanitizer's finding at the end.
#
#   tests/in_parts.sh [--draw SEED] PROGRAM [FILTER]
#
#   --draw SEED  only one of the cases, which the seed decides
set -uo pipefail

seed=""
if [ "${1:-}" = --draw ]; then
  seed="${2:?--draw needs a seed}"
  shift 2
fi
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
if [ -n "$seed" ]; then
  RANDOM=$seed
  sed -n "$((RANDOM % total + 1))p" "$folder/names" >"$folder/drawn"
  mv "$folder/drawn" "$folder/names"
  total=1
  echo "seed $seed draws \"$(cat "$folder/names")\""
fi
# More parts than cores: none is left alone with the slow ones.
split --number="r/$((8 * cores))" --elide-empty-files "$folder/names" "$folder/part."

run_part() {
  local status=0
  "$program" --input-file "$1" >"$1.log" 2>&1 </dev/null || status=$?
  if ! [[ "$(tail -n 1 "$1.log")" =~ ^[0-9]+\ passed,\ [0-9]+\ failed$ ]]; then
    printf '%s ended with status %d before it had counted its cases\n' "$program" "$status" >>"$1.log"
    cat "$1" >>"$1.log"
  elif [ "$status" -ne 0 ] && [[ "$(tail -n 1 "$1.log")" =~ \ 0\ failed$ ]]; then
    printf '%s ended with status %d although its cases passed\n' "$program" "$status" >>"$1.log"
    touch "$1.bad"
  fi
  flock "$folder" cat "$1.log"
}
export -f run_part
printf '%s\n' "$folder"/part.?? | xargs -P "$cores" -I{} bash -c 'run_part {}'

passed="$(cat "$folder"/*.log | awk '/^[0-9]+ passed, [0-9]+ failed$/ { passed += $1 } END { print passed + 0 }')"
bad="$(find "$folder" -name '*.bad' | wc -l)"
echo "$passed passed, $((total - passed + bad)) failed"
[ "$passed" -eq "$total" ] && [ "$bad" -eq 0 ]
