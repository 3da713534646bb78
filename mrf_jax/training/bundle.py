"""Model bundles: a trained network in a folder."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.errors import UserError
from mrf_jax.files import replacing_folder
from mrf_jax.model import Model
from mrf_jax.models import NETWORKS
from mrf_jax.sequence import make_sequence
from mrf_jax.training.trees import load_tree, save_tree

_FORMAT = "mrf-model"
_VERSION = 1


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
      save_tree(folder / "variables", arrays)
      text = json.dumps(description, indent=1)
      (folder / "model.json").write_text(text + "\n")
  except OSError as error:
    raise UserError(f"{path}: cannot be written ({error})") from error


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
    if text["method"] not in NETWORKS:
      raise ValueError(f"unknown method {text['method']!r}")
    options: dict[str, Any] = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in text["network"].items()
    }
    network = NETWORKS[text["method"]](**options)
    variables = load_tree(path / "variables")
    basis = variables.pop("basis", None)
    return Model(
      method=text["method"],
      network=network,
      reach=network.reach,
      variables=variables,
      map_range=MapRange(
        np.array(text["maps_low"]),
        np.array(text["maps_high"]),
        powers=tuple(text.get("maps_powers", (1.0, 1.0, 1.0))),
      ),
      normalise_signals_per=text["normalise_signals_per"],
      sequence=make_sequence(**text["sequence"]),
      window=int(text["window"]),
      stride=int(text["stride"]),
      basis=basis,
    )
  except FileNotFoundError as error:
    raise UserError(f"{path}: no model bundle ({error})") from error
  except (OSError, KeyError, TypeError, ValueError) as error:
    raise UserError(f"{path}: damaged model bundle ({error})") from error


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
    if text["format"] != _FORMAT or text["version"] != _VERSION:
      raise ValueError(f"{text['format']} version {text['version']}")
  except FileNotFoundError as error:
    raise UserError(f"{path}: no model bundle ({error})") from error
  except (OSError, KeyError, TypeError, ValueError) as error:
    raise UserError(f"{path}: damaged model bundle ({error})") from error
  return text
