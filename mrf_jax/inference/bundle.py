"""Model bundles: a trained network in a folder."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mrf_jax.dataset.normalise import MapRange, check_normalisation
from mrf_jax.errors import UserError, one_line, reason
from mrf_jax.inference.model import Model
from mrf_jax.io.arrays import (
  load_arrays,
  load_tree,
  named_leaves,
  save_arrays,
  text_checksum,
)
from mrf_jax.io.atomic import replacing_folder
from mrf_jax.maps import MAP_NAMES
from mrf_jax.networks import NETWORKS
from mrf_jax.networks.shapes import variable_shapes
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import make_sequence

_FORMAT = "mrf-model"
# Variables of version 1 are a tree of orbax's, which brings tensorstore along.
_VERSION = 2
# The shapes of each take some 20 ms to find; networks have ten or so.
_MOST_LAYERS = 128
_KEYS = (
  "format",
  "version",
  "method",
  "network",
  "maps_low",
  "maps_high",
  "maps_powers",
  "normalise_signals_per",
  "sequence",
  "window",
  "stride",
  "config",
  "training",
)


def save_model(
  model: Model, path, *, config: dict, training: dict | None = None
) -> None:
  """Writes a bundle folder, complete or not at all.

  Args:
    model: the trained network.
    path: the folder; one that stands there is replaced.
    config: the configuration of the experiment, kept for the record.
    training: what else is known of its training, for `load_training`.

  Raises:
    UserError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  description = {
    "format": _FORMAT,
    "version": _VERSION,
    "method": model.method,
    "network": {
      field.name: getattr(model.network, field.name)
      for field in dataclasses.fields(model.network)
      if field.name not in ("parent", "name")
    },
    "maps_low": list(map(float, model.map_range.low)),
    "maps_high": list(map(float, model.map_range.high)),
    "maps_powers": list(map(float, model.map_range.powers)),
    "normalise_signals_per": model.normalise_signals_per,
    "sequence": {
      name: np.asarray(value).tolist() if value is not None else None
      for name, value in vars(model.sequence).items()
    },
    "window": model.window,
    "stride": model.stride,
    "config": config,
    "training": training or {},
  }
  arrays = dict(model.variables)
  if model.basis is not None:
    arrays["basis"] = model.basis
  try:
    with replacing_folder(path) as folder:
      save_arrays(folder / "variables", flatten_dict(arrays, sep="/"))
      description["sha256"] = {
        "files": _file_checksums(folder / "variables"),
        "description": _checksum(description),
      }
      text = json.dumps(description, indent=1)
      (folder / "model.json").write_text(text + "\n")
  # Storage has errors of many types.
  except Exception as error:
    raise UserError(f"{path}: cannot be written ({reason(error)})") from error


def load_model(path) -> Model:
  """The trained network of a bundle folder.

  Args:
    path: the folder.

  Returns:
    The model, on the host.

  Raises:
    UserError: there is no sound bundle.
  """
  path = pathlib.Path(path)
  text = _description(path)
  try:
    return _model(path, text)
  except FileNotFoundError as error:
    raise UserError(f"{path}: no model bundle ({error})") from error
  # Anything but what `save_model` wrote may lead to anything.
  except Exception as error:
    raise UserError(
      f"{path}: damaged model bundle ({one_line(error)})"
    ) from error


def _model(path: pathlib.Path, text: dict) -> Model:
  """The model of a description, if the variables are its own."""
  if text["method"] not in NETWORKS:
    raise ValueError(f"unknown method {text['method']!r}")
  options: dict[str, Any] = {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in text["network"].items()
  }
  acquisition = Acquisition(
    make_sequence(**text["sequence"]),
    window=int(text["window"]),
    stride=int(text["stride"]),
  )
  check_normalisation(text["normalise_signals_per"])
  limits = np.array([text["maps_low"], text["maps_high"]], np.float64)
  if limits.shape != (2, len(MAP_NAMES)) or not np.isfinite(limits).all():
    raise ValueError(f"the range of its maps is {limits.tolist()}")
  folder = path / "variables"
  # Bundles of earlier versions have none.
  sums = text.get("sha256")
  if sums is not None:
    found = _file_checksums(folder)
    # Systems leave files of their own in every folder.
    if any(found.get(name) != wanted for name, wanted in sums["files"].items()):
      raise ValueError(
        "the files of the variables are not as they were written"
      )
  variables: dict[str, Any]
  if text["version"] == 1:
    variables = load_tree(folder)
  else:
    variables = unflatten_dict(load_arrays(folder), sep="/")
  basis = variables.pop("basis", None)
  n_images = acquisition.n_windows
  if basis is not None and (basis.ndim != 2 or len(basis) != n_images):
    raise ValueError(f"the basis has shape {basis.shape}, not for {n_images}")
  _check_layers(options, len(named_leaves(variables)))
  network = NETWORKS[text["method"]](**options)
  _check_shapes(
    variables,
    variable_shapes(
      network,
      reach=network.reach,
      n_channels=2 * (n_images if basis is None else basis.shape[1]),
    ),
  )
  return Model(
    method=text["method"],
    network=network,
    reach=network.reach,
    variables=variables,
    map_range=MapRange(
      limits[0],
      limits[1],
      powers=tuple(text.get("maps_powers", (1.0, 1.0, 1.0))),
    ),
    normalise_signals_per=text["normalise_signals_per"],
    acquisition=acquisition,
    basis=basis,
  )


