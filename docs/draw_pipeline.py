"""Draws docs/pipeline.png from a finished demo.

python docs/draw_pipeline.py runs/demo

Every panel shows data of the demo: subject 0 (simulated), its pulse sequence,
and the maps and errors of the methods. Below each stands the folder of
`mrf_jax/` that does this step.
"""

import csv
import itertools
import json
import pathlib
import sys

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))

from mrf_jax import Subject, load_subject  # noqa: E402
from mrf_jax.evaluation.figures import COLOURS  # noqa: E402
from mrf_jax.evaluation.panels import bounding_box, save  # noqa: E402
from mrf_jax.io import nifti  # noqa: E402
from mrf_jax.kspace.spiral import make_spiral  # noqa: E402

_PATH = _ROOT / "docs/pipeline.png"
_METHOD = "spatiotemporal_plus"
_INK, _FAINT, _ARROW = "#202124", "#5f6368", "#c26a00"
# The panels in the order of the data: title, what is done, folders.
STEPS = (
  ("Head", "simulated: T1, T2 and PD", ("simulation",)),
  ("Pulse sequence", "flip angles and TRs", ("sequence",)),
  ("k-space", "spiral arms, coils, noise", ("kspace",)),
  ("Images", "48 frames each, or your scan", ("importing", "dataset")),
  ("Fingerprints", "one signal per voxel", ("signal", "fit")),
  ("Methods", "the other heads train", ("methods", "training", "matching")),
  ("Maps", "PD, T1 and T2", ("networks", "inference")),
  ("Comparison", "with references, by tissue", ("evaluation", "report")),
)
_METHODS = (
  ("spatiotemporal", "5 × 5 patches, convolutional"),
  ("spatiotemporal_plus", "ours"),
  ("cohen, hoppe", "single fingerprints"),
  ("gomez", "atlas of scans"),
  ("dictionary, …_svd", "simulated fingerprints"),
)
_TISSUES = {"white matter": 750, "grey matter": 1150, "CSF": 3800}
_COLOURS = ("#1f77b4", "#2ca02c", "#9467bd")


def draw(workdir: pathlib.Path, path: pathlib.Path) -> None:
  """Draws the pipeline with the data of a finished demo."""
  subject = load_subject(workdir / "data/subject-00.h5")
  config = json.loads((workdir / "config.json").read_text())
  figure = Figure(figsize=(12, 6.6), facecolor="white")
  axes = figure.subplots(
    2,
    4,
    gridspec_kw=dict(
      left=0.045, right=0.985, top=0.88, bottom=0.12, wspace=0.36, hspace=0.78
    ),
  ).ravel()
  for axis, (title, text, folders) in zip(axes, STEPS, strict=True):
    _write_step(axis, title, text, folders)
  _draw_map(axes[0], subject, subject.truth.t1_ms, "t1_ms", 3000)
  _draw_sequence(axes[1], subject)
  _draw_spiral(axes[2], config)
  _draw_map(axes[3], subject, np.abs(subject.signals[:, 40]), "pd", None)
  _draw_fingerprints(axes[4], subject)
  _write_methods(axes[5])
  _draw_maps(axes[6], workdir, subject)
  _draw_errors(axes[7], workdir)
  _draw_arrows(figure, axes)
  save(figure, path)


def _write_step(axis: Axes, title: str, text: str, folders) -> None:
  """Writes title, text and folders around a panel."""
  axis.set_title(title, color=_INK, fontsize=14, weight="bold", pad=24)
  middle = dict(transform=axis.transAxes, ha="center", color=_FAINT)
  axis.text(0.5, 1.05, text, fontsize=10, **middle)
  names = "  ".join(f"{name}/" for name in folders)
  axis.text(
    0.5, -0.33, names, fontsize=10, family="monospace", va="bottom", **middle
  )
  axis.tick_params(labelsize=8, colors=_FAINT)
  axis.spines[["top", "right"]].set_visible(False)


def _middle_slice(subject: Subject, values) -> np.ma.MaskedArray:
  """Middle slice of values [voxel], cropped to the head, anterior up."""
  volume = np.zeros(subject.mask.shape)
  volume[subject.mask] = values
  middle = len(volume) // 2
  mask = subject.mask[middle]
  box = bounding_box(mask)
  return np.ma.masked_array(volume[middle][box], ~mask[box])


def _draw_map(axis: Axes, subject: Subject, values, name: str, end) -> None:
  """Draws the middle slice."""
  image = _middle_slice(subject, values)
  axis.imshow(image, cmap=COLOURS[name], origin="lower", vmin=0, vmax=end)
  axis.set_axis_off()


def _draw_sequence(axis: Axes, subject: Subject) -> None:
  """Draws the flip angles over the frames."""
  angles = subject.acquisition.sequence.flip_angles_deg
  axis.plot(angles, color=_INK, linewidth=1)
  axis.set_xlabel("frame", fontsize=9, color=_FAINT, labelpad=1)
  axis.set_ylabel("flip angle (°)", fontsize=9, color=_FAINT, labelpad=1)


