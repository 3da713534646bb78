"""`shard_map` gives the results of `pmap`, on six virtual devices."""

import os
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

from mrf_jax.training import devices

# Trains fewer folds than devices, and more, by both; their networks
# and metrics go to a file.
TRAIN = textwrap.dedent("""
  import dataclasses, sys
  import jax, numpy as np
  from mrf_jax.training import devices
  from mrf_jax.training.train import train_folds
  from tests.training.examples import DROPOUT_NETWORK, OPTIONS, tiny_study
  assert jax.device_count() == 6
  found = {}
  for n_folds, at_once in ((4, 1), (9, 2)):
    for way in ("by_pmap", "by_shard_map"):
      devices.MAP_DEVICES = getattr(devices, way)
      options = dataclasses.replace(
        OPTIONS, folds_at_once=at_once, watched_voxels=5)
      metrics = []
      trained = train_folds(
        DROPOUT_NETWORK, tiny_study(n_folds, size=6), options,
        on_epoch=lambda epoch, values: metrics.append(values))
      results = [fold.variables for fold in trained], metrics
      for path, leaf in jax.tree_util.tree_leaves_with_path(results):
        key = f"{n_folds} {way} {jax.tree_util.keystr(path)}"
        found[key.replace("/", "|")] = leaf
  np.savez(sys.argv[1], **found)
""")


def test_twins_are_equal_bit_for_bit(tmp_path):
  target = tmp_path / "results.npz"
  flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=6"
  subprocess.run(
    [sys.executable, "-c", TRAIN, str(target)],
    env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    | {"PYTHONPATH": "."},
    check=True,
    timeout=3600,
    capture_output=True,
  )
  with np.load(target) as found:
    pmapped = [key for key in found if " by_pmap " in key]
    assert {key[0] for key in pmapped} == {"4", "9"}
    assert 2 * len(pmapped) == len(found.files)
    for key in pmapped:
      twin = key.replace("by_pmap", "by_shard_map")
      np.testing.assert_array_equal(found[key], found[twin], err_msg=key)
      assert np.isfinite(found[key]).all()


@pytest.mark.parametrize("way", [devices.by_pmap, devices.by_shard_map])
def test_states_change_in_their_place(way, monkeypatch):
  """The memory of donated states is gone, and other arguments stay."""
  monkeypatch.setattr(devices, "MAP_DEVICES", way)
  runner = devices.FoldRunner(2)
  states = runner.spread([np.zeros(3, np.float32), np.ones(3, np.float32)])
  folds = runner.spread([np.full(3, 2, np.float32)] * 2)
  shared = runner.replicate(np.arange(3, dtype=np.float32))
  step = runner.compile(
    lambda state, fold, table, n: state + n * fold * table, donate=True
  )
  first = step(states, folds, shared, 1)
  second = step(first, folds, shared, 2)
  assert states.is_deleted() and first.is_deleted()
  table = np.arange(3)
  np.testing.assert_array_equal(runner.gather(second)[1], 1 + 6 * table)
  kept = runner.compile(lambda state, fold, table: state + fold, donate=False)
  kept(second, folds, shared)
  assert not second.is_deleted()
  assert isinstance(folds, jax.Array) and not folds.is_deleted()