def _check_layers(options: dict[str, Any], n_arrays: int) -> None:
  """Refuses more layers than there are arrays: to build them takes long."""
  for name, value in options.items():
    n_layers = len(value) if isinstance(value, tuple) else 0
    if name == "depth" and isinstance(value, int):
      n_layers = value
    if n_layers > min(n_arrays, _MOST_LAYERS):
      raise ValueError(
        f"{name} makes {n_layers:,} layers, of {n_arrays:,} arrays; at most "
        f"{_MOST_LAYERS} are known"
      )


def _check_shapes(variables: dict, wanted) -> None:
  """Refuses variables that are not the network's, or no numbers."""
  pairs = jax.tree_util.tree_flatten_with_path(wanted)[0]
  shapes = {jax.tree_util.keystr(path): leaf.shape for path, leaf in pairs}
  found = named_leaves(variables)
  if found.keys() != shapes.keys():
    others = sorted(found.keys() ^ shapes.keys())
    raise ValueError(f"its variables are not the network's: {others}")
  for name, values in found.items():
    if values.shape != shapes[name]:
      raise ValueError(
        f"{name} has shape {values.shape}, the network wants {shapes[name]}"
      )
    if not np.isfinite(values).all():
      raise ValueError(f"{name} has values that are NaN or infinite")


def load_training(path, *, default: dict | None = None) -> dict:
  """What was kept of the training of a bundle.

  Args:
    path: the folder.
    default: where it does not say; None is an error.

  Returns:
    `seconds` that it took, and `left_out`, the number of the subject.

  Raises:
    UserError: there is no bundle, or it does not say.
  """
  training = _description(pathlib.Path(path)).get("training")
  if not training and default is not None:
    return default
  if not training:
    raise UserError(f"{path}: does not say how it was trained")
  return training


def load_config(path, *, wants: Sequence[str] = ()) -> dict:
  """The configuration of the experiment that a bundle comes from.

  Args:
    path: the folder.
    wants: sections that it must have.

  Raises:
    UserError: there is no sound bundle, or a section is not there.
  """
  path = pathlib.Path(path)
  config = _description(path).get("config") or {}
  missing = [name for name in wants if name not in config]
  if missing:
    raise UserError(
      f"{path}: the bundle's configuration has no {', '.join(missing)}"
    )
  return config


def _description(path: pathlib.Path) -> dict:
  """The checked text of a bundle."""
  try:
    text = json.loads((path / "model.json").read_text())
    if text["format"] != _FORMAT or text["version"] not in (1, _VERSION):
      raise ValueError(f"{text['format']} version {text['version']}")
    unknown = text.keys() - {*_KEYS, "sha256"}
    if unknown:
      raise ValueError(f"model.json has {', '.join(sorted(unknown))}")
    sums = text.get("sha256")
    if sums is not None and sums["description"] != _checksum(text):
      raise ValueError("model.json was changed after it was written")
  except (FileNotFoundError, NotADirectoryError) as error:
    folds = sorted(fold.name for fold in path.glob("fold-*"))
    hint = f"; those in it are {', '.join(folds)}" if folds else ""
    raise UserError(
      f"{path}: no model bundle (a folder with model.json){hint}"
    ) from error
  # Such as nesting that is deeper than Python goes.
  except Exception as error:
    raise UserError(
      f"{path}: damaged model bundle ({one_line(error)})"
    ) from error
  return text


def _checksum(description: dict) -> str:
  """Of a description without its own checksums."""
  rest = {k: v for k, v in description.items() if k != "sha256"}
  return text_checksum(rest)


def _file_checksums(folder: pathlib.Path) -> dict[str, str]:
  """SHA-256 of every file in a folder, by its name there."""
  return {
    str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
    for file in sorted(folder.rglob("*"))
    if file.is_file()
  }
