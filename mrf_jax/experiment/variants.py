"""One question at a time: an experiment's configuration, changed in some ways.

A configuration's section `questions` holds, by the question's name, `base`,
changes that all its answers share, and `ways`, changes by name, each written as
on the command line without `--config.`, such as `training.epochs=5 folds=(0,)`.
A way named `same` changes nothing that matters: others are held against it. A
question without may name another that has one, `against`.
"""

import ast
import dataclasses
from collections.abc import Iterator, Sequence

import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.networks import NETWORKS

SAME = "same"


@dataclasses.dataclass(frozen=True)
class Variant:
  """One answer that is tried.

  Attributes:
    question: name of the question.
    name: name of the way, unique in its question.
    changes: what it changes, as on the command line.
    config: the changed configuration.
  """

  question: str
  name: str
  changes: str
  config: ml_collections.ConfigDict


def variants(
  config: ml_collections.ConfigDict, only: Sequence[str] = ()
) -> Iterator[Variant]:
  """The ways of all questions, or of some.

  Args:
    config: an experiment's configuration.
    only: names of questions; none is all.

  Raises:
    UserError: a question is unknown, or a change does not fit.
  """
  for name in only:
    if name not in config.questions:
      known = ", ".join(config.questions) or "none"
      raise UserError(f"questions: {name!r} is unknown; there are {known}")
  for question, content in config.questions.items():
    if only and question not in only:
      continue
    against = content.get("against", question)
    if against not in config.questions:
      raise UserError(f"questions: {question}: against {against!r}, unknown")
    for name, own in content.ways.items():
      changes = f"{content.base} {own}".strip()
      yield Variant(question, name, changes, changed(config, changes))


def changed(
  config: ml_collections.ConfigDict, changes: str
) -> ml_collections.ConfigDict:
  """A copy of a configuration with some of its values changed.

  Args:
    config: the configuration; its questions are not copied.
    changes: `key=value` one after another, values as Python writes them.

  Raises:
    UserError: a key is unknown, or a value is not of its type.
  """
  copy = config.copy_and_resolve_references()
  with copy.unlocked():
    copy.questions = ml_collections.ConfigDict()
  for change in changes.split():
    key, equals, text = change.partition("=")
    *path, last = key.split(".")
    place = copy
    try:
      for part in path:
        place = place[part]
      if last not in place and not _is_own(path, last, config):
        raise KeyError(key)
      with place.unlocked():
        place[last] = _value(text)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      why = "unknown" if not equals or isinstance(error, KeyError) else error
      raise UserError(f"questions: {change!r}: {why}") from error
  return copy


def _is_own(path, last, config) -> bool:
  """Whether a key of all networks' training is set for one network."""
  return (
    len(path) == 2
    and path[0] in NETWORKS
    and path[1] == "training"
    and last in config.training
  )


def _value(text: str):
  """A Python value; what is none is a string."""
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError):
    return text
