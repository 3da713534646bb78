"""Stage `train`: a network for a sequence, from its schedule alone."""

import os
import pathlib
import shutil
import tempfile
from typing import Any

import ml_collections
import numpy as np

from mrf_jax.command_line.configurations import load_built_in
from mrf_jax.command_line.inputs import check_inputs, unfinished_folder
from mrf_jax.errors import UserError
from mrf_jax.experiment.settings import (
  check_methods,
  check_values,
  field_strength_of,
  with_files,
)
from mrf_jax.importing.dark_region import dark_noise_level
from mrf_jax.importing.from_flags import (
  OF_RAW_DATA,
  open_images,
  read_acquisition,
)
from mrf_jax.importing.options import ImportOptions
from mrf_jax.importing.scan import Images
from mrf_jax.io.atomic import replacing_folder, writing_to
from mrf_jax.networks import NETWORKS
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.files import save_sequence
from mrf_jax.signal.cramer_rao import cramer_rao_bounds
from mrf_jax.simulation.tissue import brain_at
from mrf_jax.stages.crossval import crossval
from mrf_jax.stages.design import mean_signal
from mrf_jax.workdir.workdir import SCHEDULE, Workdir

# Least standard deviation of T1 or T2, relative, from which on a sequence does
# not tell it.
_MOST_RELATIVE = 0.5
# Greatest deviation of B1 from one, which is that of a head at 7 T (estimated).
_MOST_B1_DEVIATION = 0.4
# Standard deviation of measured maps of B1 (estimated).
_B1_MAP_ERROR = 0.02
# Tissues that every head has much of.
_TISSUES = ("wm", "gm")


def train_files(flags: dict[str, Any]) -> pathlib.Path:
  """Simulates heads with a schedule and trains a network on their true maps.

  Heads, checkpoints and tables are in a folder next to the new bundle, whose
  name ends in `.training`; the same command goes on there.

  Returns:
    The folder of the new bundle.

  Raises:
    UserError: something is missing or not valid, the sequence does not tell T1
      or T2 at the noise level, or the folder was begun with other values.
  """
  check_inputs("train", flags)
  output = pathlib.Path(flags["output"])
  if output.exists():
    raise UserError(f"--output: {output} is there already")
  config = flags.get("config") or load_built_in("train")
  check_values(config)
  method = _network_of(config)
  config, acquisition, said = _with_schedule(config, flags)
  for sentence in said:
    print(f"- {sentence}")
  with tempfile.TemporaryDirectory() as folder:
    schedule = pathlib.Path(folder) / SCHEDULE
    save_sequence(acquisition.sequence, schedule)
    config.sequence.path = str(schedule)
    check_methods(with_files(config))
  check_tells(acquisition, config)
  root = unfinished_folder(output)
  config.sequence.path = str(_keep_schedule(root, acquisition))
  try:
    crossval(config, root)
  except UserError as error:
    # That of a workdir, which is none of this mode's flags.
    advice = f"remove {root}, or choose another --output"
    raise UserError(
      str(error).replace("choose another --workdir", advice)
    ) from error
  (fold,) = config.folds
  bundle = Workdir(root, config.to_dict()).model(method, fold)
  with replacing_folder(output) as folder:
    shutil.copytree(bundle, folder, dirs_exist_ok=True)
  print(f"Model        {output}")
  return output


def _network_of(config: ml_collections.ConfigDict) -> str:
  """The network that a configuration trains, once.

  Raises:
    UserError: it trains none or several, or more than one fold.
  """
  if config.data.get("files"):
    raise UserError(
      "--config.data.files: train simulates its scans; crossval learns from "
      "files"
    )
  networks = [method for method in config.methods if method in NETWORKS]
  if len(networks) != 1 or len(config.folds or ()) != 1:
    raise UserError(
      f"--config: {len(networks)} networks in methods and "
      f"folds={config.folds}; train makes one network, of one fold"
    )
  return networks[0]


def _with_schedule(
  config: ml_collections.ConfigDict, flags: dict[str, Any]
) -> tuple[ml_collections.ConfigDict, Acquisition, list[str]]:
  """The configuration with the flags on the scan, and what is assumed.

  Raises:
    UserError: a file or a value is not valid.
  """
  config = config.copy_and_resolve_references()
  scan = config.scan
  if flags.get("field_strength_t") is not None:
    _set_field(config, flags["field_strength_t"])
  said = []
  for name in ("window", "stride"):
    if flags.get(name) is None:
      said.append(f"--{name} is taken to be {scan[name]}")
    else:
      scan[name] = flags[name]
  # As many arms as frames of a window, so that these fill k-space.
  scan.spiral.n_arms = scan.window
  if flags.get("b1"):
    _set_b1(config, flags["b1"] == "map")
  if flags.get("noise_level") is not None:
    scan.noise_level = flags["noise_level"]
  options = ImportOptions.from_flags(
    {**flags, "window": scan.window, "stride": scan.stride}
  )
  for name in OF_RAW_DATA if not options.scan else ():
    if getattr(options, name) is not None:
      raise UserError(f"--{name} is for --scan, which is missing")
  acquisition, assumed = read_acquisition(options)
  field_t = field_strength_of(config.data)
  if options.scan:
    images = open_images(options, acquisition, assumed)
    scan.noise_level = _measured_noise(images, acquisition, assumed)
  if scan.get("b1_map_error") is not None:
    said.append(f"measured maps of B1 err by {scan.b1_map_error:g}")
  said += [*assumed, f"noise level {scan.noise_level:g}, {field_t:g} T"]
  # As it is kept: in ms and degrees, with all times.
  config.sequence.update(
    tr_path=None,
    time_unit="ms",
    angle_unit="deg",
    n_frames=acquisition.sequence.n_frames,
  )
  # A short schedule has fewer images than components are asked for.
  for section in (config.dictionary_fit, config.spatiotemporal_plus.training):
    section.rank = min(section.rank, acquisition.n_windows)
  return config, acquisition, said


