"""Model bundles: folders that hold a trained network and all that it needs."""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mrf_jax.dataset.signal_reference import SignalReference
from mrf_jax.dataset.standardise import SignalStatistics, check_normalisation
from mrf_jax.errors import UserError, one_line, reason
from mrf_jax.inference.bundle_description import (
  check_description,
  describe,
  description_checksum,
  read_b1_range,
  read_deviation_scale,
  read_field_strength_t,
  read_map_range,
  read_pd_unit,
  training_record,
)
from mrf_jax.inference.bundle_folder import no_bundle
from mrf_jax.inference.model import Model
from mrf_jax.io.arrays import load_arrays, named_leaves
from mrf_jax.io.atomic import replacing_folder
from mrf_jax.networks import NETWORKS
from mrf_jax.networks.channels import channel_count
from mrf_jax.networks.shapes import variable_shapes
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.sequence import make_sequence

# Of the signals, among the arrays; not in bundles whose scans are standardised
# by their own.
_STATISTICS = "statistics"
# Our networks have about ten layers. Flax needs about 20 ms to find the shapes
# of one, so that a description of a million layers would be read for hours.
_MAX_LAYERS = 128


def save_model(
  model: Model,
  path,
  *,
  config: dict | None = None,
  training: dict | None = None,
) -> None:
  """Writes a model bundle, whole or not at all.

  The folder holds `model.json`, which describes the model, and `variables/`,
  the parameters of its network.

  Args:
    model: the trained network.
    path: the folder; an existing one is replaced.
    config: the configuration of the experiment, for `load_config`; None is
      that of the model.
    training: seconds, subjects and more of the training, for `load_training`;
      None is what the model has.

  Raises:
    UserError: the network is not one of `NETWORKS`, as only they can be read
      again, or the folder cannot be written.
  """
  path = pathlib.Path(path)
  if type(model.network) is not NETWORKS.get(model.method):
    raise UserError(
      f"{path}: a bundle stores networks of mrf_jax ({', '.join(NETWORKS)}), "
      f"not {type(model.network).__name__} as {model.method!r}"
    )
  config = model.config if config is None else config
  training = model.training if training is None else training
  description = describe(model, config=config, training=training)
  from mrf_jax.io.array_folder import save_arrays

  arrays = dict(model.variables)
  if model.basis is not None:
    arrays["basis"] = model.basis
  if model.statistics is not None:
    arrays[_STATISTICS] = _statistics_arrays(model.statistics)
  try:
    with replacing_folder(path) as folder:
      save_arrays(folder / "variables", flatten_dict(arrays, sep="/"))
      description["sha256"] = {
        "files": _file_checksums(folder / "variables"),
        "description": description_checksum(description),
      }
      text = json.dumps(description, indent=1)
      (folder / "model.json").write_text(text + "\n")
  # Storage has errors of many types.
  except Exception as error:
    raise UserError(f"{path}: cannot be written ({reason(error)})") from error


def load_model(path) -> Model:
  """Reads the trained network of a model bundle.

  Args:
    path: the folder.

  Returns:
    The model, with its variables on the host.

  Raises:
    UserError: the bundle is missing or damaged.
  """
  path = pathlib.Path(path)
  description = _read_description(path)
  try:
    return _read_model(path, description)
  except FileNotFoundError as error:
    raise UserError(f"{path}: no model bundle ({error})") from error
  # A description that `save_model` did not write may lead to any error.
  except Exception as error:
    raise UserError(
      f"{path}: damaged model bundle ({one_line(error)})"
    ) from error


def load_training(path, *, default: dict | None = None) -> dict:
  """Reads what a model bundle says about its training.

  Args:
    path: the folder.
    default: returned if it says nothing; None makes that an error.

  Returns:
    `seconds`, the time of the training, `left_out`, the number of the subject
    without which the network was trained, and more.

  Raises:
    UserError: the bundle is missing or damaged, or says nothing.
  """
  training = training_record(_read_description(pathlib.Path(path)))
  if training:
    return training
  if default is None:
    raise UserError(f"{path}: does not say how it was trained")
  return default


def bundle_checksum(path) -> str:
  """SHA-256 of a bundle's description, which has those of its variables."""
  return hashlib.sha256(
    (pathlib.Path(path) / "model.json").read_bytes()
  ).hexdigest()


def load_config(path, *, sections: Sequence[str] = ()) -> dict:
  """Reads the configuration of the experiment that a model bundle comes from.

  Raises:
    UserError: the bundle is missing or damaged, or has not all of the sections.
  """
  path = pathlib.Path(path)
  config = _read_description(path)["config"]
  missing = [name for name in sections if name not in config]
  if missing:
    raise UserError(
      f"{path}: the bundle's configuration has no {', '.join(missing)}"
    )
  return config


def _read_description(path: pathlib.Path) -> dict:
  """Content of `model.json`, as `save_model` wrote it."""
  try:
    description = json.loads((path / "model.json").read_text())
    check_description(description)
  except (FileNotFoundError, NotADirectoryError) as error:
    raise UserError(f"{path}: {no_bundle(path)}") from error
  # Among them RecursionError, for JSON that is nested too deeply.
  except Exception as error:
    raise UserError(
      f"{path}: damaged model bundle ({one_line(error)})"
    ) from error
  return description


