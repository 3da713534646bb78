"""What runs on an accelerator, lowered for CUDA and TPU without one.

Arithmetic is written out for the paper's sizes where nothing says otherwise:
673 windows, 2T = 1346 channels. XLA counts the body of a loop once, so that a
figure is that of one block, one frame or one step.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.patches import make_grid
from mrf_jax.inference.model import Model, reconstruct
from mrf_jax.matching.atlas import AtlasScan, match_atlas
from mrf_jax.matching.dictionary import (
  Dictionary,
  atoms_of_axes,
  dictionary_of,
)
from mrf_jax.matching.dot_product import match
from mrf_jax.matching.groups import group_atoms, match_groups
from mrf_jax.matching.off_grid import match_off_grid
from mrf_jax.matching.off_grid_matcher import make_off_grid_matcher
from mrf_jax.networks import NETWORKS
from mrf_jax.relaxometry.fits import fit_t2, fit_vfa_t1
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.signal.fingerprints import (
  fingerprint_derivatives,
  simulate_fingerprints,
)
from mrf_jax.training import devices
from mrf_jax.training.optimizer import make_optimizer
from mrf_jax.training.options import TrainingOptions
from mrf_jax.training.state import VoxelTable, init_state
from mrf_jax.training.step import shuffle, train_steps, watch
from tests.dataset.examples import make_subject
from tests.laws import complex_noise
from tests.lowering import (
  PLATFORMS,
  Call,
  n_donated,
  products,
  recorded,
  targets,
)
from tests.networks.examples import random_variables
from tests.training.examples import make_fold

T = 673
ACQUISITION = Acquisition(tailored(720), window=48)
MASK = np.ones((1, 6, 6), bool)
# XLA's name of a precision, and the type of the factors.
PRECISIONS = {
  "float32": ("HIGHEST", "f32"),
  "tf32": ("HIGH", "f32"),
  "bfloat16": ("HIGHEST", "bf16"),
}
EXACT = PRECISIONS["float32"]
# Small inverses of matching off the grid, by a library on both platforms.
LU = {"cusolver_getrf_ffi", "cu_lu_pivots_to_permutation", "LuDecomposition"}
# Numbers of a layer's kernel, by network, and the voxels that a block of 4096
# gives to each: a spatial layer of our network sees the rim of its tiles, too.
BLOCK, TILES = 4096, 64
LAYERS = {
  "spatiotemporal": [
    (BLOCK, 2 * T * 512 + 512 * 256),
    (BLOCK, (25 + 9) * 256 * 128 + 256 * 3),
  ],
  "spatiotemporal_plus": [
    (BLOCK, 2 * T * 192 + 192 * 96),
    (TILES * 16**2, 3 * 96 * 96),
    *((TILES * side**2, 9 * 96 * 96) for side in (14, 12, 10, 8)),
    (BLOCK, 96 * 6),
  ],
  "cohen": [(BLOCK, 2 * T * 300 + 300 * 300 + 300 * 3)],
  # Kernel 5 is filled up to 6, a multiple of its stride.
  "hoppe": [
    (BLOCK * 220, 15 * 2 * 30),
    (BLOCK * 106, 10 * 30 * 60),
    (BLOCK * 51, 6 * 60 * 120),
    (BLOCK * 49, 3 * 120 * 240),
    (BLOCK, 24 * 240 * 1000 + 1000 * 500 + 500 * 300 + 300 * 3),
  ],
}


def check(calls, *, allowed=frozenset(), precisions=(EXACT,), wide=False):
  """Every call lowers, and holds nothing that only a CPU has."""
  assert calls
  for call in {call.name: call for call in calls}.values():
    for platform in PLATFORMS:
      text = call.text(platform)
      assert targets(text) <= allowed, call.name
      assert "callback" not in text, call.name
      assert ("f64" in text) == wide, call.name
      assert products(text) <= set(precisions), call.name


def only(calls) -> Call:
  (call,) = calls
  return call


def of_products(layers) -> int:
  """FLOP of rows times a kernel's numbers: a product and a sum each."""
  return sum(2 * rows * size for rows, size in layers)


@functools.cache
def model_of(name):
  network = NETWORKS[name]()
  return Model(
    method=name,
    network=network,
    variables=random_variables(network, n_channels=2 * T),
    map_range=MapRange(np.zeros(3), np.ones(3)),
    normalise_signals_per="frame",
    acquisition=ACQUISITION,
  )


def inference(name, precision):
  with recorded() as calls:
    reconstruct(
      model_of(name), make_subject(MASK, ACQUISITION), precision=precision
    )
  return only(calls)


