"""Checks of flags, files and folders that need neither JAX nor their content.

The command makes them before JAX starts, and each stage that is called from
Python once more.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mrf_jax.checks import check_one_of
from mrf_jax.command_line.configurations import built_in
from mrf_jax.command_line.modes import EXPERIMENTS, MODES, listed
from mrf_jax.errors import UserError
from mrf_jax.fit import MISFITS
from mrf_jax.importing.options import INPUTS, ImportOptions
from mrf_jax.inference.bundle_folder import check_bundle_folder
from mrf_jax.io.bids_folder import BidsFolder, check_dataset
from mrf_jax.matching import B1_CHOICES, DICTIONARIES, FIT

# Flags that name several files.
_LISTS = ("subjects", "compare")
# What the file of --output ends in.
_SUFFIXES = {"import": ".h5", "export": ".stablehlo"}
# Modes that write into the folder --output, or make it.
_FOLDERS = ("report", "reconstruct")


def check_inputs(mode: str, options: Mapping[str, Any]) -> None:
  """Checks what can be checked before JAX starts.

  Args:
    mode: name of the mode.
    options: values of all flags by name; None for one that is not given.

  Raises:
    UserError: a flag that the mode needs is missing, a value is not valid, or a
      file or folder that a flag or the configuration names is missing.
  """
  for name in MODES[mode].needs:
    value = options.get(name)
    if value is None or (isinstance(value, (str, list)) and not value):
      hint = f": {', '.join(built_in())}, or a file" if name == "config" else ""
      raise UserError(f"--{name} is missing{hint}")
  given = None
  if mode == "train":
    _check_training(options)
  if mode in ("import", "reconstruct"):
    given = ImportOptions.from_flags(options)
    check_one_of("--misfit", options.get("misfit") or "refuse", MISFITS)
  if mode == "report" and not options.get("workdir"):
    if not options.get("compare"):
      raise UserError(
        "--workdir is missing: a study's, or --compare: benchmark.json files"
      )
  if mode == "export":
    export_shape(options.get("export_shape"))
  for name in INPUTS:
    path = options.get(name)
    if path:
      _check_file(f"--{name}", path)
  for name in _LISTS:
    for path in options.get(name) or ():
      _check_file(f"--{name}", path)
  if options.get("model"):
    _check_model(mode, options)
  workdir, output = options.get("workdir"), options.get("output")
  if mode in EXPERIMENTS:
    _check_configuration(mode, options["config"], workdir)
    _check_writable("--workdir", options["workdir"])
  elif workdir and not options.get("compare"):
    _check_folder("--workdir", workdir)
  if output:
    _check_output(mode, pathlib.Path(output))
    if mode == "import" and given is not None:
      given.check_output(pathlib.Path(output))
  if options.get("bids") and given is not None:
    _check_bids(options["bids"], pathlib.Path(options["output"]), given)


def _check_training(options: Mapping[str, Any]) -> None:
  """Raises `UserError` for a wrong noise level or flag of the schedule."""
  noise = options.get("noise_level")
  if noise is not None and not 0 <= noise < 10:
    raise UserError(
      f"--noise_level: {noise:g} is no noise relative to the mean signal, from "
      "0 to 10"
    )
  if noise is not None and options.get("scan"):
    raise UserError(
      "--scan tells the noise of train, and so does --noise_level: give one"
    )
  check_one_of("--b1", options.get("b1") or "none", ("none", "map"))
  ImportOptions.from_flags(options)


def single_model(options: Mapping[str, Any]) -> str:
  """The bundle of --model; raises `UserError` unless there is exactly one."""
  bundle, *others = options["model"]
  if others:
    raise UserError(
      f"--model: {1 + len(others)} bundles; only reconstruct accepts several"
    )
  return bundle


def is_dictionary(names: Sequence[str]) -> bool:
  """Whether --model names a dictionary, and not a folder of that name."""
  return (
    len(names) == 1
    and names[0] in DICTIONARIES
    and not os.path.exists(names[0])
  )


def unfinished_folder(output: pathlib.Path) -> pathlib.Path:
  """Folder of checkpoints next to a new bundle, until the bundle exists."""
  return output.with_name(f"{output.name}.training")


def export_shape(text: str | None) -> tuple[int, int, int] | None:
  """Slices, voxels along y and along x of --export_shape, or None."""
  if text is None:
    return None
  try:
    slices, height, width = (int(word) for word in text.split(","))
  except ValueError:
    slices = height = width = 0
  if min(slices, height, width) < 1:
    raise UserError(
      f"--export_shape: {text!r} is not three numbers of voxels, of slices, "
      "along y and along x, such as 6,96,96"
    )
  return slices, height, width


def _check_model(mode: str, options: Mapping[str, Any]) -> None:
  """Raises `UserError` unless --model names bundles, or a dictionary."""
  names, uncertainty = options["model"], options.get("uncertainty")
  if mode != "reconstruct":
    check_bundle_folder(single_model(options))
    return
  is_fit = is_dictionary(names) and names[0] == FIT
  if options.get("b1") and not is_fit:
    raise UserError(
      f"--b1 is for --model={FIT}, not {names[0]}; a network takes that "
      "of --b1_map or of the subject file, if it sees B1"
    )
  if options.get("b1_map") and is_dictionary(names) and not is_fit:
    raise UserError(f"--b1_map is for {FIT} and networks, not {names[0]}")
  if options.get("b1"):
    check_one_of("--b1", options["b1"], B1_CHOICES)
    if options.get("b1_map") and options["b1"] != "map":
      raise UserError(f"--b1={options['b1']} does not use --b1_map")
  if not is_dictionary(names):
    for path in names:
      check_bundle_folder(path)
    return
  if uncertainty and not is_fit:
    raise UserError(
      f"--uncertainty: {names[0]} has no standard deviations; --model={FIT} has"
    )
  for name in ("passes", "passes_seed"):
    if options.get(name) is not None:
      raise UserError(f"--{name} is for networks, not {names[0]}")
  if options.get("config") is None:
    raise UserError(
      "--config is missing: its section dictionary has the T1 and T2 of the "
      "atoms, such as --config=paper"
    )


def _check_configuration(mode: str, config: Any, workdir: Any) -> None:
  """Raises `UserError` if a file or folder of a configuration is missing."""
  if mode in ("crossval", "sweep"):
    files = _value(config, "data", "files")
    if isinstance(files, (tuple, list)) and files:
      for path in files:
        _check_file("--config.data.files", path)
      # These files bring their own sequence.
      return
  folders = _value(config, "data", "maps")
  # A workdir that is there may have the heads, which need no maps then.
  if isinstance(folders, (tuple, list)) and not os.path.exists(workdir):
    for path in folders:
      _check_folder("--config.data.maps", path)
  for name in ("path", "tr_path"):
    path = _value(config, "sequence", name)
    if isinstance(path, str):
      _check_file(f"--config.sequence.{name}", path)


def _value(config: Any, section: str, name: str) -> Any:
  """A value of a configuration that may not have it, or be none at all."""
  try:
    return config[section][name]
  except (AttributeError, KeyError, TypeError):
    return None


def _check_file(name: str, path: str | os.PathLike) -> None:
  """Raises `UserError` unless a file exists; names those that do."""
  if os.path.isdir(path):
    raise UserError(f"{name}: {path} is a folder, not a file")
  if not os.path.exists(path):
    raise UserError(f"{name}: {path}: there is no such file{_others(path)}")


def _check_folder(name: str, path: str | os.PathLike) -> None:
  """Raises `UserError` unless a folder exists; names those that do."""
  if os.path.isdir(path):
    return
  if os.path.exists(path):
    raise UserError(f"{name}: {path} is a file, not a folder")
  raise UserError(f"{name}: {path}: there is no such folder{_others(path)}")


def _others(path: str | os.PathLike) -> str:
  """What is where a missing file or folder was looked for."""
  folder, name = os.path.split(os.path.abspath(path))
  shown = os.path.dirname(path) or "this folder"
  try:
    names = [n for n in os.listdir(folder) if not n.startswith(".")]
  except (OSError, ValueError):
    return f"; there is no folder {shown}"
  if not names:
    return f"; {shown} is empty"
  return f"; {shown} has {listed(names, like=name)}"


def _check_output(mode: str, output: pathlib.Path) -> None:
  """Raises `UserError` if a mode cannot write its output there."""
  suffix = _SUFFIXES.get(mode)
  if suffix is not None and output.suffix != suffix:
    raise UserError(f"--output: {output} does not end in {suffix}")
  if suffix is not None and not os.path.isdir(output.parent):
    raise UserError(
      f"--output: {output}: cannot be written (there is no folder "
      f"{output.parent})"
    )
  if mode in _FOLDERS and os.path.exists(output) and not os.path.isdir(output):
    raise UserError(f"--output: {output} is not a folder")
  if mode == "train" and os.path.exists(output):
    raise UserError(f"--output: {output} is there already")
  if mode == "finetune" and os.path.exists(output):
    # With checkpoints next to it, it may be of a run that was killed.
    if not (output.name and os.path.exists(unfinished_folder(output))):
      raise UserError(f"--output: {output} is there already")
  _check_writable("--output", output if mode in _FOLDERS else output.parent)


def _check_bids(
  path: str | os.PathLike, output: pathlib.Path, given: ImportOptions
) -> None:
  """Raises `UserError` unless maps may be written to the folder of --bids."""
  try:
    folder = BidsFolder.from_path(path)
    check_dataset(folder)
  except UserError as error:
    raise UserError(f"--bids: {error}") from error
  # Files of other names than those of the specification make it invalid.
  if output.resolve().is_relative_to(folder.dataset.resolve()):
    raise UserError(
      f"--output: {output} is inside the data set of --bids, {folder.dataset}, "
      "which may have files of BIDS only; choose another folder"
    )
  for file in folder.files():
    given.check_output(file, flag="bids")
  _check_writable("--bids", folder.anat)


def _check_writable(name: str, folder: str | os.PathLike) -> None:
  """Raises `UserError` if a folder cannot be written or made."""
  nearest = pathlib.Path(os.path.abspath(folder))
  while not os.path.exists(nearest) and nearest != nearest.parent:
    nearest = nearest.parent
  reason = None
  if not os.path.isdir(nearest):
    reason = f"{nearest} is not a folder"
  elif not os.access(nearest, os.W_OK | os.X_OK):
    reason = f"{nearest}: permission denied"
  if reason is not None:
    raise UserError(f"{name}: {folder}: cannot be written ({reason})")
