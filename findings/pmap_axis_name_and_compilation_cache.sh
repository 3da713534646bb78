#!/usr/bin/env bash
# jax 0.10.1, CPU.
#
# Guess: with JAX_COMPILATION_CACHE_DIR set, a second process that runs the same
# program finds all of its compiled functions in the persistent cache, those of
# `jax.pmap` as well as those of `jax.jit`.
#
# Behaviour: `jax.pmap` without `axis_name` invents a name for its axis, and
# that name differs from process to process. It is part of the program, so the
# cache key differs too: every process compiles again and adds one more entry.
# With `axis_name="device"`, which changes no result, the second process compiles
# nothing.
#
# Why it matters: training steps under `pmap` are the programs that take longest
# to compile. A run that is stopped and started again waits for them each time,
# and the cache grows without bound, although it is switched on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q jax==0.10.1 jaxlib==0.10.1 numpy==2.4.6
cat >"$folder/program.py" <<'PYTHON'
import sys

import jax
import numpy as np

options = {"axis_name": "device"} if sys.argv[1] == "named" else {}
step = jax.pmap(lambda x: (x * x).sum(), **options)
print(step(np.ones((jax.local_device_count(), 4), np.float32)))
PYTHON
entries() {  # named or unnamed: entries of a fresh cache after each process
  for _ in 1 2 3; do
    JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR="$folder/$1" \
      JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
      JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1 TF_CPP_MIN_LOG_LEVEL=3 \
      "$folder/v/bin/python" "$folder/program.py" "$1" >/dev/null
    find "$folder/$1" -name '*-cache' | wc -l
  done | xargs
}
unnamed=$(entries unnamed)
named=$(entries named)
echo "entries after one, two and three processes"
echo "  without axis_name: $unnamed"
echo "  with axis_name:    $named"
read -r first second third <<<"$unnamed"
[ "$second" -gt "$first" ] && [ "$third" -gt "$second" ]
read -r first second third <<<"$named"
[ "$second" -eq "$first" ] && [ "$third" -eq "$first" ]
echo "as described"
