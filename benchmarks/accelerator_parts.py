"""What `accelerator.py` times: each part, in a process of its own."""

import dataclasses
import functools
import json
import pathlib
import pickle
import platform
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import paper, smoke
from mrf_jax.dataset.patches import make_grid
from mrf_jax.dataset.standardise import normalise_signals
from mrf_jax.experiment.settings import phantom_options, simulated_acquisition
from mrf_jax.matching.dictionary import build_dictionary, count_atoms
from mrf_jax.matching.off_grid import match_off_grid
from mrf_jax.matching.off_grid_matcher import make_off_grid_matcher
from mrf_jax.methods.network_options import make_network, training_options
from mrf_jax.networks import NETWORKS
from mrf_jax.runtime.precision import PRECISIONS
from mrf_jax.sequence.schedules import tailored
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.timing.machine import Rates, device_name, measure_rates
from mrf_jax.timing.matching_tasks import dictionary_tasks
from mrf_jax.timing.measure import Task, measure
from mrf_jax.timing.network_tasks import flop_of_step, network_tasks
from mrf_jax.timing.scan import Scene, make_scene
from mrf_jax.training import devices
from mrf_jax.training.checkpoint import Checkpoint
from mrf_jax.training.epochs import FoldGroup, Plan
from mrf_jax.training.fold_data import (
  NO_SUBJECT,
  Signals,
  TrainingData,
  make_folds,
)
from mrf_jax.training.state import VoxelTable, init_state

_COMPILING = "/jax/core/compile/backend_compile_duration"
# Of an extended phase graph, as in `simulate.py`: frames, states, and FLOP of a
# state in a frame.
_FRAMES, _STATES, _FLOP = 500, 32, 17
# Ranges of dictionaries, as in `dictionary.py`.
_T1_MS, _T2_MS, _B1 = (100.0, 5400.0), (10.0, 2460.0), (0.7, 1.3)
# Calls of a part's compiled steps, more than `measure` makes.
_CALLS = 128


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Sizes of a run, besides those of its configuration.

  Attributes:
    n_folds: folds that are trained.
    n_steps: steps of each call.
    n_atoms: atoms of the dictionary that is searched.
    values: values of T1, T2 and B1 of the dictionary that is interpolated, and
      values of B1 of the part that is simulated.
    n_simulated: atoms of the extended phase graphs.
    n_voxels: voxels of matching off the grid, at most.
    rank: temporal components of both.
    largest_error: of interpolated atoms.
  """

  n_folds: int = 6
  n_steps: int = 20
  n_atoms: int = 100_000
  values: tuple[int, int, int, int] = (188, 240, 31, 2)
  n_simulated: int = 262_144
  n_voxels: int = 262_144
  rank: int = 25
  largest_error: float = 1e-4


_SMALL = Sizes(
  n_folds=3,
  n_steps=2,
  n_atoms=100,
  values=(6, 6, 2, 1),
  n_simulated=256,
  n_voxels=256,
  rank=4,
  largest_error=1e-2,
)


@dataclasses.dataclass(frozen=True)
class Setting:
  """What a part needs: configuration, sizes, scan, and the device's rates."""

  config: ml_collections.ConfigDict
  sizes: Sizes
  scene: Scene
  rates: dict[str, Rates]
  seconds: float


def run(
  part: str, folder: pathlib.Path, *, seconds: float, is_small: bool
) -> None:
  """Runs a part; its lines go to a file, one after another.

  The parts in `FIRST` leave files that the others read.
  """
  config = smoke.get_config() if is_small else paper.get_config()
  if part == "products":
    lines: Iterator[dict] = _products(folder)
  elif part == "scan":
    lines = _scan(config, folder)
  else:
    rates = json.loads((folder / "rates.json").read_text())
    setting = Setting(
      config,
      _SMALL if is_small else Sizes(),
      pickle.loads((folder / "scan.pickle").read_bytes()),
      {name: Rates(**values) for name, values in rates.items()},
      seconds,
    )
    lines = _timed(PARTS[part], setting)
  path = folder / f"{part}.jsonl"
  for line in lines:
    with path.open("a") as file:
      file.write(json.dumps(line) + "\n")


def _products(folder: pathlib.Path) -> Iterator[dict]:
  """Peak rates in each precision; also writes them, and the machine."""
  rates = {}
  for precision in PRECISIONS:
    found = measure_rates(precision)
    rates[precision] = dataclasses.asdict(found)
    # What a second holds, so that the table has their rates.
    yield _line(
      "products and copies",
      precision,
      gflop=found.products / 1e9,
      gbyte=found.copies / 1e9,
    )
  (folder / "rates.json").write_text(json.dumps(rates))


