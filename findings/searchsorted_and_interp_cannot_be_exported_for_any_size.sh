#!/usr/bin/env bash
# jax 0.10.1, jaxlib 0.10.1, CPU.
#
# Guess: what is exported with a symbolic size (`jax.export.symbolic_shape`) may
# sort, take percentiles and look values up alike; and if the default bisection
# of `searchsorted` is in the way, `method="sort"` or `method="compare_all"`,
# which need no number of rounds, are not.
#
# Behaviour: `sort`, `argsort`, `median`, `percentile`, `histogram` and
# `digitize` into constant edges are exported. `searchsorted` in an array of
# symbolic size, by each of its four methods, and so `interp`, end with
# InconclusiveDimensionOperation. Two `argsort`s of the values and the limits
# together count the same.
#
# Why it matters: a program for scans of any number of voxels, that looks up a
# robust level of the signals, a quantile's rank or a curve of T2 over its
# estimates, runs under `jit` in all tests, and fails only when it is exported.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q jax==0.10.1 jaxlib==0.10.1 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/v/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np

(n,) = jax.export.symbolic_shape("n")
ANY_SIZE = jax.ShapeDtypeStruct((n,), jnp.float32)


def search(method):
  return lambda x: jnp.searchsorted(jnp.sort(x), 2 * x, method=method)


def by_two_sorts(x):
  both = jnp.concatenate([2 * x, jnp.sort(x)])
  ranks = jnp.argsort(jnp.argsort(both, stable=True), stable=True)
  own = jnp.argsort(jnp.argsort(2 * x, stable=True), stable=True)
  return ranks[: x.shape[0]] - own


exported = {
  "sort": jnp.sort,
  "argsort": jnp.argsort,
  "median": jnp.median,
  "percentile": lambda x: jnp.percentile(x, 98.0),
  "histogram": lambda x: jnp.histogram(x, bins=5)[0],
  "digitize": lambda x: jnp.digitize(x, jnp.linspace(0.0, 1.0, 5)),
  "two argsorts": by_two_sorts,
}
refused = {
  **{
    f"searchsorted, {method}": search(method)
    for method in ("scan", "scan_unrolled", "sort", "compare_all")
  },
  "interp": lambda x: jnp.interp(x, jnp.sort(x), x),
}
values = jnp.asarray(np.random.default_rng(0).normal(size=101), jnp.float32)
for name, function in {**exported, **refused}.items():
  jax.jit(function)(values)
  try:
    jax.export.export(jax.jit(function))(ANY_SIZE)
    outcome = "exported"
  except Exception as error:
    outcome = type(error).__name__
  print(f"{name}: under jit runs; for any size {outcome}")
  wanted = "exported" if name in exported else "InconclusiveDimensionOperation"
  assert outcome == wanted, name
same = jax.jit(by_two_sorts)(values) == jax.jit(search("sort"))(values)
assert same.all()
print("two argsorts count what searchsorted counts: as described")
PYTHON
