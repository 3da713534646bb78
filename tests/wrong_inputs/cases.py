"""Inputs that are easily taken wrongly, and what the program makes of them.

Each module beside this one has the cases of one way in as `CASES`. All are
tests (`test_cases.py`) and rows of `docs/wrong_inputs.md`.
"""

import dataclasses
import importlib
import pathlib
from collections.abc import Callable

from mrf_jax.errors import UserError

# Modules with cases, in the order of the document, and their headings.
MODULES = {
  "schedules": "Schedules",
  "pulseq": "Pulseq files and exported models",
  "series": "Image series, masks and maps",
  "head_maps": "Heads of one's own maps",
  "raw": "Raw data",
  "relaxometry": "Relaxometry from Python",
  "signals": "Signals that do not fit their sequence",
  "files": "Files, models and workdirs",
}
# A case writes its results below this name.
OUTPUT = "output"


@dataclasses.dataclass(frozen=True)
class Seen:
  """What the program made of an input that it accepted.

  Attributes:
    result: the values that matter, in words and with units.
    right: whether they are right.
    said: sentences that the program printed or returned about the input.
  """

  result: str
  right: bool
  said: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Case:
  """One input.

  Attributes:
    input: the input in words.
    expected: `right`, `refused` or `named` (accepted, with a sentence).
    words: part of the error or of the sentence; for `right`, may be empty.
    run: makes the input in an empty folder, gives it to the program, and
      returns what was seen; a refusal is a `UserError`. Outputs go to files or
      a folder whose names begin with `OUTPUT`.
  """

  input: str
  expected: str
  words: str
  run: Callable[[pathlib.Path], Seen]


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What was seen of a case: a text, and its verdict in one word."""

  seen: str
  verdict: str


def outcome(case: Case, folder: pathlib.Path) -> Outcome:
  """Runs a case in an empty folder.

  The verdict is `right`, `refused`, `named`, or what is wrong: `silent` for
  wrong values without a word, `unclear` for an error or a sentence that does
  not have the words, `left files` for a refusal that has written something.
  """
  try:
    seen = case.run(folder)
  except UserError as error:
    text = str(error).replace(f"{folder}/", "")
    if "\n" in text or case.words not in text:
      return Outcome(text, "unclear")
    if list(folder.glob(f"{OUTPUT}*")):
      return Outcome(text, "left files")
    return Outcome(text, "refused")
  sentences = [text.replace(f"{folder}/", "") for text in seen.said]
  named = [text for text in sentences if case.words and case.words in text]
  text = "; ".join([seen.result, *named])
  if named:
    return Outcome(text, "named")
  if not seen.right:
    return Outcome(text, "silent")
  return Outcome(text, "unclear" if case.words else "right")


def all_cases() -> dict[str, list[Case]]:
  """The cases of all modules, by the module's name."""
  return {
    name: importlib.import_module(f"tests.wrong_inputs.{name}").CASES
    for name in MODULES
  }