def _draw_spiral(axis: Axes, config: dict) -> None:
  """Draws all spiral arms, the first in colour."""
  spiral = make_spiral(
    matrix=config["data"]["grid"]["matrix"], **config["scan"]["spiral"]
  )
  for arm in range(spiral.n_arms):
    x, y = spiral.trajectory[arm].T
    axis.plot(x, y, color="#c8ccd1", linewidth=0.4)
  axis.plot(*spiral.trajectory[0].T, color=_ARROW, linewidth=1.6)
  axis.set_aspect("equal")
  axis.set_axis_off()


def _draw_fingerprints(axis: Axes, subject: Subject) -> None:
  """Draws the signals of a voxel of each tissue, that nearest to its T1."""
  t1_ms = subject.truth.t1_ms
  for (name, typical), colour in zip(_TISSUES.items(), _COLOURS, strict=True):
    signal = subject.signals[np.argmin(np.abs(t1_ms - typical))].real
    axis.plot(signal / np.linalg.norm(signal), color=colour, label=name, lw=1.1)
  axis.legend(fontsize=7.5, frameon=False, loc="lower right", handlelength=1)
  axis.set_yticks([])
  axis.set_xlabel("image", fontsize=9, color=_FAINT, labelpad=1)
  axis.set_ylabel("signal", fontsize=9, color=_FAINT, labelpad=1)


def _write_methods(axis: Axes) -> None:
  """Writes names and kinds of the methods."""
  for row, (name, text) in enumerate(_METHODS):
    y = 0.94 - 0.215 * row
    axis.text(
      0, y, name, fontsize=10.5, color=_INK, family="monospace", va="center"
    )
    axis.text(0.05, y - 0.095, text, fontsize=9, color=_FAINT, va="center")
  axis.set_axis_off()


def _draw_maps(axis: Axes, workdir: pathlib.Path, subject: Subject) -> None:
  """Draws the three maps of a method beside each other."""
  axis.set_axis_off()
  for column, (name, end) in enumerate(
    (("pd", 1.0), ("t1_ms", 3000), ("t2_ms", 200))
  ):
    file = f"subject-00_{name.removesuffix('_ms')}.nii.gz"
    values = nifti.load_map(workdir / "maps" / _METHOD / file, subject.mask)
    panel = axis.inset_axes((column / 3, 0.12, 0.325, 0.76))
    _draw_map(panel, subject, values, name, end)


def _draw_errors(axis: Axes, workdir: pathlib.Path) -> None:
  """Draws the RMSE of T1 over the whole brain by method."""
  with open(workdir / "table1.csv") as file:
    rows = [
      row
      for row in csv.DictReader(file)
      if (row["tissue"], row["map"]) == ("brain", "t1_ms")
      and row["method"] not in ("truth", "training_mean")
    ]
  names = [row["method"] for row in rows]
  axis.barh(
    names,
    height=0.36,
    width=[float(row["rmse_mean"]) for row in rows],
    xerr=[float(row["rmse_std"]) for row in rows],
    color=[_ARROW if name == _METHOD else "#d5d9dd" for name in names],
    error_kw=dict(ecolor=_FAINT, elinewidth=0.8),
  )
  for row, name in enumerate(names):
    axis.text(4, row - 0.22, name, fontsize=8.5, color=_INK)
  axis.set_yticks([])
  axis.set_ylim(len(names) - 0.5, -0.9)
  axis.set_xlabel("RMSE of T1 (ms)", fontsize=9, color=_FAINT, labelpad=1)


def _draw_arrows(figure: Figure, axes) -> None:
  """Draws an arrow from each panel to the next, and down to the second row."""
  boxes = [axis.get_position() for axis in axes]
  style = dict(
    transform=figure.transFigure,
    arrowstyle="-|>",
    mutation_scale=16,
    color=_ARROW,
    linewidth=1.8,
  )
  heights = (boxes[0].y0 + boxes[0].y1) / 2, (boxes[4].y0 + boxes[4].y1) / 2
  for k in range(7):
    if k == 3:
      continue
    y = heights[k // 4]
    gap = boxes[k + 1].x0 - boxes[k].x1
    # Behind it stand the labels of the next panel's axis.
    begin, end = boxes[k].x1 + 0.08 * gap, boxes[k].x1 + 0.42 * gap
    figure.add_artist(FancyArrowPatch((begin, y), (end, y), **style))
  # Down the right edge, between the rows, and into the first panel below.
  middle = (boxes[3].y0 + boxes[4].y1) / 2 - 0.018
  right, left = (boxes[3].x0 + boxes[3].x1) / 2, boxes[4].x0 - 0.03
  ends = ((right, boxes[3].y0 - 0.1), (right, middle), (left, middle))
  for (x0, y0), (x1, y1) in itertools.pairwise(ends):
    figure.add_artist(
      FancyArrowPatch((x0, y0), (x1, y1), **{**style, "arrowstyle": "-"})
    )
  figure.add_artist(
    FancyArrowPatch((left, middle), (left, boxes[4].y1 + 0.01), **style)
  )


if __name__ == "__main__":
  draw(pathlib.Path(sys.argv[1]), _PATH)
