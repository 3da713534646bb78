"""How fast does the network reconstruct a scan, compared with its products?

  pip install -r benchmarks/requirements.txt
  python benchmarks/infer.py  # two minutes on two idle cores
  python benchmarks/infer.py --slices=4 --matrix=128 --frames=128  # quick test

The spatiotemporal network with random weights reconstructs one simulated head
of 16 x 256 x 256 voxels, T = 673, with noise as signals. Three run in turns, so
that other work on the machine slows all of them alike:

  mrf_jax   `reconstruct` after the statistics of the signals, from the table
            of signals on the host, which it standardises, to scaled maps on the
            host. Its convolutions need fewer multiplications
            (`mrf_jax/networks/winograd.py`).
  products  the bare float32 matrix products of the masked voxels, block by
            block: 2T x 512 and 512 x 256, then 25 x 256 x 128 (the 5 x 5
            convolution), 9 x 256 x 128 (3 x 3) and 256 x 3. Empty voxels are
            left out, nothing is computed twice, and the operands are in memory.
  PyTorch   the same weights as `conv2d` in `channels_last`, evaluation mode,
            `inference_mode`, all cores. Each slice is standardised, cropped to
            its brain and in memory before timing starts; batch normalisation is
            folded into the weights. The crops have more voxels than the mask.

All GFLOP are those of the bare products, so that rates compare useful work; a
share is relative to the products' rate. The peak memory is that of the process
after its first reconstruction of a `Subject`, with signals and imports.
"""

import pathlib
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from common import print_ratio, take_turns

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

try:
  import torch
except ImportError:
  torch = None

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.standardise import normalise_signals
from mrf_jax.dataset.subject import Subject
from mrf_jax.inference.model import Model, reconstruct
from mrf_jax.inference.network import estimate, signal_table
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from mrf_jax.simulation.anatomy import SliceGrid, make_head
from mrf_jax.timing.machine import device_name

REACH = Spatiotemporal().reach

_SLICES = flags.DEFINE_integer("slices", 16, "Slices of the scan.")
_MATRIX = flags.DEFINE_integer("matrix", 256, "Voxels along x and along y.")
_FRAMES = flags.DEFINE_integer("frames", 673, "Windows of the scan, T.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Runs; the median counts.")

_WINDOW = 48
_PER = "frame"
_BLOCK = 2048  # voxels of a bare product


def make_scan(rng) -> Subject:
  """Simulated head with noise as signals."""
  grid = SliceGrid(
    n_slices=_SLICES.value,
    matrix=_MATRIX.value,
    fov_mm=256.0,
    slice_thickness_mm=80 / _SLICES.value,
    centre_z_mm=15.0,
  )
  head = make_head(
    rng, grid, sharpness=4.0, warp_mm=3.0, rotation_deg=3.0, scaling=0.03
  )
  signals = np.empty((head.mask.sum(), _FRAMES.value), np.complex64)
  rng.standard_normal(dtype=np.float32, out=signals.view(np.float32))
  return Subject(
    subject="noise",
    mask=head.mask,
    signals=signals,
    affine=grid.affine,
    acquisition=Acquisition(
      tailored(_FRAMES.value + _WINDOW - 1), window=_WINDOW, stride=1
    ),
    field_strength_t=1.5,
    provenance="simulated",
  )


def make_model(scan: Subject, rng) -> Model:
  """Network with random weights, biases and statistics."""
  network = Spatiotemporal()
  patch = jnp.zeros((1, 5, 5, 2 * _FRAMES.value))
  variables = network.init(jax.random.key(0), patch, train=False)
  variables = jax.tree.map(
    lambda x: x + 0.1 * rng.random(x.shape, np.float32) if x.ndim == 1 else x,
    variables,
  )
  return Model(
    method="spatiotemporal",
    network=network,
    variables=variables,
    map_range=MapRange(np.zeros(3), np.ones(3)),
    normalise_signals_per=_PER,
    acquisition=scan.acquisition,
  )


def product_shapes(model: Model) -> list[tuple[int, int]]:
  """Inner size and width of the products for one voxel."""
  kernels = [
    layer["kernel"].shape
    for layer in model.variables["params"].values()
    if "kernel" in layer
  ]
  return [(int(np.prod(shape[:-1])), shape[-1]) for shape in kernels]


def bare_products(model: Model, n_voxels: int):
  """Function that computes the products alone."""
  multiply = jax.jit(jnp.dot)
  operands = [
    (jnp.ones((_BLOCK, inner)), jnp.ones((inner, width)))
    for inner, width in product_shapes(model)
  ]

  def run():
    for _ in range(round(n_voxels / _BLOCK)):
      for left, right in operands:
        multiply(left, right).block_until_ready()

  return run


