"""What a sequence can tell: bounds of PD, T1 and T2, before any scan."""

import csv
import dataclasses
import functools

import ml_collections
import numpy as np
from jaxtyping import Float

from mrf_jax.errors import UserError
from mrf_jax.evaluation.bound_figure import bound_figure
from mrf_jax.evaluation.table import markdown_table
from mrf_jax.experiment.settings import (
  check_values,
  phantom_options,
  simulated_acquisition,
)
from mrf_jax.io.atomic import replacing
from mrf_jax.maps import Maps
from mrf_jax.matching.dictionary import grid_axis
from mrf_jax.runtime import processes
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.signal.cramer_rao import cramer_rao_bounds
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.phantom import make_phantom
from mrf_jax.simulation.scan import mean_magnitude, true_signals
from mrf_jax.simulation.tissue import BRAIN_AT_1_5T
from mrf_jax.workdir.workdir import Workdir

_HEAD = (
  "tissue",
  "T1 (ms)",
  "T2 (ms)",
  "PD",
  "sd T1 (ms)",
  "sd T2 (ms)",
  "sd PD",
  "sd T1 (%)",
  "sd T2 (%)",
  "sd PD (%)",
)


@dataclasses.dataclass(frozen=True)
class Design:
  """Least standard deviations of a sequence at one noise level.

  Attributes:
    t1_ms: axis of the grid, [n], ms.
    t2_ms: axis of the grid, [m], ms.
    grid: standard deviations for PD one, [n, m] each; NaN where T2 > T1.
    tissues: those of each tissue at its own PD, T1 and T2.
  """

  t1_ms: Float[np.ndarray, "n"]
  t2_ms: Float[np.ndarray, "m"]
  grid: Maps
  tissues: dict[str, Maps]


def evaluate_design(
  acquisition: Acquisition,
  *,
  noise_sd: float,
  t1_ms: tuple[float, float],
  t2_ms: tuple[float, float],
  step_percent: float,
  b1_known: bool,
) -> Design:
  """Cramér–Rao bounds over a T1–T2 grid, and of white, grey matter and CSF.

  Args:
    acquisition: the pulse sequence and its sliding window.
    noise_sd: standard deviation of the noise on the real and on the imaginary
      part of a window's image, for signals of PD one.
    t1_ms: ends of the grid, ms.
    t2_ms: ends of the grid, ms.
    step_percent: of the grid's geometric axes.
    b1_known: whether B1 is known; otherwise it is estimated too.

  Returns:
    The bounds.
  """
  bounds = functools.partial(
    cramer_rao_bounds,
    acquisition.sequence,
    noise_sd=noise_sd,
    window=acquisition.window,
    stride=acquisition.stride,
    b1_known=b1_known,
  )
  t1_axis = grid_axis(*t1_ms, step_percent=step_percent)
  t2_axis = grid_axis(*t2_ms, step_percent=step_percent)
  t1, t2 = np.meshgrid(t1_axis, t2_axis, indexing="ij")
  physical = t2 <= t1
  grid = np.full((*t1.shape, 3), np.nan)
  if physical.any():
    found = bounds(t1[physical], t2[physical])
    grid[physical] = found.stack()
  tissues = {
    tissue: bounds([t1], [t2], pd=pd)
    for tissue, (t1, t2, pd) in BRAIN_AT_1_5T.items()
  }
  return Design(t1_axis, t2_axis, Maps.unstack(grid), tissues)


def _tissue_rows(design: Design) -> list[list[str]]:
  """The bounds of the tissues as cells of a table."""
  rows = []
  for tissue, (t1, t2, pd) in BRAIN_AT_1_5T.items():
    found = design.tissues[tissue]
    sds = [float(x[0]) for x in (found.t1_ms, found.t2_ms, found.pd)]
    shares = [
      100 * sd / value for sd, value in zip(sds, (t1, t2, pd), strict=True)
    ]
    rows.append(
      [tissue.upper(), f"{t1:g}", f"{t2:g}", f"{pd:g}"]
      + [f"{sds[0]:.1f}", f"{sds[1]:.1f}", f"{sds[2]:.3f}"]
      + [f"{share:.1f}" for share in shares]
    )
  return rows


def write_design(design: Design, stem, *, title: str, note: str) -> str:
  """Writes the grid as CSV and the tissues as Markdown.

  Args:
    design: the bounds.
    stem: path without suffix.
    title: heading of the Markdown.
    note: paragraph under it.

  Returns:
    The Markdown.
  """
  with (
    replacing(stem.with_suffix(".csv")) as temporary,
    open(temporary, "w", newline="") as file,
  ):
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["t1_ms", "t2_ms", "sd_pd", "sd_t1_ms", "sd_t2_ms"])
    for i, t1 in enumerate(design.t1_ms):
      for j, t2 in enumerate(design.t2_ms):
        if t2 <= t1:
          sds = (x[i, j] for x in (design.grid.pd, design.grid.t1_ms))
          row = [t1, t2, *sds, design.grid.t2_ms[i, j]]
          writer.writerow([f"{x:.6g}" for x in row])
  table = markdown_table(_HEAD, _tissue_rows(design))
  text = f"# {title}\n\n{note}\n\n{table}\n"
  with replacing(stem.with_suffix(".md")) as temporary:
    temporary.write_text(text)
  return text


def design(config: ml_collections.ConfigDict, root) -> None:
  """What the scan's sequence can tell at its noise: bounds, before scanning.

  Args:
    config: the experiment's configuration.
    root: the workdir; gets `design.md`, `design.csv` and `design.png`.
  """
  check_values(config)
  data, scan, options = config.data, config.scan, config.design
  acquisition = simulated_acquisition(config)
  sequence = acquisition.sequence
  if not scan.noise_level > 0:
    raise UserError(
      f"scan.noise_level is {scan.noise_level}; a bound wants noise"
    )
  workdir = Workdir(root, config.to_dict())
  phantom = make_phantom(
    np.random.default_rng([config.seed, 0]),
    SliceGrid(**data.grid),
    **phantom_options(data),
  )
  middle = phantom.by_distance_from_the_middle()[0]
  signals = true_signals(phantom, sequence, middle)
  found = evaluate_design(
    acquisition,
    noise_sd=scan.noise_level * mean_magnitude(signals),
    t1_ms=options.t1_ms,
    t2_ms=options.t2_ms,
    step_percent=options.step_percent,
    b1_known=options.b1_known,
  )
  b1 = "known" if options.b1_known else "estimated too"
  text = write_design(
    found,
    workdir.root / "design",
    title="Least standard deviations (Cramér-Rao bounds)",
    note=f"{sequence.n_frames} frames, window {scan.window}, stride "
    f"{scan.stride}, noise level {scan.noise_level:g} of the mean signal of a "
    f"simulated head, B1 {b1}; one fingerprint, any unbiased method.",
  )
  bound_figure(
    workdir.root / "design.png",
    t1_ms=found.t1_ms,
    t2_ms=found.t2_ms,
    relative_t1=found.grid.t1_ms / found.t1_ms[:, None],
    relative_t2=found.grid.t2_ms / found.t2_ms[None],
    tissues={name: row[:2] for name, row in BRAIN_AT_1_5T.items()},
    title=f"Cramér-Rao bounds, noise level {scan.noise_level:g}, PD 1",
  )
  print(text)
  processes.say(f"Design: {workdir.root / 'design.md'}, design.csv, design.png")
