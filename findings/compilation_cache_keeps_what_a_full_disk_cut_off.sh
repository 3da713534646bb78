#!/usr/bin/env bash
# jax 0.10.1, jaxlib 0.10.1, CPU.
#
# Guess: if the persistent compilation cache cannot write an entry (a full disk,
# a quota), that program is compiled again by the next process, which writes the
# entry as soon as there is room.
#
# Behaviour: an entry is written in place, and what was written before the error
# stays. Later processes find a file of that name: each warns that the entry
# cannot be read and compiles anew, and none replaces it, since an entry that
# exists is never written again. The same is left behind by a process that is
# killed while it writes, and seen by one that reads meanwhile.
#
# Why it matters: one full disk makes a cache useless for good, for just the
# large programs that it is for, and adds a warning to every run; where warnings
# are errors, programs stop. Emptying the folder is the remedy, or a cache whose
# entries are moved into place.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q jax==0.10.1 jaxlib==0.10.1 numpy==2.4.6
cat >"$folder/program.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np


@jax.jit
def iterate(x):
  for k in range(60):
    x = jnp.sin(x @ x.T + k) @ x
  return x


print(float(iterate(np.eye(32, dtype=np.float32)).sum()))
PYTHON
run() {  # name: output and errors go to files of this name
  JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR="$folder/cache" \
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
    JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1 TF_CPP_MIN_LOG_LEVEL=3 \
    PYTHONDONTWRITEBYTECODE=1 \
    "$folder/v/bin/python" "$folder/program.py" \
    >"$folder/$1.out" 2>"$folder/$1.err"
}
warned() { grep -c "Error $2 persistent compilation cache" "$folder/$1.err" || true; }
# No file may grow above 16 KiB, as if the disk were full.
(ulimit -f 16; run limited)
cp -r "$folder/cache" "$folder/left"
run second
run third
echo "warnings: writing, first run $(warned limited writing); reading, second" \
  "run $(warned second reading), third run $(warned third reading)"
largest() { find "$1" -name 'jit_iterate*-cache' -printf '%s\n' | sort -n | tail -1; }
echo "bytes of the entry: $(largest "$folder/left"), after two more runs" \
  "$(largest "$folder/cache")"
[ "$(largest "$folder/left")" = "$(largest "$folder/cache")" ]
rm -r "$folder/cache"
run fresh
echo "bytes of a whole entry: $(largest "$folder/cache")"
cmp "$folder/limited.out" "$folder/fresh.out"
cmp "$folder/third.out" "$folder/fresh.out"
[ "$(warned limited writing)" -gt 0 ]
[ "$(warned second reading)" -gt 0 ] && [ "$(warned third reading)" -gt 0 ]
[ "$(largest "$folder/left")" -lt 16385 ] && [ "$(largest "$folder/left")" -gt 0 ]
echo "as described"