def _set_field(config: ml_collections.ConfigDict, field_t: float) -> None:
  """Sets the field strength, and all that is proportional to it.

  Raises:
    UserError: there are no tissue values of this field.
  """
  try:
    before_t = field_strength_of(config.data)
    here, before = brain_at(field_t), brain_at(before_t)
  except UserError as error:
    raise UserError(f"--field_strength_t: {error}") from error
  data, share = config.data, field_t / before_t
  # Files may have whole numbers, and older ones no field.
  with data.unlocked(), data.ignore_type():
    data.field_strength_t = float(field_t)
    # Wavelengths are shorter, and offsets are parts of the field.
    data.b1_deviation = min(_MOST_B1_DEVIATION, share * data.b1_deviation)
    data.b0.shim_hz *= share
    data.b0.r2_prime_per_s *= share
  # Limits between tissues go with their T1; that of CSF hardly changes.
  white, grey = (here[k][0] / before[k][0] for k in _TISSUES)
  between = float(np.sqrt(white * grey))
  limits = config.evaluation
  for own in (
    limits.thresholds_ms,
    *limits.other_thresholds_ms.values(),
  ):
    own.wm = (own.wm[0] * white, own.wm[1] * between)
    own.gm = (own.gm[0] * between, _upper_limit(own, grey))


def _measured_noise(
  images: Images, acquisition: Acquisition, said: list[str]
) -> float:
  """Noise level of a scan; adds a sentence on it.

  Raises:
    UserError: its images are not those of the sequence, or none of its voxels
      is dark.
  """
  path = images.path
  acquisition.check_images(images.shape[3], f"{path}: {images.shape[3]} images")
  try:
    level, count = dark_noise_level(images.mean_magnitude())
  except UserError as error:
    raise UserError(
      f"{path}: {error}; --noise_level tells the noise without a scan"
    ) from error
  said.append(
    f"{path}: noise level at most {level:.3g}, by {count:,} dark voxels far "
    "from the object"
  )
  return level


def _set_b1(config: ml_collections.ConfigDict, is_seen: bool) -> None:
  """Sets whether the network sees a B1 map that is measured beside each scan.

  Raises:
    UserError: it is of a kind that cannot.
  """
  method = _network_of(config)
  if not hasattr(NETWORKS[method], "sees_b1"):
    if is_seen:
      raise UserError(
        f"--b1=map: {method} cannot see B1; spatiotemporal_plus can"
      )
    return
  network, scan = config[method].network, config.scan
  # Configurations of before have no such keys.
  with network.unlocked(), network.ignore_type():
    network.sees_b1 = is_seen
  if is_seen and scan.get("b1_map_error") is None:
    with scan.unlocked(), scan.ignore_type():
      scan.b1_map_error = _B1_MAP_ERROR


def _upper_limit(own: ml_collections.ConfigDict, grey: float) -> float:
  """Greatest T1 of grey matter, ms, which touches that of CSF where it did."""
  touches = own.gm[1] == own.csf[0]
  return own.csf[0] if touches else min(own.gm[1] * grey, own.csf[0])


def check_tells(
  acquisition: Acquisition, config: ml_collections.ConfigDict
) -> None:
  """Raises `UserError` if the Cramér–Rao bound of T1 or T2 is above 50 %."""
  noise = config.scan.noise_level
  if not noise > 0:
    return
  brain = brain_at(field_strength_of(config.data))
  noise_sd = noise * mean_signal(config, acquisition.sequence)
  for tissue in _TISSUES:
    t1_ms, t2_ms, pd = brain[tissue]
    bounds = cramer_rao_bounds(
      acquisition.sequence,
      [t1_ms],
      [t2_ms],
      pd=pd,
      noise_sd=noise_sd,
      window=acquisition.window,
      stride=acquisition.stride,
    )
    for name, bound, value in (
      ("T1", bounds.t1_ms[0], t1_ms),
      ("T2", bounds.t2_ms[0], t2_ms),
    ):
      if not bound <= _MOST_RELATIVE * value:
        share = f"{bound / value:.0%}" if np.isfinite(bound) else "any amount"
        raise UserError(
          f"--schedule: {acquisition.sequence.n_frames} frames do not tell "
          f"{name} of {tissue.upper()}: no unbiased estimate errs by less than "
          f"{share} (Cramér-Rao) at the noise level {noise:g}; use more frames "
          "or a lower --noise_level"
        )


def _keep_schedule(
  root: pathlib.Path, acquisition: Acquisition
) -> pathlib.Path:
  """Writes the schedule into the folder of the training.

  Raises:
    UserError: the folder was begun with another one, or cannot be written.
  """
  path = pathlib.Path(os.path.abspath(root)) / SCHEDULE
  with writing_to(root):
    root.mkdir(parents=True, exist_ok=True)
    new = path.with_name("schedule.new.txt")
    save_sequence(acquisition.sequence, new)
    is_other = path.exists() and path.read_bytes() != new.read_bytes()
    if is_other:
      new.unlink()
    else:
      new.replace(path)
  if is_other:
    raise UserError(
      f"{root}: was begun with another schedule; remove it, or choose another "
      "--output"
    )
  return path