@pytest.mark.parametrize("name", NETWORKS)
def test_inference(name):
  flop = of_products(LAYERS[name])
  for precision, product in PRECISIONS.items():
    call = inference(name, precision)
    check([call], precisions=[product])
    if precision != "float32" or name in ("cohen", "hoppe"):
      # The rest: standardised signals, biases, activations, normalisation.
      assert 1 < call.flop / flop < 1.015


def test_inference_in_float32_needs_fewer_products():
  """Winograd: 64 of 400 products of 5 × 5 taps, 36 of 144 of 3 × 3."""
  flop = of_products(
    [
      LAYERS["spatiotemporal"][0],
      (BLOCK // 16, (64 + 36) * 256 * 128),
      (BLOCK, 256 * 3),
    ]
  )
  # The rest are the sums of its transforms.
  assert 1 < inference("spatiotemporal", "float32").flop / flop < 1.15


def test_bytes_of_inference():
  """Weights, statistics, one block of signals, rows of tiles, and outputs.

  Each channel of the signals has a mean, in two parts, and a deviation.
  """
  weights = 2 * T * 512 + 512 * 256 + 34 * 256 * 128 + 256 * 3
  vectors = 3 + 5 * (512 + 256 + 128 + 128) + 3 * 2 * T
  block = BLOCK * 2 * T + TILES * 12**2 + BLOCK * 3
  call = inference("spatiotemporal", "float32")
  expected = 4 * (weights + vectors + block)
  assert call.least_bytes == pytest.approx(expected, abs=16)
  assert call.n_bytes > call.least_bytes


def training(name, function, *, n_folds=3, precision="float32", **arguments):
  """A function of training, of some folds on one device, by `shard_map`."""
  options = TrainingOptions(
    seed=0,
    epochs=1,
    batch=600,
    tile=1,
    learning_rate=1e-3,
    precision=precision,
    storage="float16",
  )
  sizes = {"n_outputs": 3} if name == "spatiotemporal_plus" else {}
  network = NETWORKS[name](**sizes)
  optimizer = make_optimizer(options, n_steps=10)
  n_rows = 1 + MASK.size
  order = {"order": np.zeros((5, 600), np.int32)}
  fold = make_fold(
    np.arange(1, n_rows),
    watched=np.ones((2, 4), np.int32),
    **(order if function is train_steps else {}),
  )
  table = VoxelTable(
    np.zeros((n_rows, 2 * T), np.float16),
    np.zeros((n_rows, 3), np.float32),
    make_grid([MASK], padding=network.reach + 1),
  )
  init = functools.partial(init_state, network, optimizer, n_channels=2 * T)
  state = jax.eval_shape(init, key=fold.key)
  available = {
    "network": network,
    "optimizer": optimizer,
    "options": options,
  }
  own = {k: available[k] for k in arguments.pop("takes")}
  donate = function is train_steps
  numbers = [np.int32(2)] if donate else []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(devices, "MAP_DEVICES", devices.by_shard_map)
    runner = devices.FoldRunner(n_folds, at_once=n_folds)

  def step(state, fold, table, *numbers):
    if function is shuffle:
      return shuffle(state, fold, **arguments)
    return function(state, fold, table, *numbers, **own, **arguments)

  mapped = runner.mapped(step, n_numbers=len(numbers), donate=donate)

  def shaped(tree, *axes):
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((*axes, *x.shape), x.dtype), tree
    )

  products = "tensorfloat32" if precision == "tf32" else "highest"
  with jax.default_matmul_precision(products):
    traced = mapped.trace(
      shaped(state, 1, n_folds),
      shaped(fold, 1, n_folds),
      shaped(table, 1),
      *numbers,
    )
  return Call(name, traced), state


STEP = {"takes": ("network", "optimizer", "options")}


@pytest.mark.parametrize("name", NETWORKS)
def test_training(name):
  call, state = training(name, train_steps, **STEP)
  check([call])
  for platform in PLATFORMS:
    # Parameters, statistics and the optimiser's state change in their place.
    n_leaves = len(jax.tree.leaves(state))
    assert n_donated(call.text(platform)) == n_leaves


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_training_is_rounded_only_if_asked(precision):
  call, _ = training("spatiotemporal", train_steps, precision=precision, **STEP)
  check([call], precisions=[PRECISIONS[precision]])


def test_other_functions_of_a_training():
  parts = {
    shuffle: dict(takes=(), steps_per_epoch=5, batch=600),
    watch: dict(takes=("network", "options")),
  }
  for function, options in parts.items():
    call, _ = training("spatiotemporal", function, **options)
    check([call], allowed={"cu_threefry2x32_ffi"})


