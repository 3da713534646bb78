"""Maps of all slices as images for the script of the HTML report."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from mrf_jax.evaluation.figures import COLOURS, DIFFERENCES, map_windows
from mrf_jax.evaluation.markdown import DECIMALS, LABELS
from mrf_jax.evaluation.orientation import Upright, upright
from mrf_jax.evaluation.panels import bounding_box, percentile
from mrf_jax.maps import MAP_NAMES
from mrf_jax.report.results import LeftOut

# Bytes of images in a page; further subjects are left out.
_MOST_BYTES = 24 << 20
_LEVELS = 65535  # of 16 bits, in two channels of an image


def viewer_data(results: Sequence[LeftOut]) -> dict:
  """Images, scales and colours for the script of the page.

  Returns:
    A dictionary for JSON. `subjects` are the first ones, up to a limit of
    bytes; each has `images` and `scales` by column and map. An image is a PNG
    file as data URI, slices one below the other: red and green are the high
    and the low byte of a level, blue is 255 inside the mask, and the value is
    scale[0] + level × scale[1]. `colours` has 256 colours of each map, and
    `labels` its label.
  """
  subjects: list[dict] = []
  n_bytes = 0
  for left_out in results:
    subject = _subject(left_out)
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
    "decimals": DECIMALS,
    "colours": {
      name: (255 * colours(np.arange(256))[:, :3]).astype(int).tolist()
      for name, colours in maps.items()
    },
    "subjects": subjects,
  }


def _subject(left_out: LeftOut) -> dict:
  """Images of a subject's maps, cut to its mask, and their colour limits."""
  mask = left_out.subject.mask
  turned = upright(left_out.subject.affine)
  box = bounding_box(np.any(turned(mask), axis=0))
  images: dict[str, dict[str, str]] = {}
  scales: dict[str, dict[str, list[float]]] = {}
  columns = {"reference": left_out.reference, **left_out.estimates}
  for column, maps in columns.items():
    images[column], scales[column] = {}, {}
    for name in MAP_NAMES:
      values = np.asarray(getattr(maps, name))
      uri, scale = _image(values, mask, turned, box)
      images[column][name], scales[column][name] = uri, scale
  everywhere = np.ones(len(left_out.reference.pd), bool)
  shape = turned(mask)[:, *box].shape
  return {
    "name": f"subject {left_out.number}",
    "n_slices": shape[0],
    "height": shape[1],
    "width": shape[2],
    "images": images,
    "scales": scales,
    "sides": turned.sides,
    "windows": map_windows(left_out.reference, everywhere),
    "difference_limits": _difference_limits(left_out),
  }


def _difference_limits(left_out: LeftOut) -> dict[str, float]:
  """Ends of the colours of differences, of all methods as in Figure 3."""
  limits = {}
  for name in MAP_NAMES:
    reference = np.asarray(getattr(left_out.reference, name))
    differences = [
      np.asarray(getattr(maps, name)) - reference
      for maps in left_out.estimates.values()
    ]
    limits[name] = 4 * percentile(np.abs(np.concatenate(differences)), 50)
  return limits


def _image(
  values: np.ndarray, mask: np.ndarray, turned: Upright, box: tuple[slice, ...]
) -> tuple[str, list[float]]:
  """Masked values as a data URI, and its scale: value of level 0, and step."""
  low, high = float(values.min()), float(values.max())
  step = (high - low) / _LEVELS or 1.0
  levels: np.ndarray = np.zeros(mask.shape, np.uint16)
  levels[mask] = np.round((values.astype(np.float64) - low) / step)
  # Lines of an image go down, and y goes up.
  levels, inside = (turned(a)[:, *box][:, ::-1] for a in (levels, mask))
  levels, inside = (a.reshape(-1, a.shape[-1]) for a in (levels, inside))
  pixels = np.stack([levels >> 8, levels & 255, 255 * inside], -1)
  buffer = io.BytesIO()
  Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG", optimize=True)
  return data_uri(buffer.getvalue()), [low, step]


def data_uri(png: bytes) -> str:
  """Text that embeds a PNG file in a page."""
  return "data:image/png;base64," + base64.b64encode(png).decode()