def _scan(config, folder: pathlib.Path) -> Iterator[dict]:
  """Simulates the scan and leaves it, with what is known of the machine."""
  scene = make_scene(
    simulated_acquisition(config),
    seed=config.seed,
    n_subjects=1,
    grid=config.data.grid.to_dict(),
    phantom=phantom_options(config.data),
    noise_level=config.scan.noise_level,
  )
  (folder / "scan.pickle").write_bytes(pickle.dumps(scene, protocol=5))
  subject = scene.subjects[0]
  shape = " × ".join(map(str, subject.mask.shape))
  client = jax.devices()[0].client
  machine = {
    "device": device_name(),
    "n_devices": jax.device_count(),
    "platform": " ".join(client.platform_version.split()),
    "jax": jax.__version__,
    "python": platform.python_version(),
    "scan": f"simulated scan of {shape} voxels, {subject.n_voxels:,} of them "
    f"brain, {subject.n_windows} windows",
  }
  (folder / "machine.json").write_text(json.dumps(machine))
  yield from ()


def _timed(tasks: Callable, setting: Setting) -> Iterator[dict]:
  """A line for each task, with the seconds that its first run compiled."""
  compiling: list[float] = []

  def listen(event: str, seconds: float, **unused) -> None:
    if event == _COMPILING:
      compiling.append(seconds)

  jax.monitoring.register_event_duration_secs_listener(listen)
  for task in tasks(setting):
    compiling.clear()
    timing = measure(
      task, setting.rates[task.precision], seconds=setting.seconds
    )
    line = dataclasses.asdict(timing)
    line["count"] = task.voxels or task.atoms
    line["unit"] = "voxels" if task.voxels else "atoms"
    if task.method == "train":
      line["unit"] = "patches"
    line["compile_s"] = sum(compiling)
    line["label"] = task.label
    yield line


def _line(label: str, precision: str, **values) -> dict:
  """A line without what only a `Timing` has."""
  absent = ("cold_s", "compile_s", "count", "gflop", "gbyte", "peak_mib")
  shares = ("spread", "product_share", "copy_share")
  return {
    **dict.fromkeys((*absent, *shares)),
    **{"label": label, "precision": precision, "seconds": 1.0, "unit": ""},
    **values,
  }


def _with_precision(setting: Setting, precision: str):
  config = setting.config.copy_and_resolve_references()
  config.precision = precision
  return config


def _train(setting: Setting, *, precision: str, way: str) -> Iterator[Task]:
  """Steps of the paper's network, in folds that see all of the scan."""
  config, sizes = _with_precision(setting, precision), setting.sizes
  method = "spatiotemporal"
  network = make_network(config, method)
  options = dataclasses.replace(
    training_options(config, method), seed=0, watched_voxels=0
  )
  # An epoch that no run ends.
  plan = Plan(network, options, steps_per_epoch=_CALLS * sizes.n_steps)
  scan, maps = setting.scene.subjects[0], setting.scene.maps[:1]
  per = config.preprocessing.normalise_signals_per
  signals = normalise_signals(setting.scene.signals, per=per)
  data = TrainingData(Signals.in_memory([signals]), [scan.mask], maps)
  left_out = [NO_SUBJECT] * sizes.n_folds
  folds, ranges = make_folds(data.masks, data.maps, left_out, options)
  state = init_state(
    network, plan.optimizer, folds[0].key, n_channels=signals.shape[1]
  )
  state = jax.tree.map(np.asarray, state)
  key = np.asarray(jax.random.key_data(folds[0].key))
  checkpoints = [Checkpoint(state, key, found, 0.0) for found in ranges]
  devices.MAP_DEVICES = getattr(devices, way)
  group = FoldGroup(folds, left_out, checkpoints, data, plan)
  in_all = sizes.n_folds * sizes.n_steps
  side = options.tile + 2 * network.reach
  patch = network.slices * side**2 * signals.shape[1]
  n_bytes = jnp.dtype(options.storage).itemsize * options.batch * patch
  n_bytes += 6 * sum(x.nbytes for x in jax.tree.leaves(state.params))
  shape = functools.partial(jax.ShapeDtypeStruct, dtype=np.float32)
  table = VoxelTable(
    shape((1 + len(signals), signals.shape[1])),
    shape((1 + len(signals), 3)),
    make_grid([scan.mask], padding=network.reach + options.tile),
  )
  centres = np.zeros(options.batch, np.int32)
  flop = flop_of_step(plan, state, folds[0], table, centres)
  products = PRECISIONS[precision].products

  def steps():
    with jax.default_matmul_precision(products):
      return group.train(sizes.n_steps)

  yield Task(
    "train",
    f"{sizes.n_folds} folds, {sizes.n_steps} steps, {way}",
    steps,
    voxels=in_all * options.estimates_per_step,
    flop=in_all * flop,
    n_bytes=in_all * n_bytes,
    precision=precision,
  )


