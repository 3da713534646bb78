"""Several processes and devices give the results of one."""

import dataclasses
import os
import socket
import subprocess
import sys
import textwrap
import time

import jax
import numpy as np
import pytest
from test_launch import SMOKE, table

from mrf_jax import load_model
from mrf_jax.errors import UserError
from mrf_jax.runtime.cluster import in_cluster
from mrf_jax.training.train import train_folds
from mrf_jax.workdir.workdir import Workdir
from tests.training.examples import DROPOUT_NETWORK, OPTIONS, tiny_study

# Trains six folds, or this process's share; their networks go to a file.
TRAIN = textwrap.dedent("""
  import sys
  import dataclasses, jax, numpy as np
  from mrf_jax.runtime import processes
  from mrf_jax.training import devices
  from mrf_jax.training.train import train_folds
  from tests.training.examples import DROPOUT_NETWORK, OPTIONS, tiny_study
  target, way, at_once, *address = sys.argv[1:]
  devices.MAP_DEVICES = getattr(devices, way)
  if address:
    processes.start(
      address[0], 2, int(address[1]), timeout_s=3600, say_error=print)
  left_out = processes.own_share(range(6))
  options = dataclasses.replace(OPTIONS, folds_at_once=int(at_once) or None)
  trained = train_folds(
    DROPOUT_NETWORK, tiny_study(6, size=7), options, left_out=left_out)
  np.savez(target, devices=jax.local_device_count(), **{
    f"{fold}{jax.tree_util.keystr(path)}": leaf
    for fold, one in zip(left_out, trained)
    for path, leaf in jax.tree_util.tree_leaves_with_path(one.variables)})
""")