def test_arithmetic_of_training():
  """Forward, and the gradients of the weights and of the input.

  The signals have no gradient. 25 voxels of a patch pass the 1 × 1 layers.
  """
  first, second = 2 * T * 512, 512 * 256
  of_patch = (25 + 9) * 256 * 128 + 256 * 3
  step = 600 * 2 * (25 * (2 * first + 3 * second) + 3 * of_patch)
  call, _ = training("spatiotemporal", train_steps, **STEP)
  # The rest: dropout, normalisation, Adam.
  assert 1 < call.flop / (3 * step) < 1.02
  dense = 2 * 2 * T * 300 + 3 * (300 * 300 + 300 * 3)
  call, _ = training("cohen", train_steps, **STEP)
  assert 1 < call.flop / (3 * 600 * 2 * dense) < 1.05
  # Three copies of the parameters (Adam), read and written, of three folds.
  n_params = 2 * T * 300 + 300 * 300 + 300 * 3 + 300 + 300 + 3
  table = (1 + MASK.size) * (2 * T * 2 + 3 * 4)
  orders = 3 * 5 * 600 * 4
  expected = 2 * 3 * 3 * 4 * n_params + table + orders
  assert call.least_bytes == pytest.approx(expected, rel=1e-3)


def make_dictionary(n_atoms, n_columns, *, is_complex=False, rank=None):
  atoms = complex_noise(n_atoms, n_columns, seed=1)
  atoms = atoms if is_complex else np.ascontiguousarray(atoms.real)
  atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
  basis = None
  if rank is not None:
    basis = np.linalg.qr(complex_noise(T, rank, seed=2).real)[0]
    basis = basis.astype(atoms.dtype)
  values = np.ones(n_atoms, np.float32)
  return Dictionary(atoms, *[values] * 4, basis=basis)


def rest_of_matching(n_voxels, n_atoms, n_columns):
  """|·|² and the first maximum of the scores; then what is once for a number.

  These are parts of a complex signal, conversions, and whether all is finite.
  """
  once = 8 * n_voxels * T + 4 * (2 * n_voxels + n_atoms) * n_columns
  return 8 * n_voxels * n_atoms + once


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("is_complex", [False, True])
def test_full_matching(is_complex, precision):
  """Two real products of a real atom with a complex signal, or four."""
  n_voxels, n_atoms = 128, 256
  dictionary = make_dictionary(n_atoms, T, is_complex=is_complex)
  with recorded() as calls:
    match(dictionary, complex_noise(n_voxels, T), precision=precision)
  call = only(calls)
  check([call], precisions=[PRECISIONS[precision]])
  pairs = n_voxels * n_atoms
  n_columns = (2 if is_complex else 1) * T
  flop = 4 * pairs * n_columns
  rest = rest_of_matching(n_voxels, n_atoms, n_columns)
  assert flop < call.flop < flop + rest < 1.05 * flop
  least = 8 * n_voxels * T + 4 * n_atoms * n_columns + 16 * n_voxels
  assert call.least_bytes == pytest.approx(least, abs=8)
  # Unfused, scores pass through memory 32 times at most, the rest 16 times.
  assert least < call.n_bytes < 16 * least + 32 * 4 * pairs


@pytest.mark.parametrize("is_complex", [False, True])
def test_svd_matching(is_complex):
  n_voxels, n_atoms, rank = 128, 256, 25
  dictionary = make_dictionary(n_atoms, rank, is_complex=is_complex, rank=rank)
  with recorded() as calls:
    match(dictionary, complex_noise(n_voxels, T))
  call = only(calls)
  # A complex product is counted as a real one: 2 instead of 8.
  flop = (2 if is_complex else 4) * n_voxels * T * rank
  n_columns = (2 if is_complex else 1) * rank
  flop += 4 * n_voxels * n_atoms * n_columns
  types = [EXACT, ("HIGHEST", "complex<f32>")]
  check([call], precisions=types[: 1 + is_complex])
  rest = rest_of_matching(n_voxels, n_atoms, n_columns)
  assert flop < call.flop < flop + rest


def test_matching_in_groups():
  n_voxels, n_atoms, rank = 128, 1024, 25
  groups = group_atoms(make_dictionary(n_atoms, rank, rank=rank))
  with recorded() as calls:
    match_groups(groups, complex_noise(n_voxels, T))
  check(calls)
  n_groups, size = groups.members.shape
  # Compression and centres; then one task: 64 voxels with one group.
  bounds, task = sorted((call.flop for call in calls), reverse=True)
  flop = 4 * n_voxels * rank * (T + n_groups)
  assert flop < bounds < flop + 25 * n_voxels * n_groups + 4 * n_voxels * T
  flop = 4 * 64 * size * rank
  assert flop < task < flop + 10 * 64 * size


