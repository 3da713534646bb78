#!/usr/bin/env bash
# jax 0.10.1, jaxlib 0.10.1, CPU.
#
# Guess: `lowered.cost_analysis()["flops"]` and that of a compiled program are
# the floating-point operations that a run of it makes, so that flops over
# seconds is the rate of the machine.
#
# Behaviour: the body of a loop (`fori_loop`, `scan`, `lax.map`) counts once,
# although the number of rounds is a constant of the program; the same rounds
# under `vmap` count each. A product of complex matrices counts as one of real
# ones, which needs a quarter of the operations.
#
# Why it matters: training loops, blocks of voxels and extended phase graphs are
# loops, and dictionary matching is a complex product: a table of achieved FLOP
# a second made of these numbers is too low by the number of rounds, or by four.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/v"
"$folder/v/bin/pip" install -q jax==0.10.1 jaxlib==0.10.1 numpy==2.4.6
JAX_PLATFORMS=cpu "$folder/v/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp

N, ROUNDS = 256, 10


def flops(function, *shapes, dtype=jnp.float32):
  arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
  lowered = jax.jit(function).lower(*arguments)
  return (
    lowered.cost_analysis()["flops"],
    lowered.compile().cost_analysis()["flops"],
  )


def loop(x):
  return jax.lax.fori_loop(0, ROUNDS, lambda _, y: y @ y, x)


product = 2 * N**3
found = {
  "one product": flops(lambda x: x @ x, (N, N)),
  f"{ROUNDS} in a loop": flops(loop, (N, N)),
  f"{ROUNDS} under vmap": flops(jax.vmap(lambda x: x @ x), (ROUNDS, N, N)),
  "one complex product": flops(lambda x: x @ x, (N, N), dtype=jnp.complex64),
}
for name, both in found.items():
  lowered, compiled = (round(value / product, 3) for value in both)
  print(f"{name}: {lowered} products' operations lowered, {compiled} compiled")
one, looped, mapped, complex_one = (both[0] / product for both in found.values())
assert abs(one - 1) < 0.01
assert abs(looped - 1) < 0.01
assert abs(mapped - ROUNDS) < 0.1
assert abs(complex_one - 1) < 0.01
print("as described")
PYTHON