def free_port() -> int:
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def start(arguments, *, devices=1):
  return subprocess.Popen(
    [sys.executable, *map(str, arguments)],
    env={
      **os.environ,
      "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} "
      f"--xla_force_host_platform_device_count={devices}",
      "JAX_PLATFORMS": "cpu",
      "PYTHONPATH": ".",
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(processes):
  """Return codes and what each wrote to stderr."""
  try:
    texts = [process.communicate(timeout=3600)[1] for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [process.returncode for process in processes], texts


def train_here(at_once):
  """What TRAIN writes, of this process and its first device."""
  options = dataclasses.replace(OPTIONS, folds_at_once=at_once)
  study = tiny_study(6, size=7)
  folds = train_folds(DROPOUT_NETWORK, study, options, left_out=range(6))
  return {
    f"{fold}{jax.tree_util.keystr(path)}": leaf
    for fold, trained in enumerate(folds)
    for path, leaf in jax.tree_util.tree_leaves_with_path(trained.variables)
  }


def test_folds_are_independent_of_devices(tmp_path):
  """Within 1e-2 of each array's norm; other folds' arrays are 1 apart.

  Single weights say nothing: where a gradient is near its rounding error, Adam
  may step in either direction.
  """
  trained = {}
  # Before this process grows by its own training.
  layouts = {
    "six devices": (6, 1, "by_pmap"),
    "two processes": (3, 2, "by_shard_map"),
  }
  for name, (devices, count, way) in layouts.items():
    paths = [tmp_path / f"{name}-{k}.npz" for k in range(count)]
    address = f"127.0.0.1:{free_port()}"
    started = [
      start(
        ["-c", TRAIN, path, way, 0, *([address, k] if count > 1 else [])],
        devices=devices,
      )
      for k, path in enumerate(paths)
    ]
    codes, texts = finish(started)
    assert codes == [0] * count, texts
    trained[name] = {}
    for path in paths:
      trained[name] |= np.load(path)
    assert trained[name].pop("devices") == devices
  trained["vectorised"] = train_here(at_once=6)
  expected = train_here(at_once=1)
  assert len({name[0] for name in expected}) == 6
  for name, arrays in trained.items():
    assert arrays.keys() == expected.keys(), name
    for leaf, values in arrays.items():
      apart = np.linalg.norm(values - expected[leaf])
      assert apart <= 1e-2 * np.linalg.norm(expected[leaf]), f"{name} {leaf}"


def launch_all(count, *arguments, devices=3):
  address = f"--coordinator=127.0.0.1:{free_port()}"
  started = [
    start(
      [
        *("launch.py", SMOKE, address),
        *(f"--num_processes={count}", f"--process_id={k}", *arguments),
      ],
      devices=devices,
    )
    for k in range(count)
  ]
  return finish(started)


@pytest.mark.long
def test_table_of_two_processes(smoke, tmp_path):
  run = tmp_path / "run"
  only = "--config.methods=('cohen',)"
  codes, texts = launch_all(2, f"--workdir={run}", only)
  assert codes == [0, 0], texts

  def cells(workdir):
    return {
      (row["tissue"], row["map"]): [float(row["mae_mean"]), float(row["n"])]
      for row in table(workdir)
      if row["method"] == "cohen"
    }

  found, expected = cells(run), cells(smoke)
  assert found.keys() == expected.keys()
  for key, values in found.items():
    np.testing.assert_allclose(values, expected[key], rtol=1e-3)
  for fold in (0, 1):
    assert load_model(run / f"models/cohen/fold-{fold}").network.reach == 0
  assert [*(run / "metrics").glob("*.jsonl")] == [run / "metrics/metrics.jsonl"]
  assert len((run / "metrics/metrics.jsonl").read_text().splitlines()) == 4
  assert not (run / "checkpoints").exists()


def test_different_configurations_are_refused(tmp_path):
  with pytest.raises(UserError, match="not the workdir that process 0 made"):
    Workdir(tmp_path / "run", {"seed": 0}, join=True)
  Workdir(tmp_path / "run", {"seed": 0, "methods": ["cohen"]})
  Workdir(tmp_path / "run", {"seed": 0, "methods": ["cohen"]}, join=True)
  with pytest.raises(UserError, match=r"another configuration: methods="):
    Workdir(tmp_path / "run", {"seed": 0, "methods": ["hoppe"]}, join=True)


def last_line(text):
  assert "Traceback" not in text
  return text.strip().splitlines()[-1]


@pytest.mark.long
def test_more_processes_than_folds(tmp_path):
  codes, texts = launch_all(3, f"--workdir={tmp_path / 'run'}", devices=1)
  assert 0 not in codes
  assert last_line(texts[0]) == (
    "error: --num_processes is 3, more than the 2 folds"
  )
  assert not (tmp_path / "run").exists()


def test_unreachable_coordinator_is_named(launch, tmp_path):
  start_s = time.monotonic()
  done = launch(
    SMOKE,
    f"--workdir={tmp_path / 'run'}",
    f"--coordinator=127.0.0.1:{free_port()}",
    "--num_processes=2",
    "--process_id=1",
    "--coordinator_timeout_s=3",
  )
  assert done.returncode == 1
  line = last_line(done.stderr)
  assert line.startswith("error: --coordinator: 127.0.0.1:")
  assert "within 3 s" in line
  assert time.monotonic() - start_s < 60


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--num_processes=2"], "--coordinator, --process_id missing"),
    (["--coordinator=here"], "--num_processes, --process_id missing"),
    (
      ["--coordinator=here", "--num_processes=2", "--process_id=0"],
      "here is not host:port",
    ),
    (
      ["--coordinator=a:1", "--num_processes=2", "--process_id=2"],
      "--process_id is 2, --num_processes 2",
    ),
  ],
)
def test_flags_that_do_not_fit(launch, tmp_path, flags, words):
  done = launch(SMOKE, f"--workdir={tmp_path / 'run'}", *flags)
  assert done.returncode == 1
  assert words in last_line(done.stderr)


def test_cluster_is_known_by_environment(monkeypatch):
  for name in ("SLURM_STEP_NUM_TASKS", "JAX_COORDINATOR_ADDRESS"):
    monkeypatch.delenv(name, raising=False)
  assert not in_cluster()
  monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
  assert not in_cluster()
  monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
  assert in_cluster()
