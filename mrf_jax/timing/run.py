"""Runs the timing comparison of a configuration and writes its files."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator

import jax
import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.io.atomic import write_text
from mrf_jax.matching import FIT
from mrf_jax.matching.dictionary import (
  check_memory,
  count_atoms,
  square_axes,
)
from mrf_jax.networks import NETWORKS
from mrf_jax.runtime.progress import bar, notice
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.timing.machine import Rates, device_name, measure_rates
from mrf_jax.timing.matching_tasks import (
  dictionary_tasks,
  fit_tasks,
  gomez_tasks,
)
from mrf_jax.timing.measure import Task, Timing, measure
from mrf_jax.timing.network_tasks import network_tasks
from mrf_jax.timing.scan import Scene, make_scene
from mrf_jax.timing.tables import FORMAT, format_benchmark
from mrf_jax.workdir.environment import environment
from mrf_jax.workdir.stage_times import benchmark_file, write_timing


def check_benchmark(
  config: ml_collections.ConfigDict, acquisition: Acquisition
) -> None:
  """Checks that a configuration can be timed.

  Raises:
    UserError: an option is out of its range, or the largest dictionary does
      not fit into memory.
  """
  options = config.benchmark
  if options.seconds < 0:
    raise UserError(f"benchmark.seconds is {options.seconds}, less than 0")
  if not options.atoms or min(options.atoms) < 1:
    raise UserError(f"benchmark.atoms is {tuple(options.atoms)}, not sizes")
  if _uses_dictionaries(config):
    ranges = config.dictionary.t1_ms, config.dictionary.t2_ms
    axes = square_axes(*ranges, n_atoms=max(options.atoms))
    check_memory(count_atoms(*axes), acquisition)


def run_benchmark(
  config: ml_collections.ConfigDict,
  root: pathlib.Path,
  acquisition: Acquisition,
  *,
  phantom: dict,
  command: str,
) -> str:
  """Times every stage of every method, and returns the table in Markdown.

  The workdir gets `benchmark.json`, `timing.csv`, `timing.md` and
  `timing.png`. `phantom` has the arguments of `phantom_of`; `command` is the
  command line that started the comparison.
  """
  scene = make_scene(
    acquisition,
    seed=config.seed,
    n_subjects=config.data.n_subjects if "gomez" in config.methods else 1,
    grid=config.data.grid.to_dict(),
    phantom=phantom,
    noise_level=config.scan.noise_level,
  )
  if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    notice(
      "warning: JAX_COMPILATION_CACHE_DIR is set: cold times may be those of "
      "programs that it has"
    )
  before = measure_rates(config.precision)
  timings = []
  with bar(total=_count_tasks(config), text="timing") as progress_bar:
    for task in _tasks(config, scene, before):
      progress_bar.set_postfix_str(task.label)
      timings.append(measure(task, before, seconds=config.benchmark.seconds))
      progress_bar.update()
  after = measure_rates(config.precision)
  drift = after.products / before.products - 1
  if abs(drift) > 0.1:
    notice(
      f"warning: matrix products ran {drift:+.0%} differently at the end; the "
      "machine was not quiet"
    )
  content = _content(config, scene, before, timings, command)
  write_text(json.dumps(content, indent=1) + "\n", benchmark_file(root))
  return write_files(root, content, config.methods)


def write_files(root: pathlib.Path, content: dict, methods) -> str:
  """Writes `timing.csv`, table and figure of a `benchmark.json`'s content.

  Returns:
    The table in Markdown.
  """
  from mrf_jax.timing.figure import timing_figure

  write_timing(root, methods)
  text = format_benchmark(content)
  write_text(text, root / "timing.md")
  scan = content["scan"]
  timing_figure(
    root / "timing.png",
    content["rows"],
    title=f"One simulated scan, {scan['voxels']:,} voxels × {scan['windows']} "
    f"windows; {content['machine']['device']}, {content['precision']}",
  )
  return text


def same_benchmark(config: ml_collections.ConfigDict, content: dict) -> bool:
  """Whether a `benchmark.json` is of the same options, code and machine."""
  if content["options"] != _options(config):
    return False
  return content["machine"] == _machine(config)


def _tasks(config, scene: Scene, rates: Rates) -> Iterator[Task]:
  """All tasks; each is prepared after the one before has run."""
  for method in config.methods:
    if method in NETWORKS:
      yield from network_tasks(config, method, scene)
  if "gomez" in config.methods:
    yield from gomez_tasks(config, scene)
  if FIT in config.methods:
    yield from fit_tasks(config, scene)
  if _uses_dictionaries(config):
    for n_atoms in config.benchmark.atoms:
      yield from dictionary_tasks(
        config, scene, n_atoms, rates, seconds=config.benchmark.seconds
      )


def _count_tasks(config) -> int:
  """Number of `_tasks`."""
  methods = config.methods
  networks = sum(method in NETWORKS for method in methods)
  per_size = (
    _uses_dictionaries(config)
    + ("dictionary" in methods)
    + 4 * ("dictionary_svd" in methods)
  )
  return (
    2 * networks
    + 3 * ("gomez" in methods)
    + 2 * (FIT in methods)
    + per_size * len(config.benchmark.atoms)
  )


def _uses_dictionaries(config) -> bool:
  return bool({"dictionary", "dictionary_svd"} & set(config.methods))


def _options(config) -> dict:
  """Options of the configuration that decide which rows exist."""
  options = {**config.benchmark.to_dict(), "methods": list(config.methods)}
  return json.loads(json.dumps(options))


def _machine(config) -> dict:
  """Machine, versions and commit, on which the times depend too."""
  current = environment(config.to_dict())
  versions = current["versions"]
  return {
    "device": device_name(),
    "n_devices": jax.device_count(),
    **{key: current[key] for key in ("cores", "python", "git_commit")},
    "versions": {name: versions[name] for name in ("jax", "jaxlib", "numpy")},
  }


def _content(
  config, scene: Scene, rates: Rates, timings: list[Timing], command
):
  """Content of `benchmark.json`."""
  machine, scan = _machine(config), scene.subjects[0]
  return {
    "format": FORMAT,
    "version": 1,
    "command": command,
    "machine": machine,
    "precision": config.precision,
    "options": _options(config),
    "scan": {
      "slices": scan.mask.shape[0],
      "matrix": scan.mask.shape[1],
      "voxels": scan.n_voxels,
      "windows": scan.n_windows,
    },
    "rates": {
      "products_gflop_per_s": rates.products / 1e9,
      "copies_gb_per_s": rates.copies / 1e9,
    },
    "rows": [
      {
        **dataclasses.asdict(timing),
        "noisy": timing.noisy,
        "voxels_per_s": timing.voxels_per_s,
        "device": machine["device"],
        "jax": machine["versions"]["jax"],
        "source": "benchmark",
      }
      for timing in timings
    ],
  }
