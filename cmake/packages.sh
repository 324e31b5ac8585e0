# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034

# Sourced by the run scripts. need_packages NAME... installs the Debian or Ubuntu packages that are missing, as root or
# through sudo; where it may not install, it says which ones are missing and ends the script. Nothing is touched, and no
# network is used, when everything is there.

build_packages=(g++ cmake ninja-build libdnnl-dev libhwy-dev libcli11-dev nlohmann-json3-dev libsentencepiece-dev
  libpng-dev libturbojpeg0-dev ffmpeg)
test_packages=(catch2 libbenchmark-dev clang-14 libopenmpi-dev openmpi-bin python3)

need_packages() {
  local missing=() name as_root=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is neither Debian nor Ubuntu; the build needs what these packages hold there: $*"
    return
  fi
  for name in "$@"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$name")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    return
  fi
  if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo)
    if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
      echo "Packages are missing and this user may not install them. Ask for:" >&2
      echo "  apt-get install ${missing[*]}" >&2
      exit 1
    fi
  fi
  echo "Installing ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq
    -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
  # Package lists may be absent or old: ask for new ones first, and let the installation decide.
  "${apt[@]}" update || true
  if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null; then
    echo "Installing failed. Missing: ${missing[*]}" >&2
    exit 1
  fi
}
