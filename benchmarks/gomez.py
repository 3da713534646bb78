"""Is spatiotemporal matching with box sums practical at the paper's size?

  python launch.py --mode=simulate --config=configs/paper.py --workdir=runs/full
  python benchmarks/gomez.py --workdir=runs/full

Matches one left-out subject with all others of the workdir, stage by stage, and
times the same search with directly gathered patches on some of its voxels.
"""

import pathlib
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from common import print_ratio

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from mrf_jax.dataset.normalise import MapRange, clip_outliers
from mrf_jax.dataset.subject import load_subject
from mrf_jax.matching.atlas import match_atlas
from mrf_jax.methods.gomez import aligned_scan, on_own_grid
from mrf_jax.signal.subspace import gram_matrix, temporal_basis

_WORKDIR = flags.DEFINE_string("workdir", None, "Workdir with subjects.")
_RANK = flags.DEFINE_integer("rank", 10, "Temporal components.")
_VOXELS = flags.DEFINE_integer("voxels", 512, "Voxels of the direct gather.")


@jax.jit
def gather_scores(patches, atoms, norms, centres):
  """Scores |⟨atom, patch⟩| of all candidates, patch by patch.

  Args:
    patches: patches of the left-out scan, [voxel, component, 27].
    atoms: padded training scan, [component, slice, y, x].
    norms: factors of the scores, [slice, y, x].
    centres: slice, y and x of the patches, [voxel] each.

  Returns:
    Scores, [voxel, candidate].
  """
  z, y, x = centres
  steps = jnp.stack(
    jnp.meshgrid(*(jnp.arange(n) for n in (3, 11, 11)), indexing="ij"), -1
  ).reshape(-1, 3)
  cube = jnp.stack(
    jnp.meshgrid(*(jnp.arange(3),) * 3, indexing="ij"), -1
  ).reshape(-1, 3)

  def scores(patch, z, y, x):
    at = jnp.array([z, y, x])[None, None] + steps[:, None] + cube[None]
    candidates = atoms[:, at[..., 0], at[..., 1], at[..., 2]]  # [c, n, 27]
    product = jnp.einsum("cdp,cp->d", candidates.conj(), patch)
    middle = jnp.array([z, y, x])[None] + steps + 1
    return jnp.abs(product) * norms[tuple(middle.T)]

  return jax.lax.map(lambda voxel: scores(*voxel), (patches, z, y, x))


def time_gather(query, mask, atlas_scan) -> float:
  """Seconds per voxel of one iteration over one scan by direct gather."""
  rng = np.random.default_rng(0)
  margin = ((0, 0), (2, 2), (6, 6), (6, 6))
  atoms = jnp.asarray(np.pad(atlas_scan.signals, margin))
  norms = jnp.asarray(np.ones(atoms.shape[1:], np.float32))
  voxels = rng.permutation(np.argwhere(mask))[: _VOXELS.value]
  padded = np.pad(query, ((0, 0), (1, 1), (1, 1), (1, 1)))
  patches = np.stack(
    [
      padded[:, z : z + 3, y : y + 3, x : x + 3].reshape(len(padded), 27)
      for z, y, x in voxels
    ]
  )
  seconds = []
  for _ in range(3):
    start = time.perf_counter()
    gather_scores(patches, atoms, norms, tuple(voxels.T)).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return min(seconds) / len(voxels)


def main(argv):
  """Times one fold with box sums, and the direct gather."""
  del argv
  logging.set_verbosity(logging.WARNING)
  paths = sorted(pathlib.Path(_WORKDIR.value).glob("data/subject-*.h5"))
  start = time.perf_counter()
  grams = [gram_matrix(load_subject(p).signals) for p in paths[1:]]
  basis = temporal_basis(sum(grams), rank=_RANK.value).astype(np.complex64)
  projected = [load_subject(p).signals @ basis for p in paths]
  compressing = time.perf_counter() - start
  subjects = [load_subject(p, with_signals=False) for p in paths]
  references = [
    clip_outliers(s.maps, percentiles=(0.1, 99.9)) for s in subjects
  ]
  map_range = MapRange.of(references[1:])
  start = time.perf_counter()
  fixed, shape = subjects[0], subjects[0].mask.shape
  atlas = [
    aligned_scan(fixed, scan, signals, map_range.scale(maps.stack()))
    for scan, signals, maps in zip(
      subjects[1:], projected[1:], references[1:], strict=True
    )
  ]
  query = on_own_grid(fixed, projected[0])
  aligning = time.perf_counter() - start
  start = time.perf_counter()
  match_atlas(query, fixed.mask, atlas, text="matching")
  matching = time.perf_counter() - start

  # Both iterations over all scans, from one iteration over one scan.
  gathering = time_gather(query, fixed.mask, atlas[0])
  gathering *= fixed.n_voxels * len(atlas) * 2
  candidates = 363 * len(atlas) * 2 * fixed.n_voxels
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  print(f"voxels {fixed.n_voxels}, atlas scans {len(atlas)}, {shape}")
  print(f"reading and compressing {len(paths)} scans  {compressing:8.1f} s")
  print(f"aligning                            {aligning:8.1f} s")
  print(f"matching, two iterations            {matching:8.1f} s")
  print(
    f"  per voxel and candidate           {matching / candidates * 1e9:8.1f} ns"
  )
  print(f"direct gather, extrapolated         {gathering:8.1f} s")
  print(f"peak memory                         {peak:8.2f} GiB")
  print_ratio(
    "spatiotemporal matching, box sums against direct gather",
    matching,
    gathering,
    "s",
  )


if __name__ == "__main__":
  flags.mark_flag_as_required("workdir")
  app.run(main)
