#!/usr/bin/env bash
# jax 0.10.1, jaxlib 0.10.1, numpy 2.4.6, CPU.
#
# Guess: `jax.numpy.split(x, [-3], -1)` takes the last three channels off, as
# `numpy.split` does and as slices `x[..., :-3]` and `x[..., -3:]` do in both:
# jax.numpy follows NumPy where it differs from it by nothing that is traced,
# and the indices are Python numbers.
#
# Behaviour: NumPy counts a negative index from the end. jax.numpy turns the
# indices into lengths first, as differences from 0 to the length of the axis,
# and ends with ValueError for the negative one. An index beyond the end, which
# is an empty part in NumPy, is such an error, too.
#
# Why it matters: networks often have outputs that belong together at the end of
# a channel axis (maps, then logarithms of their deviations), and code that was
# written and tested with NumPy splits them off by an index from there. What it
# then says, of sizes, names none that was given.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q jax==0.10.1 jaxlib==0.10.1 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/v/bin/python" - <<'PYTHON'
import jax.numpy as jnp
import numpy as np

channels = np.arange(20.0).reshape(2, 10)


def shapes(split, x, index):
  try:
    return [part.shape for part in split(x, [index], -1)]
  except ValueError as error:
    return f"ValueError: {error}"


seen = {}
for index in (7, -3, 12):
  seen[index] = (
    shapes(np.split, channels, index),
    shapes(jnp.split, jnp.asarray(channels), index),
  )
  print(f"index {index}: NumPy {seen[index][0]}, jax {seen[index][1]}")
slices = jnp.asarray(channels)[:, :-3], jnp.asarray(channels)[:, -3:]
print("slices in jax:", [part.shape for part in slices])

assert seen[7][0] == seen[7][1] == [(2, 7), (2, 3)]
assert seen[-3][0] == [(2, 7), (2, 3)] == [part.shape for part in slices]
assert str(seen[-3][1]).startswith("ValueError"), "jax counts from the end now"
assert seen[12][0] == [(2, 10), (2, 0)]
print("index beyond the end in jax:", seen[12][1])
assert seen[12][1] != seen[12][0], "jax makes an empty part now"
PYTHON
