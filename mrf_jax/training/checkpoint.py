"""Model bundles: a trained network in a folder (the only use of orbax)."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mrf_jax.dataset.normalise import MapRange
from mrf_jax.errors import UserError
from mrf_jax.inference import Model
from mrf_jax.models import NETWORKS
from mrf_jax.sequence import make_sequence

_FORMAT = "mrf-model"
_VERSION = 1


def save_model(model: Model, path, *, config: dict) -> None:
  """Writes a bundle folder, complete or not at all.

  Args:
    model: the trained network.
    path: the folder; one that stands there is replaced.
    config: the configuration of the experiment, kept for the record.

  Raises:
    UserError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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
    "normalise_signals_per": model.normalise_signals_per,
    "sequence": {
      name: np.asarray(value).tolist() if value is not None else None
      for name, value in vars(model.sequence).items()
    },
    "window": model.window,
    "stride": model.stride,
    "config": config,
  }
  try:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    arrays = jax.tree.map(np.asarray, model.variables)
    with ocp.StandardCheckpointer() as checkpointer:
      checkpointer.save((temporary / "variables").absolute(), arrays)
    text = json.dumps(description, indent=1)
    (temporary / "model.json").write_text(text + "\n")
    shutil.rmtree(path, ignore_errors=True)
    os.replace(temporary, path)
  except OSError as error:
    raise UserError(f"{path}: cannot be written ({error})") from error
  finally:
    with contextlib.suppress(OSError):
      shutil.rmtree(temporary)


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
  try:
    text = json.loads((path / "model.json").read_text())
    if text["format"] != _FORMAT or text["version"] != _VERSION:
      raise ValueError(f"{text['format']} version {text['version']}")
    if text["method"] not in NETWORKS:
      raise ValueError(f"unknown method {text['method']!r}")
    network_type, reach = NETWORKS[text["method"]]
    options: dict[str, Any] = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in text["network"].items()
    }
    with ocp.StandardCheckpointer() as checkpointer:
      # Plain host arrays, whatever device the bundle was written on.
      folder = (path / "variables").absolute()
      variables = checkpointer.restore(
        folder, _host_target(checkpointer, folder)
      )
    return Model(
      method=text["method"],
      network=network_type(**options),
      reach=reach,
      variables=variables,
      map_range=MapRange(
        np.array(text["maps_low"]), np.array(text["maps_high"])
      ),
      normalise_signals_per=text["normalise_signals_per"],
      sequence=make_sequence(**text["sequence"]),
      window=int(text["window"]),
      stride=int(text["stride"]),
    )
  except FileNotFoundError as error:
    raise UserError(f"{path}: no model bundle ({error})") from error
  except (OSError, KeyError, TypeError, ValueError) as error:
    raise UserError(f"{path}: damaged model bundle ({error})") from error


def _host_target(checkpointer, folder):
  """The tree of a saved checkpoint as empty NumPy arrays."""
  metadata = checkpointer.metadata(folder)
  tree = getattr(metadata, "item_metadata", metadata)
  tree = getattr(tree, "tree", tree)
  return jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)