def _file_checksums(folder: pathlib.Path) -> dict[str, str]:
  """SHA-256 of each file in a folder, by its name there."""
  return {
    str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
    for file in sorted(folder.rglob("*"))
    if file.is_file()
  }


def _read_model(path: pathlib.Path, description: dict) -> Model:
  """The model of a description, whose variables must fit its network."""
  method = description["method"]
  if method not in NETWORKS:
    raise ValueError(f"unknown method {method!r}")
  acquisition = Acquisition(
    make_sequence(**description["sequence"]),
    window=int(description["window"]),
    stride=int(description["stride"]),
  )
  check_normalisation(description["normalise_signals_per"])
  variables = _read_variables(path / "variables", description["sha256"])
  basis = variables.pop("basis", None)
  statistics = variables.pop(_STATISTICS, None)
  n_windows = acquisition.n_windows
  if basis is not None and (basis.ndim != 2 or len(basis) != n_windows):
    raise ValueError(f"the basis has shape {basis.shape}, not for {n_windows}")
  network = _make_network(
    NETWORKS[method], description["network"], len(named_leaves(variables))
  )
  n_components = n_windows if basis is None else basis.shape[1]
  n_channels = channel_count(network, n_components=n_components)
  _check_variables(
    variables,
    variable_shapes(network, n_channels=n_channels),
  )
  statistics = _read_statistics(
    statistics, n_components, description["normalise_signals_per"]
  )
  return Model(
    method=method,
    network=network,
    variables=variables,
    map_range=read_map_range(description),
    normalise_signals_per=description["normalise_signals_per"],
    acquisition=acquisition,
    basis=basis,
    statistics=statistics,
    pd_unit=read_pd_unit(description, has_statistics=statistics is not None),
    b1_range=read_b1_range(description),
    deviation_scale=read_deviation_scale(description),
    field_strength_t=read_field_strength_t(description),
    config=description["config"],
    training=training_record(description),
  )


def _statistics_arrays(statistics: SignalStatistics) -> dict[str, np.ndarray]:
  """Arrays of a bundle, by their names."""
  reference = statistics.reference
  return {
    "phase": reference.phase,
    "level": reference.level,
    "count": np.array([statistics.count]),
    "mean": statistics.mean,
    "variance": statistics.variance,
  }


def _read_statistics(
  arrays: Any, n_components: int, per: str
) -> SignalStatistics | None:
  """Statistics of the signals, if any; `ValueError` if they are not such."""
  if arrays is None:
    return None
  n_values = {"frame": 2 * n_components, "subject": 1}.get(per, 0)
  shapes = dict.fromkeys(("phase", "level"), (n_components,))
  shapes |= {"count": (1,), "mean": (n_values,), "variance": (n_values,)}
  found = {name: np.shape(x) for name, x in arrays.items()}
  if found != shapes:
    raise ValueError(f"its statistics have the shapes {found}, not {shapes}")
  if not all(np.isfinite(x).all() for x in arrays.values()):
    raise ValueError("its statistics are not finite")
  if not (arrays["variance"] >= 0).all() or not arrays["count"] > 0:
    raise ValueError("a variance or the number of its signals is below 0")
  reference = SignalReference(
    *(np.asarray(arrays[x], np.complex64) for x in ("phase", "level"))
  )
  mean, variance = (np.asarray(arrays[x], float) for x in ("mean", "variance"))
  return SignalStatistics(reference, float(arrays["count"][0]), mean, variance)


def _read_variables(folder: pathlib.Path, sha256: dict) -> dict[str, Any]:
  """The tree of variables, whose files must be as they were written."""
  checksums = _file_checksums(folder)
  # Other files do not count: systems leave files of their own in any folder.
  expected = sha256["files"]
  if any(checksums.get(name) != expected[name] for name in expected):
    raise ValueError("the files of the variables are not as they were written")
  return unflatten_dict(load_arrays(folder), sep="/")


def _make_network(kind: type, options: dict, n_arrays: int) -> Any:
  """The network; `ValueError` if it has more layers than there are arrays."""
  arguments = {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in options.items()
  }
  for name, value in arguments.items():
    n_layers = len(value) if isinstance(value, tuple) else 0
    if name == "depth" and isinstance(value, int):
      n_layers = value
    if n_layers > min(n_arrays, _MAX_LAYERS):
      raise ValueError(
        f"{name} makes {n_layers:,} layers, of {n_arrays:,} arrays; at most "
        f"{_MAX_LAYERS} are known"
      )
  return kind(**arguments)


def _check_variables(variables: dict, expected) -> None:
  """Raises `ValueError` if variables have other shapes or are not finite."""
  pairs = jax.tree_util.tree_flatten_with_path(expected)[0]
  shapes = {jax.tree_util.keystr(path): leaf.shape for path, leaf in pairs}
  arrays = named_leaves(variables)
  if arrays.keys() != shapes.keys():
    different = sorted(arrays.keys() ^ shapes.keys())
    raise ValueError(
      f"its variables are not those of the network in this version: {different}"
    )
  for name, values in arrays.items():
    if values.shape != shapes[name]:
      raise ValueError(
        f"{name} has shape {values.shape}, the network needs {shapes[name]}"
      )
    if not np.isfinite(values).all():
      raise ValueError(f"{name} has values that are NaN or infinite")