@pytest.fixture(scope="module")
def matcher():
  """Of a short train."""
  acquisition = Acquisition(tailored(60), window=8)
  return make_off_grid_matcher(
    acquisition, (300, 1500), (40, 160), rank=4, largest_error=1e-2
  )


def test_matching_off_the_grid(matcher):
  n_windows = matcher.acquisition.n_windows
  with recorded() as calls:
    match_off_grid(matcher, complex_noise(40, n_windows))
  check(calls, allowed=LU, precisions=[EXACT, ("HIGHEST", "complex<f32>")])
  # Atoms and two slopes of each voxel, at the start and in one step.
  n1, n2, _, rank = np.max(
    [p.values.shape for p in matcher.interpolant.panels], 0
  )
  flop = 40 * 2 * 3 * 2 * n1 * n2 * rank
  steps = max(call.flop for call in calls if call.name != "_best_atom")
  assert flop < steps


def test_interpolated_dictionaries_are_made_by_the_host(matcher):
  """An accelerator only simulates their nodes."""
  axes = [
    np.array(values, np.float32)
    for values in ([1], np.geomspace(300, 1500, 9), np.geomspace(40, 160, 9))
  ]
  with recorded() as calls:
    dictionary_of(
      matcher.interpolant, matcher.acquisition, axes, atoms_of_axes(*axes)
    )
  assert not calls


@pytest.mark.parametrize("n_states", [16, 64])
def test_extended_phase_graph(n_states):
  """A state costs 5 + 5 (F⁺, F⁻) and 4 (Z) for the pulse, 5 for the rest."""
  n_frames, block = 200, 32768
  t1 = np.geomspace(300, 4000, 5)
  with recorded() as calls:
    simulate_fingerprints(
      tailored(n_frames), t1, t1 / 10, n_states=n_states, keep_real=True
    )
  call = only(calls)
  check(calls)
  # For all frames before and after the loop: e1, e2, 1 - e1, the decay to the
  # echo and its product; in the loop an echo, without the F of one order.
  flop = block * (19 * n_states + 5 * n_frames)
  assert call.flop == pytest.approx(flop, rel=0.02)
  assert call.least_bytes == pytest.approx(4 * block * (n_frames + 3), rel=0.01)


def test_other_signals():
  t1 = np.geomspace(300, 4000, 5)
  balanced = make_sequence(
    np.full(30, 30.0), tr_ms=5.0, te_ms=2.5, balanced=True
  )
  with recorded() as calls:
    simulate_fingerprints(
      tailored(30), t1, t1 / 10, n_states=8, off_resonance_hz=5.0
    )
    simulate_fingerprints(balanced, t1, t1 / 10, off_resonance_hz=5.0)
    fingerprint_derivatives(tailored(30), t1, t1 / 10, n_states=8)
  assert len(calls) == 3
  # A balanced pulse turns a magnetisation by a matrix of real numbers.
  check(calls)


def test_atlas_matching():
  shape = (3, 9, 10)
  mask = np.ones(shape, bool)
  signals = complex_noise(7, *shape)
  maps = np.ones((3, *shape), np.float32)
  with recorded() as calls:
    match_atlas(signals, mask, [AtlasScan(signals, maps, mask)])
  check(calls)


def test_fits_are_in_float64():
  """On a TPU, float64 is emulated."""
  te = np.array([20.0, 40, 80])
  flips = np.array([3.0, 10, 20])
  signals = np.exp(-te / np.array([[60.0], [90], [120]]))
  with recorded() as calls:
    fit_t2(signals, te_ms=te)
    fit_vfa_t1(signals, flip_angles_deg=flips, tr_ms=6.0)
  assert len(calls) == 2
  check(calls, wide=True)


def test_costs_of_xla():
  """What its figures leave out, on which the arithmetic here relies."""
  matrix = jnp.ones((64, 64))
  several = jnp.ones((10, 64, 64))
  flop = 2 * 64**3

  def counted(function, *arguments):
    return Call("", jax.jit(function).trace(*arguments)).flop

  def repeated(a):
    return jax.lax.fori_loop(0, 10, lambda _, x: x @ a, a)

  assert counted(jnp.matmul, matrix, matrix) == flop
  # And the loop's own counter.
  assert flop < counted(repeated, matrix) < flop + 10
  mapped = counted(lambda b: jax.lax.map(lambda x: x @ x, b), several)
  assert flop < mapped < flop + 10
  assert counted(jax.vmap(jnp.matmul), several, several) == 10 * flop
  assert counted(jnp.matmul, matrix + 0j, matrix + 0j) == flop
