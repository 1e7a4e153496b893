#!/usr/bin/env bash
# Bring .venv to what requirements.txt asks for. Already there, this takes no time; interrupted or outdated, the
# installation is done again; made by another Python or in another folder, the environment is made anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}

fail() {
  echo "$1" >&2
  exit 1
}
version=$("$python" -c 'import sys; print(*sys.version_info[:2], sep=".")' 2>/dev/null) ||
  fail "Python: expected the command $python, found none that runs; on Debian, apt-get install python3 python3-venv"
((${version%.*} > 3 || (${version%.*} == 3 && ${version#*.} >= 11))) ||
  fail "Python: expected 3.11 or newer, got $version; name another with make PYTHON=python3.11"

home="$version in $PWD"
state=$(cat requirements.txt constraints.txt pyproject.toml | cksum)
made_here() { [[ "$(cat .venv/.home 2>/dev/null)" == "$home" ]] && .venv/bin/python -c '' 2>/dev/null; }
ready() { made_here && [[ "$(cat .venv/.ready 2>/dev/null)" == "$state" ]]; }

ready && exit
# One at a time: who comes second finds the work done. (A system without flock, such as macOS, has no such guard.)
exec 9<Makefile
if command -v flock >/dev/null; then flock 9; fi
ready && exit
if ! made_here; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "Python $version has no venv; on Debian, apt-get install python3-venv"
  if ! "$python" -m venv --clear .venv; then
    # A full disk is what it does not name.
    head -c 1M /dev/zero 2>/dev/null >.venv/.room || fail "Making .venv: the disk is full. The next make begins anew."
    fail "Making .venv: Python says above what stopped it. The next make begins anew."
  fi
  echo "$home" >.venv/.home
fi
rm -f .venv/.ready
echo "Installing into .venv: a few minutes the first time"
quiet=()
[[ -t 1 ]] || quiet=(--quiet) # a person sees the progress, a log does not need it
# What pip complains of is shown and kept, to end in one line that says what is the matter.
exec 3>&1
if ! complaints=$(.venv/bin/python -m pip install --disable-pip-version-check "${quiet[@]}" \
  --requirement requirements.txt 2>&1 >&3 3>&- | tee -a /dev/stderr); then
  case $complaints in
    *"No space left on device"*) reason="the disk is full" ;;
    *NewConnectionError* | *NameResolutionError* | *ConnectTimeoutError* | *ProxyError*)
      reason="there is no connection to the package index" ;;
    *) reason="pip says above what stopped it" ;;
  esac
  fail "Installing into .venv: $reason. The next make goes on from here."
fi
echo "$state" >.venv/.ready