def _infer(setting: Setting, *, method: str, precision: str) -> Iterator[Task]:
  """Reconstruction of the scan by one network."""
  config = _with_precision(setting, precision)
  yield next(network_tasks(config, method, setting.scene))


def _match(setting: Setting) -> Iterator[Task]:
  """Simulation, compression and matching of a dictionary."""
  config = setting.config
  yield from dictionary_tasks(
    config,
    setting.scene,
    setting.sizes.n_atoms,
    setting.rates[config.precision],
    seconds=setting.seconds,
  )


def _off_grid(setting: Setting) -> Iterator[Task]:
  """Matching off the grid, of evenly spaced voxels."""
  sizes, scan = setting.sizes, setting.scene.subjects[0]
  matcher = make_off_grid_matcher(
    scan.acquisition,
    _T1_MS,
    _T2_MS,
    rank=sizes.rank,
    largest_error=sizes.largest_error,
  )
  count = min(sizes.n_voxels, scan.n_voxels)
  rows = np.linspace(0, scan.n_voxels - 1, count).astype(int)
  signals = setting.scene.signals[rows]
  # Projection and coarse products; the steps after them are not counted.
  per_voxel = 4 * sizes.rank * (scan.n_windows + matcher.coarse.n_atoms)
  yield Task(
    "off_grid",
    "match",
    lambda: match_off_grid(matcher, signals).maps.stack(),
    voxels=count,
    flop=float(per_voxel * count),
    n_bytes=signals.nbytes + 24 * count,
  )


def _dictionary(setting: Setting) -> Iterator[Task]:
  """A dictionary by interpolation, and a part of it by simulation."""
  sizes, acquisition = setting.sizes, setting.scene.subjects[0].acquisition
  n_t1, n_t2, *n_b1 = sizes.values
  axes = np.geomspace(*_T1_MS, n_t1), np.geomspace(*_T2_MS, n_t2)
  for interpolate, n_factors in zip((True, False), n_b1, strict=True):
    build = functools.partial(
      build_dictionary,
      acquisition.sequence,
      *axes,
      b1=np.linspace(*_B1, n_factors),
      window=acquisition.window,
      stride=acquisition.stride,
      rank=sizes.rank,
      interpolate=interpolate,
      largest_error=sizes.largest_error,
    )
    atoms = n_factors * count_atoms(*axes)
    yield Task(
      "dictionary",
      "interpolated" if interpolate else "simulated",
      lambda build=build: build().atoms,
      atoms=atoms,
      n_bytes=4.0 * sizes.rank * atoms,
    )


def _epg(setting: Setting) -> Iterator[Task]:
  """Extended phase graphs of random atoms."""
  count = setting.sizes.n_simulated
  rng = np.random.default_rng(0)
  t1, t2 = (
    np.exp(rng.uniform(*np.log(ends), count))
    for ends in ((300.0, 4000.0), (20.0, 300.0))
  )
  yield Task(
    "epg",
    f"{_FRAMES} frames, {_STATES} states",
    lambda: simulate_fingerprints(
      tailored(_FRAMES), t1, t2, n_states=_STATES, keep_real=True
    ),
    atoms=count,
    flop=float(_FLOP * _STATES * _FRAMES * count),
    n_bytes=4.0 * (_FRAMES + 2) * count,
  )


def _transfer(setting: Setting) -> Iterator[Task]:
  """The signals of a scan from the host to the device."""
  signals = setting.scene.signals
  yield Task(
    "transfer",
    "host to device",
    lambda: jax.device_put(signals),
    voxels=len(signals),
    n_bytes=signals.nbytes,
  )


def _parts() -> dict[str, Callable[[Setting], Iterator[Task]]]:
  """Parts by name: each question once, then its variants."""
  trained = {
    f"train-{precision}-{way}": functools.partial(
      _train, precision=precision, way=f"by_{way}"
    )
    for precision in PRECISIONS
    for way in ("pmap", "shard_map")
  }
  inferred = {
    f"infer-{method}-{precision}": functools.partial(
      _infer, method=method, precision=precision
    )
    for method in NETWORKS
    for precision in PRECISIONS
    if precision == "float32" or method == "spatiotemporal"
  }
  (step, *steps), (scan, *scans) = trained.items(), inferred.items()
  return dict(
    [
      *(step, scan),
      *(("match", _match), ("epg", _epg), ("transfer", _transfer)),
      *(("dictionary", _dictionary), ("off_grid", _off_grid)),
      *steps,
      *scans,
    ]
  )


# Parts that leave files for the others, and these.
FIRST = ("products", "scan")
PARTS = _parts()
