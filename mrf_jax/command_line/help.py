"""Help of the command line: of the program, and of each mode."""

import textwrap
from collections.abc import Iterable, Mapping

import mrf_jax
from mrf_jax.command_line import configurations
from mrf_jax.command_line.modes import (
  EXPERIMENTS,
  MODES,
  WIDTH,
  command,
  is_script,
  program,
)

_TITLE = f"mrf_jax {mrf_jax.__version__}: MR fingerprinting reconstruction"


def start_text() -> str:
  """The two commands that start everything."""
  crossval, reconstruct = MODES["crossval"], MODES["reconstruct"]
  return f"""{_TITLE}

Simulates six heads, trains the networks and prints their errors (minutes):
{command("crossval", crossval.example)}

Makes the maps of a scan with such a network (seconds):
{command("reconstruct", reconstruct.example)}

{program()} --help shows all modes."""


def help_text() -> str:
  """Help of the program: its modes and built-in configurations."""
  first = "--mode=MODE" if is_script() else "MODE"
  modes = {name: mode.summary for name, mode in MODES.items()}
  return f"""{_TITLE}

  {program()} {first} [--FLAG=VALUE …]

Modes (crossval, if none is named):
{_columns(modes)}

Configurations, by --config=NAME; a file of your own is --config=FILE:
{_columns(configurations.built_in())}

--config.KEY=VALUE changes a value of a configuration.
{program()} {first} --help shows the flags of a mode and an example.
--version prints the version."""


def mode_help(mode: str, groups: Iterable[Mapping[str, str]]) -> str:
  """Help of a mode.

  Args:
    mode: its name.
    groups: flags to their meaning, in groups; those of the first are needed.
  """
  needed, *others = groups
  parts = [
    f"{mode}: {MODES[mode].summary}",
    f"Example:\n{command(mode, MODES[mode].example)}",
  ]
  if needed:
    parts.append(f"Needed:\n{_flags(needed)}")
  of_scan = "Of the scan" + (
    ", if it is no subject file" if mode == "reconstruct" else ""
  )
  titles = ("Optional:", f"{of_scan}:")
  for title, group in zip(titles, others, strict=True):
    if group:
      parts.append(f"{title}\n{_flags(group)}")
  if mode in EXPERIMENTS:
    names = _columns(configurations.built_in())
    parts.append(f"Configurations, by --config=NAME:\n{names}")
  return "\n\n".join(parts)


def _flags(texts: Mapping[str, str]) -> str:
  return _columns({f"--{name}": text for name, text in texts.items()})


def _columns(texts: Mapping[str, str]) -> str:
  """Names on the left, their texts on the right, within 80 columns."""
  indent = 4 + max(map(len, texts))
  return "\n".join(
    textwrap.fill(
      f"{name:<{indent - 4}}  {text}",
      WIDTH,
      initial_indent="  ",
      subsequent_indent=" " * indent,
      break_on_hyphens=False,
      break_long_words=False,
    )
    for name, text in texts.items()
  )
