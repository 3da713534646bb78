"""Maps of all slices in a form that a page's own script can show."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from mrf_jax.evaluation.figures import (
  COLOURS,
  DIFFERENCES,
  LABELS,
  default_limits,
)
from mrf_jax.evaluation.panels import percentile
from mrf_jax.maps import MAP_NAMES
from mrf_jax.report.results import LeftOut

# Bytes of images in a page; subjects beyond are left out.
_MOST_BYTES = 24 << 20
_LEVELS = 65535
_MARGIN = 2


def viewer_data(results: Sequence[LeftOut]) -> dict:
  """Images, scales and colours for the script of the page.

  Args:
    results: of `load_results`, at least one.

  Returns:
    What JSON can hold: `subjects`, as many of the first as a page should hold,
    each with its `images` by column and map, PNG files as data URIs in which
    red and green are the high and the low byte of a value and blue says
    whether it is inside the mask, slices one below the other, and `scales` of
    these values; `colours`, 256 of them, and `labels` of each map.
  """
  subjects: list[dict] = []
  n_bytes = 0
  for one in results:
    subject = _subject(one)
    n_bytes += sum(
      len(uri)
      for images in subject["images"].values()
      for uri in images.values()
    )
    if subjects and n_bytes > _MOST_BYTES:
      break
    subjects.append(subject)
  maps = {**COLOURS, "difference": DIFFERENCES}
  return {
    "maps": list(MAP_NAMES),
    "labels": LABELS,
    "colours": {
      name: (255 * colours(np.arange(256))[:, :3]).astype(int).tolist()
      for name, colours in maps.items()
    },
    "subjects": subjects,
  }


def _subject(one: LeftOut) -> dict:
  mask = one.subject.mask
  rows, columns = (np.flatnonzero(mask.any((0, axis))) for axis in (2, 1))
  box = tuple(
    slice(max(found[0] - _MARGIN, 0), found[-1] + 1 + _MARGIN)
    for found in (rows, columns)
  )
  images: dict[str, dict[str, str]] = {}
  scales: dict[str, dict[str, list[float]]] = {}
  for column, maps in {"reference": one.reference, **one.estimates}.items():
    images[column], scales[column] = {}, {}
    for name in MAP_NAMES:
      uri, scale = _image(np.asarray(getattr(maps, name)), mask, box)
      images[column][name], scales[column][name] = uri, scale
  everywhere = np.ones(len(one.reference.pd), bool)
  shape = mask[:, *box].shape
  return {
    "name": f"subject {one.number}",
    "n_slices": shape[0],
    "height": shape[1],
    "width": shape[2],
    "images": images,
    "scales": scales,
    "limits": default_limits(one.reference, everywhere),
    "difference_limits": _difference_limits(one),
  }


def _difference_limits(one: LeftOut) -> dict[str, float]:
  """As those of Figure 3, over all methods."""

  def far(name):
    differences = [
      np.asarray(getattr(maps, name)) - np.asarray(getattr(one.reference, name))
      for maps in one.estimates.values()
    ]
    return 4 * percentile(np.abs(np.concatenate(differences)), 50)

  return {name: far(name) for name in MAP_NAMES}


def _image(values, mask, box) -> tuple[str, list[float]]:
  """Masked values as a data URI, and the values of its level 0 and step."""
  low, high = float(values.min()), float(values.max())
  step = (high - low) / _LEVELS or 1.0
  levels = np.zeros(mask.shape, np.uint16)
  levels[mask] = np.round((values.astype(np.float64) - low) / step)
  # Screens count lines from the top, and y goes up.
  levels, inside = (a[:, *box][:, ::-1] for a in (levels, mask))
  levels, inside = (a.reshape(-1, a.shape[-1]) for a in (levels, inside))
  pixels = np.stack([levels >> 8, levels & 255, 255 * inside], -1)
  buffer = io.BytesIO()
  Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG", optimize=True)
  return data_uri(buffer.getvalue()), [low, step]


def data_uri(png: bytes) -> str:
  """A PNG file inside a page."""
  return "data:image/png;base64," + base64.b64encode(png).decode()
