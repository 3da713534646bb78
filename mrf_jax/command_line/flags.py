"""Flags of the command line, and checks that they fit its mode.

They stand in a table of their own (`flag_table.py`): to give one with a mode
that does not use it is an error, and `MODE --help` shows those that do.
"""

import os
import re
import sys
from typing import Any, NoReturn

from absl import flags, logging
from ml_collections.config_flags import config_flags

import mrf_jax
from mrf_jax.command_line import configurations
from mrf_jax.command_line.flag_table import (
  EXCLUDES,
  IN_MODE,
  NEEDS,
  SCAN_MODES,
  SCHEDULE_MODES,
  TABLE,
)
from mrf_jax.command_line.help import help_text, mode_help, start_text
from mrf_jax.command_line.inputs import check_inputs
from mrf_jax.command_line.modes import EXPERIMENTS, MODES, program
from mrf_jax.errors import UserError, one_line
from mrf_jax.io.untrusted import end_this_program
from mrf_jax.runtime.cluster import in_cluster
from mrf_jax.workdir.lock import check_unlocked

_HELP = ("--help", "-help", "-h", "--helpshort")
_VERSION = ("--version", "-version")

flags.DEFINE_enum("mode", "crossval", tuple(MODES), "Stage to run.")
_MODES_OF = {name: modes for modes, _, texts in TABLE for name in texts}
for _modes, _define, _texts in TABLE:
  for _name, _text in _texts.items():
    _define(_name, None, _text)


class _ConfigurationParser(config_flags.ConfigFileFlagParser):
  """Reads a configuration file, or a built-in configuration by its name."""

  def parse(self, path):
    """The configuration; `UserError` if there is none."""
    with configurations.opened(path) as file:
      config = super().parse(file)
    if config is None:
      raise UserError(f"--config: {path}: its get_config returns nothing")
    return config


flags.FLAGS["config"].parser = _ConfigurationParser("config")


def parse(argv: list[str]) -> list[str]:
  """Parses the flags; one that is not valid ends the program with one line.

  The first argument after the program's name may be a mode. Without arguments,
  and for --help and --version, it prints text and ends the program.

  Returns:
    The program's name, and arguments that are no flags.
  """
  # Only a program of ours has flags.
  end_this_program()
  # Errors of a configuration are printed below, so that no log is needed.
  logging.set_verbosity(logging.FATAL)
  if len(argv) == 1:
    _show(start_text())
    sys.exit(1)
  try:
    argv = _with_mode(argv)
    _print_help(argv)
    return flags.FLAGS(argv)
  except UserError as error:
    _fail(str(error))
  except (AttributeError, KeyError) as error:
    # ml_collections puts quotation marks within quotation marks.
    name = re.sub(r"[\"'\\]", "", str(error.args[0]).replace("\\n", " "))
    name = " ".join(name.split()).replace(" Did you mean", "; did you mean")
    _fail(f"--config has no value {name}")
  except (flags.Error, TypeError, ValueError) as error:
    _fail(" ".join(str(error).split()))
  except OSError as error:
    _fail(f"{error.filename}: {error.strerror}")
  except Exception as error:
    # A configuration file is a program and may raise anything.
    _fail(f"--config: {type(error).__name__}: {one_line(error)}")


def _with_mode(argv: list[str]) -> list[str]:
  """The arguments, with a mode that stands first as --mode."""
  mode = argv[1]
  if mode.startswith("-"):
    return argv
  if mode not in MODES:
    hint = ""
    if mode in configurations.built_in():
      hint = f"; --config={mode} is a configuration"
    raise UserError(f"unknown mode {mode!r}: {', '.join(MODES)}{hint}")
  if _mode_flags(argv):
    raise UserError(f"two modes: {mode} and --mode")
  return [argv[0], f"--mode={mode}", *argv[2:]]


def _mode_flags(argv: list[str]) -> list[str]:
  """Values of --mode among the arguments."""
  found = []
  for word, following in zip(argv, [*argv[1:], ""], strict=True):
    match = re.fullmatch(r"--?mode(?:=(.*))?", word, re.DOTALL)
    if match:
      found.append(following if match[1] is None else match[1])
  return found


def _print_help(argv: list[str]) -> None:
  """Prints help or version, and ends the program, if a flag asks for it."""
  if any(word in _VERSION for word in argv):
    _show(f"mrf_jax {mrf_jax.__version__}")
    sys.exit()
  if not any(word in _HELP for word in argv):
    return
  modes = _mode_flags(argv)
  if not modes:
    _show(help_text())
  elif modes[-1] not in MODES:
    raise UserError(f"unknown mode {modes[-1]!r}: {', '.join(MODES)}")
  else:
    _show(mode_help(modes[-1], _flags_of(modes[-1])))
  sys.exit()


def _show(text: str) -> None:
  """Prints text, as far as it is read: `--help | head` is no error."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    # Python would flush what is left once more, at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flags_of(mode: str) -> tuple[dict[str, str], ...]:
  """Flags of a mode and their meaning: needed, optional, and of a scan."""
  optional: dict[str, str] = {}
  of_scan: dict[str, str] = {}
  for modes, _, texts in TABLE:
    if mode in modes:
      is_of_scan = modes in (SCAN_MODES, SCHEDULE_MODES)
      (of_scan if is_of_scan else optional).update(texts)
  for texts in (optional, of_scan):
    own = IN_MODE.get(mode, {})
    texts.update({name: own[name] for name in own if name in texts})
  every = {**optional, **of_scan}
  needed = {name: every[name] for name in MODES[mode].needs}
  for name in needed:
    optional.pop(name, None)
    of_scan.pop(name, None)
  return needed, optional, of_scan


def check(argv: list[str]) -> None:
  """Ends the program with one line if the flags do not fit the mode.

  JAX has not started yet, which takes seconds.
  """
  if len(argv) > 1:
    hint = ""
    if argv[1] in MODES:
      hint = f"; the mode comes first: {program()} {argv[1]} …"
    _fail(f"unknown argument {argv[1]!r}{hint}")
  values = flags.FLAGS
  given = [name for name in _MODES_OF if values[name].present]
  for name in given:
    if values.mode not in _MODES_OF[name]:
      modes = "|".join(_MODES_OF[name])
      _fail(f"--{name} is for --mode={modes}, not {values.mode}")
  for name in given:
    if name in NEEDS and not values[NEEDS[name]].value:
      _fail(f"--{name} is for --{NEEDS[name]}, which is missing")
    if name in EXCLUDES and values[EXCLUDES[name]].value:
      _fail(f"--{name} is not for --{EXCLUDES[name]}")
  try:
    check_inputs(values.mode, values.flag_values_dict())
    # `Workdir` locks the folder later. Processes of one run share its workdir
    # and lock.
    if (
      values.mode in EXPERIMENTS
      and values.coordinator is None
      and not in_cluster()
    ):
      check_unlocked(values.workdir)
  except UserError as error:
    _fail(str(error))


def process_options() -> dict[str, Any]:
  """Arguments of `runtime.processes.start`."""
  values = flags.FLAGS
  timeout_s = values.coordinator_timeout_s
  return {
    "coordinator": values.coordinator,
    "num_processes": values.num_processes,
    "process_id": values.process_id,
    "timeout_s": 300 if timeout_s is None else timeout_s,
    "say_error": print_error,
  }


def print_error(message: str) -> None:
  """Prints one line on an error to the standard error stream."""
  print(f"error: {message}", file=sys.stderr, flush=True)


def _fail(message: str) -> NoReturn:
  print_error(message)
  sys.exit(1)