def peer_network(model: Model):
  """The network as a PyTorch function of images [1, 2T, y, x]."""
  params = model.variables["params"]
  stats = model.variables["batch_stats"]

  def convolution(name, norm=None):
    kernel, bias = params[name]["kernel"], params[name]["bias"]
    if norm is not None:
      scale = params[norm]["scale"] / jnp.sqrt(stats[norm]["var"] + 1e-3)
      kernel = kernel * scale[None, None, None]
      bias = (bias - stats[norm]["mean"]) * scale + params[norm]["bias"]
    weights = torch.tensor(np.asarray(kernel).transpose(3, 2, 0, 1))
    weights = weights.contiguous(memory_format=torch.channels_last)
    bias = torch.tensor(np.asarray(bias))
    return lambda x: torch.nn.functional.conv2d(x, weights, bias)

  first = convolution("temporal_0", "BatchNorm_0")
  second = convolution("temporal_1", "BatchNorm_1")
  wide = convolution("spatial_5x5", "BatchNorm_2")
  narrow = convolution("spatial_3x3", "BatchNorm_3")
  maps = convolution("maps")

  def apply(image):
    x = second(first(image).relu_()).relu_()
    branches = [wide(x).relu_(), narrow(x[:, :, 1:-1, 1:-1]).relu_()]
    return maps(torch.cat(branches, 1))

  return apply


def peer(model: Model, signals, mask):
  """Function that reconstructs [voxel, 3] with PyTorch, and its voxels."""
  # Row 0 is for voxels outside of the mask.
  table = np.zeros((1 + len(signals), 2 * signals.shape[1]), np.float32)
  normalise_signals(signals, per=_PER, out=table[1:])
  rows = np.zeros(mask.shape, np.int32)
  rows[mask] = 1 + np.arange(mask.sum())
  rows = np.pad(rows, ((0, 0), (REACH, REACH), (REACH, REACH)))
  network = peer_network(model)
  images, crop_masks = [], []
  for plane in rows:
    lines, columns = (np.flatnonzero(plane.any(axis)) for axis in (1, 0))
    crop = plane[
      lines[0] - REACH : lines[-1] + REACH + 1,
      columns[0] - REACH : columns[-1] + REACH + 1,
    ]
    # The channels stay last in memory.
    images.append(torch.from_numpy(table[crop]).permute(2, 0, 1)[None])
    crop_masks.append(crop[REACH:-REACH, REACH:-REACH] > 0)

  @torch.inference_mode()
  def run():
    maps = (network(image)[0].permute(1, 2, 0).numpy() for image in images)
    return np.concatenate(
      [crop[inside] for crop, inside in zip(maps, crop_masks, strict=True)]
    )

  return run, sum(inside.size for inside in crop_masks)


def print_table(seconds, gflop: float) -> None:
  """Prints one line each; the spread is from the fastest to the slowest run."""
  rate = gflop / np.median(seconds["products"])
  print("\n| | seconds | spread | GFLOP | GFLOP/s | of the products' rate |")
  print("|---|--:|--:|--:|--:|--:|")
  for name, times in seconds.items():
    median = np.median(times)
    print(
      f"| {name} | {median:.2f} | {np.ptp(times) / median:.0%} | {gflop:.0f} "
      f"| {gflop / median:.0f} | {gflop / median / rate:.0%} |"
    )


def main(argv):
  """Prints the peak memory, then times the three in turns."""
  del argv
  logging.set_verbosity(logging.WARNING)
  device = device_name()
  rng = np.random.default_rng(0)
  scan = make_scan(rng)
  model = make_model(scan, rng)
  n_voxels, mask = scan.n_voxels, scan.mask
  print(
    f"{device}, jax {jax.__version__}; {_SLICES.value} x {_MATRIX.value} x "
    f"{_MATRIX.value}, T = {_FRAMES.value}, {n_voxels} masked voxels"
  )
  start = time.perf_counter()
  reconstruct(model, scan)
  gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  print(
    f"first reconstruct, with compilation: {time.perf_counter() - start:.1f} s,"
    f" peak memory {gib:.2f} GiB, {scan.signals.nbytes / 2**30:.2f} GiB of it "
    "the signals"
  )
  start = time.perf_counter()
  table = signal_table(scan.signals, per=_PER)
  print(f"table and statistics: {time.perf_counter() - start:.1f} s")

  def ours():
    return estimate(model.network, model.variables, jax.device_put(table), mask)

  runs = {"mrf_jax": ours, "products": bare_products(model, n_voxels)}
  if torch is None or jax.default_backend() != "cpu":
    print("PyTorch is not installed, or JAX does not use a CPU: no peer")
  else:
    run, n_cropped = peer(model, scan.signals, mask)
    runs[f"PyTorch {torch.__version__}"] = run
    difference = np.abs(run() - ours()).max()
    print(
      f"largest difference from PyTorch: {difference:.1e} on maps scaled to "
      f"[0, 1]; its crops have {n_cropped / n_voxels:.2f} times the voxels"
    )
  for run in runs.values():
    run()
  seconds = take_turns(runs, repeats=_REPEATS.value)
  gflop = 2e-9 * n_voxels * sum(a * b for a, b in product_shapes(model))
  print_table(seconds, gflop)
  print()
  ours_s, bare_s, *torch_s = (
    float(np.median(times)) for times in seconds.values()
  )
  scan_size = f"{_SLICES.value} x {_MATRIX.value} x {_MATRIX.value}"
  peers = [("bare matrix products", bare_s)]
  peers += [("PyTorch", peer_s) for peer_s in torch_s]
  for name, peer_s in peers:
    print_ratio(
      f"spatiotemporal network on {scan_size}, beside {name}",
      ours_s,
      peer_s,
      "s",
    )


if __name__ == "__main__":
  app.run(main)
