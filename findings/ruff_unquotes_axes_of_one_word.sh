#!/usr/bin/env bash
# ruff 0.17.6, jaxtyping 0.3.11, numpy 2.4.6.
#
# Guess: the fix of rule UP037 (quoted annotations), one of those that ruff calls
# safe, changes no meaning: quotes inside of a subscript such as jaxtyping's
# Float[np.ndarray, "voxel"] name an axis, and with F722 and F821 switched off,
# as jaxtyping's own documents advise, code with shapes passes as it is.
#
# Behaviour: wherever Python does not evaluate an annotation (that of a variable
# in a function; with `from __future__ import annotations` all of them) the fix
# takes the quotes off an axis of one word and leaves those of several words. The
# name that then stands there is nobody's: F821, which would say so, is off, and
# whoever evaluates the annotation gets a NameError.
#
# Why it matters: `ruff check --fix` in a code base whose functions say their
# shapes this way breaks the check of these shapes, only for arrays of one axis,
# and by a change that reads like tidying.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q ruff==0.17.6 jaxtyping==0.3.11 numpy==2.4.6
cd "$folder"
cat >shapes.py <<'PYTHON'
from __future__ import annotations

import numpy as np
from jaxtyping import Float


def mean(rows: Float[np.ndarray, "voxel frame"]) -> Float[np.ndarray, "voxel"]:
  return rows.mean(1)
PYTHON
sed -e 's/^from __future__.*//' -e 's/  return rows.mean(1)/  found: dict[str, Float[np.ndarray, "voxel"]] = {}\n  found[""] = rows.mean(1)\n  return found[""]/' \
  shapes.py >local.py
hints='import shapes, typing; print(sorted(typing.get_type_hints(shapes.mean)))'
echo "before: $(v/bin/python -c "$hints")"
for file in shapes.py local.py; do
  v/bin/ruff check -q --isolated --select UP,F --ignore F722,F821 --fix "$file"
  echo "== $file"
  grep 'voxel' "$file"
done
grep -q 'rows: Float\[np.ndarray, "voxel frame"\]) -> Float\[np.ndarray, voxel\]:' shapes.py
grep -q 'rows: Float\[np.ndarray, "voxel frame"\]) -> Float\[np.ndarray, "voxel"\]:' local.py
grep -q 'found: dict\[str, Float\[np.ndarray, voxel\]\]' local.py
after=$({ v/bin/python -c "$hints" 2>&1 || true; } | tail -1)
echo "after: $after"
[ "$after" = "NameError: name 'voxel' is not defined" ]
