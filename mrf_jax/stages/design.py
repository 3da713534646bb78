"""The design stage: bounds on PD, T1 and T2 of a sequence, before any scan."""

import dataclasses
import functools
import pathlib

import ml_collections
import numpy as np
from jaxtyping import Bool, Float

from mrf_jax.errors import UserError
from mrf_jax.evaluation.markdown import markdown_table, paragraphs
from mrf_jax.experiment.map_heads import check_heads
from mrf_jax.experiment.settings import (
  check_values,
  field_strength_of,
  phantom_options,
  simulated_acquisition,
  with_files,
)
from mrf_jax.io.atomic import write_text
from mrf_jax.maps import MAP_NAMES, Maps
from mrf_jax.matching.dictionary import grid_axis
from mrf_jax.runtime import processes
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import Sequence
from mrf_jax.signal.cramer_rao import cramer_rao_bounds
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.map_phantom import phantom_of
from mrf_jax.simulation.tissue import FIELD_STRENGTH_T, brain_at
from mrf_jax.simulation.true_signals import make_true_signals, mean_magnitude
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
  """Lowest standard deviations that a sequence allows at one noise level.

  Attributes:
    t1_ms: T1 of the grid, [n], ms.
    t2_ms: T2 of the grid, [m], ms.
    grid: standard deviations if PD is 1, [n, m] each; NaN where T2 > T1.
    tissues: tissue to the standard deviations at its own PD, T1 and T2.
    values: tissue to these T1 (ms), T2 (ms) and PD.
  """

  t1_ms: Float[np.ndarray, "n"]
  t2_ms: Float[np.ndarray, "m"]
  grid: Maps
  tissues: dict[str, Maps]
  values: dict[str, tuple[float, float, float]]


def evaluate_design(
  acquisition: Acquisition,
  *,
  noise_sd: float,
  t1_ms: tuple[float, float],
  t2_ms: tuple[float, float],
  step_percent: float,
  b1_known: bool,
  field_strength_t: float = FIELD_STRENGTH_T,
) -> Design:
  """Cramér–Rao bounds over a T1–T2 grid, and of white, grey matter and CSF.

  `t1_ms` and `t2_ms` are the ends of its geometric axes. `noise_sd` is of the
  real and of the imaginary part of a window's image, for signals of PD 1.
  Without `b1_known` B1 is estimated, too. The tissues are those of the field.
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
  t1, t2, physical = _points(t1_axis, t2_axis)
  grid = np.full((*physical.shape, 3), np.nan)
  if physical.any():
    grid[physical] = bounds(t1, t2).stack()
  values = brain_at(field_strength_t)
  tissues = {
    tissue: bounds([t1], [t2], pd=pd) for tissue, (t1, t2, pd) in values.items()
  }
  return Design(t1_axis, t2_axis, Maps.unstack(grid), tissues, values)


def write_design(
  design: Design, stem: pathlib.Path, *, title: str, note: str
) -> str:
  """Writes the grid as CSV and the tissues as Markdown, which it returns."""
  import pandas as pd

  from mrf_jax.evaluation.table import write_rows

  t1, t2, physical = _points(design.t1_ms, design.t2_ms)
  columns = {"t1_ms": t1, "t2_ms": t2}
  for name in MAP_NAMES:
    columns[f"sd_{name}"] = getattr(design.grid, name)[physical]
  write_rows(pd.DataFrame(columns), stem.with_suffix(".csv"), "%.6g")
  table = markdown_table(_HEAD, _tissue_rows(design))
  text = paragraphs(f"# {title}", note, table)
  write_text(text, stem.with_suffix(".md"))
  return text


def _points(
  t1_axis: Float[np.ndarray, "n"], t2_axis: Float[np.ndarray, "m"]
) -> tuple[np.ndarray, np.ndarray, Bool[np.ndarray, "n m"]]:
  """T1 and T2 of the grid's points with T2 <= T1, and where these are."""
  t1, t2 = np.meshgrid(t1_axis, t2_axis, indexing="ij")
  physical = t2 <= t1
  return t1[physical], t2[physical], physical


def _tissue_rows(design: Design) -> list[list[str]]:
  """Bounds of the tissues as cells of a table."""
  rows = []
  for tissue, (t1, t2, pd) in design.values.items():
    bounds = design.tissues[tissue]
    sds = [float(x[0]) for x in (bounds.t1_ms, bounds.t2_ms, bounds.pd)]
    percents = [
      100 * sd / value for sd, value in zip(sds, (t1, t2, pd), strict=True)
    ]
    rows.append(
      [tissue.upper(), f"{t1:g}", f"{t2:g}", f"{pd:g}"]
      + [f"{sds[0]:.1f}", f"{sds[1]:.1f}", f"{sds[2]:.3f}"]
      + [f"{percent:.1f}" for percent in percents]
    )
  return rows


def design(config: ml_collections.ConfigDict, root) -> None:
  """Writes the Cramér–Rao bounds of the scan's sequence at its noise level.

  These are `design.md`, `design.csv` and `design.png` in the workdir.

  Raises:
    UserError: a value of the configuration is not valid, or the scan has no
      noise.
  """
  from mrf_jax.evaluation.bound_figure import bound_figure

  config = with_files(config)
  check_values(config)
  scan, options = config.scan, config.design
  acquisition = simulated_acquisition(config)
  sequence = acquisition.sequence
  if not scan.noise_level > 0:
    raise UserError(
      f"scan.noise_level is {scan.noise_level}; a bound needs noise"
    )
  is_known = check_heads(config, root)
  workdir = Workdir(root, config.to_dict(), files_are_known=is_known)
  bounds = evaluate_design(
    acquisition,
    noise_sd=scan.noise_level * mean_signal(config, sequence),
    t1_ms=options.t1_ms,
    t2_ms=options.t2_ms,
    step_percent=options.step_percent,
    b1_known=options.b1_known,
    field_strength_t=field_strength_of(config.data),
  )
  b1 = "known" if options.b1_known else "estimated too"
  text = write_design(
    bounds,
    workdir.root / "design",
    title="Least standard deviations (Cramér-Rao bounds)",
    note=f"{sequence.n_frames} frames, window {scan.window}, stride "
    f"{scan.stride}, noise level {scan.noise_level:g} of the mean signal of a "
    f"simulated head, B1 {b1}; one fingerprint, any unbiased method.",
  )
  bound_figure(
    workdir.root / "design.png",
    t1_ms=bounds.t1_ms,
    t2_ms=bounds.t2_ms,
    relative_t1=bounds.grid.t1_ms / bounds.t1_ms[:, None],
    relative_t2=bounds.grid.t2_ms / bounds.t2_ms[None],
    tissues={name: row[:2] for name, row in bounds.values.items()},
    title=f"Cramér-Rao bounds, noise level {scan.noise_level:g}, PD 1",
  )
  print(text)
  processes.say(f"Design: {workdir.root / 'design.md'}, design.csv, design.png")


def mean_signal(config: ml_collections.ConfigDict, sequence: Sequence) -> float:
  """Mean magnitude of the signals in the middle slice of a simulated head."""
  phantom = phantom_of(
    np.random.default_rng([config.seed, 0]),
    SliceGrid(**config.data.grid),
    **phantom_options(config.data),
  )
  middle = phantom.by_distance_from_the_middle()[0]
  return mean_magnitude(make_true_signals(phantom, sequence).of_slice(middle))
