"""Modes of the command line: what each does, needs, and an example."""

import dataclasses
import difflib
import pathlib
import shlex
import sys
from collections.abc import Iterable, Sequence

_NETWORK = "--model=runs/demo/models/spatiotemporal_plus/fold-0"
# Columns of the terminal that text is made for.
WIDTH = 80
# Names that are this much alike are near; so many names are compared.
_NEAR = 0.5
_MOST_COMPARED = 1000


@dataclasses.dataclass(frozen=True)
class Mode:
  """A stage of the program.

  Attributes:
    summary: what it does, a sentence of one line.
    needs: flags without which it does nothing.
    example: flags of a command that runs as it stands, or once the files that
      it names exist.
  """

  summary: str
  needs: tuple[str, ...]
  example: tuple[str, ...]


_EXPERIMENT = ("config", "workdir")
_DEMO = ("--config=demo", "--workdir=runs/demo")

# Modes that run a configuration in its workdir.
EXPERIMENTS = {
  "crossval": Mode(
    "Leaves each subject out once, trains, and prints a table of errors.",
    _EXPERIMENT,
    _DEMO,
  ),
  "sweep": Mode(
    "Cross-validation of the variants of a configuration.",
    _EXPERIMENT,
    ("--config=study", "--workdir=runs/study", "--questions=noise"),
  ),
  "simulate": Mode(
    "Simulates the subjects of a configuration and their scans.",
    _EXPERIMENT,
    _DEMO,
  ),
  "design": Mode(
    "Cramér-Rao bounds: what a pulse sequence can tell at a noise level.",
    _EXPERIMENT,
    ("--config=demo", "--workdir=runs/design"),
  ),
  "benchmark": Mode(
    "Times every stage of every method on a simulated scan.",
    _EXPERIMENT,
    ("--config=demo", "--workdir=runs/timing"),
  ),
}
# Modes that read and write files, most of them without a configuration.
FILES = {
  "report": Mode(
    "Writes a page on the results of a workdir.",
    (),
    ("--workdir=runs/demo",),
  ),
  "verify": Mode(
    "Checks that the files of a workdir are as they were written.",
    ("workdir",),
    ("--workdir=runs/demo",),
  ),
  "import": Mode(
    "Makes a subject file of a scan of another format.",
    ("scan", "schedule", "output"),
    (
      "--scan=series.nii.gz",
      "--schedule=train.txt",
      "--field_strength_t=3",
      "--output=scan.h5",
    ),
  ),
  "reconstruct": Mode(
    "Makes T1, T2 and PD maps of a scan.",
    ("model", "scan", "output"),
    (
      _NETWORK,
      "--scan=runs/demo/data/subject-00.h5",
      "--output=runs/maps",
    ),
  ),
  "train": Mode(
    "Makes a network for a sequence, from its schedule alone.",
    ("schedule", "output"),
    ("--schedule=train.txt", "--output=models/mine"),
  ),
  "finetune": Mode(
    "Trains a network further on scans with reference maps.",
    ("model", "subjects", "output"),
    (
      _NETWORK,
      "--subjects=scan-1.h5,scan-2.h5",
      "--output=runs/finetuned",
    ),
  ),
  "export": Mode(
    "Writes a trained network as one file that runs with JAX alone.",
    ("model", "output"),
    (_NETWORK, "--output=runs/network.stablehlo"),
  ),
}
MODES = {**EXPERIMENTS, **FILES}


def is_script() -> bool:
  """Whether the program is `launch.py`, rather than the installed command."""
  return sys.argv[0].endswith(".py")


def program() -> str:
  """How this program is called: `mrf-jax` or `python launch.py`."""
  called = sys.argv[0]
  return f"python {called}" if is_script() else pathlib.Path(called).name


def command(mode: str, flags: Sequence[str]) -> str:
  """A command in lines of at most 80 columns, indented by two."""
  first = f"--mode={mode}" if is_script() else mode
  lines = [f"  {program()}"]
  # Two columns stay for the backslash.
  for word in (first, *map(shlex.quote, flags)):
    if len(f"{lines[-1]} {word}") > WIDTH - 2:
      lines[-1] += " \\"
      lines.append("   ")
    lines[-1] += f" {word}"
  return "\n".join(lines)


def this_command() -> str:
  """The command that runs, to be repeated."""
  return f"{program()} {shlex.join(sys.argv[1:])}"


def listed(names: Iterable[str], *, like: str, most: int = 4) -> str:
  """Some names in words, those that are most like another one first.

  Args:
    names: all that there are.
    like: the name that was asked for.
    most: names that are shown.
  """
  suffix = pathlib.Path(like).suffix

  def distance(name: str) -> tuple:
    alike = difflib.SequenceMatcher(None, like, name).ratio()
    is_near = alike >= _NEAR
    has_suffix = bool(suffix) and name.endswith(suffix)
    return -round(alike, 2) * is_near, not has_suffix, name

  known = sorted(names)
  # A folder may have a hundred thousand files.
  ordered = sorted(known[:_MOST_COMPARED], key=distance)
  shown = ", ".join(" ".join(name.split()) for name in ordered[:most])
  left = len(known) - most
  return f"{shown} and {left} more" if left > 0 else shown
