#!/usr/bin/env bash
# jax 0.10.1, jaxlib 0.10.1, x86-64 CPU.
#
# Guess: a program that was compiled and cached on a machine is loaded there
# again in silence.
#
# Behaviour: each load of a CPU program from JAX's persistent compilation cache
# writes lines to stderr at the level of an error: "Target machine feature
# +prefer-no-gather is not supported on the host machine" and the like, which
# warn of wrong results. XLA itself adds these preferences when it compiles; they
# are not features of a processor, and so the machine is never found to have
# them. The values are the same to the last bit.
#
# Why it matters: a command whose stderr is read by a person, or by a test, has
# hundreds of such lines as soon as the cache is on. TF_CPP_MIN_LOG_LEVEL=3
# removes them, with every other error of XLA's log.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q jax==0.10.1 jaxlib==0.10.1 numpy==2.4.6
cat >"$folder/program.py" <<'PYTHON'
import jax
import numpy as np

x = np.linspace(0, 1, 4096, dtype=np.float32)
print(np.asarray(jax.jit(lambda x: (x @ x.T, np.sin(1) * x[::7]))(x)[1]).tobytes().hex()[:400])
PYTHON
run() {  # TF_CPP_MIN_LOG_LEVEL
  JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR="$folder/cache" \
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
    JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1 TF_CPP_MIN_LOG_LEVEL="$1" \
    "$folder/v/bin/python" "$folder/program.py"
}
first=$(run 0 2>"$folder/first")
second=$(run 0 2>"$folder/second")
third=$(run 3 2>"$folder/third")
count() { grep -c "machine feature" "$folder/$1" || true; }
echo "lines on features: compiled $(count first), loaded $(count second)," \
  "loaded with TF_CPP_MIN_LOG_LEVEL=3 $(count third)"
grep -m1 -o "Target machine feature [^ ]* is not *supported" "$folder/second"
[ "$first" = "$second" ] && [ "$second" = "$third" ]
[ "$(count first)" -eq 0 ] && [ "$(count second)" -gt 0 ] && [ "$(count third)" -eq 0 ]
echo "as described"
