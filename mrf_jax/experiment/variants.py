"""Variants of a configuration, each of which changes some of its values.

The section `questions` of a configuration has an entry for each question:
`base`, changes that all its variants have, and `ways`, the variants' own
changes by the variant's name. Changes are written as on the command line
without `--config.`, such as `training.epochs=5 folds=(0,)`.

Results of a question are compared with those of its variant `same`. A question
without one names in `against` another question, whose `same` is used.

A question whose variants are other scans of the same heads, such as scans with
one cause of error less, may have `paired`, for tables of differences head by
head: the name of the variant that all others are compared with, or several such
names, each with the variants that are compared with it, in order:

  paired=dict(same=("no_noise", "none"), none=("noise_alone",))
"""

import ast
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import ml_collections

from mrf_jax.errors import UserError
from mrf_jax.networks import NETWORKS

SAME = "same"


@dataclasses.dataclass(frozen=True)
class Variant:
  """A changed configuration.

  Attributes:
    question: name of its question.
    name: its name, unique in its question.
    changes: the changes, as on the command line.
    config: the changed configuration.
  """

  question: str
  name: str
  changes: str
  config: ml_collections.ConfigDict


def variants(
  config: ml_collections.ConfigDict, only: Sequence[str] = ()
) -> Iterator[Variant]:
  """Yields the variants of the questions `only`; of all if it is empty.

  Raises:
    UserError: a question is unknown, or a change does not fit.
  """
  for name in only:
    if name not in config.questions:
      known = ", ".join(config.questions) or "none"
      raise UserError(f"questions: {name!r} is unknown; known are {known}")
  for question, content in config.questions.items():
    if only and question not in only:
      continue
    against = content.get("against", question)
    if against not in config.questions:
      raise UserError(
        f"questions: {question}: against {against!r}, which is unknown"
      )
    found = []
    for name, own in content.ways.items():
      changes = f"{content.base} {own}".strip()
      found.append(Variant(question, name, changes, changed(config, changes)))
    _check_pairs(question, content, found)
    yield from found


def comparisons(content: Mapping) -> dict[str, list[str]]:
  """Variants of a question, by the one that they are compared with in pairs.

  Args:
    content: entry of the question, of a configuration or of a stored one.

  Returns:
    Those that others are compared with, first those that are compared with
    none themselves; empty unless the question has `paired`.
  """
  paired = content.get("paired")
  if not paired:
    return {}
  if isinstance(paired, str):
    return {paired: [name for name in content["ways"] if name != paired]}
  groups = {name: list(others) for name, others in paired.items()}
  compared = {other for others in groups.values() for other in others}
  return {
    name: groups[name] for name in sorted(groups, key=compared.__contains__)
  }


def _check_pairs(
  question: str, content: Mapping, found: Sequence[Variant]
) -> None:
  """Raises `UserError` if variants that are compared in pairs are no pairs."""
  seeds = {variant.name: variant.config.seed for variant in found}
  for name, others in comparisons(content).items():
    for other in (name, *others):
      if other not in seeds:
        raise UserError(
          f"questions: {question}: paired {other!r}, which is not one of its "
          f"variants, {', '.join(seeds)}"
        )
      if seeds[other] != seeds[name]:
        raise UserError(
          f"questions: {question}: {other} has seed {seeds[other]}, {name} "
          f"{seeds[name]}; heads of two seeds are no pairs"
        )


def changed(
  config: ml_collections.ConfigDict, changes: str
) -> ml_collections.ConfigDict:
  """A copy of a configuration with some of its values changed.

  Args:
    config: the configuration; its questions are not copied.
    changes: `key=value`, separated by spaces, with values in Python's syntax.

  Raises:
    UserError: a key is unknown, or a value is not of its type.
  """
  copy = config.copy_and_resolve_references()
  with copy.unlocked():
    copy.questions = ml_collections.ConfigDict()
  for change in changes.split():
    key, equals, text = change.partition("=")
    *path, last = key.split(".")
    section = copy
    try:
      for part in path:
        section = section[part]
      if last not in section and not _is_training_of_network(
        path, last, config
      ):
        raise KeyError(key)
      with section.unlocked():
        section[last] = _value(text)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      why = "unknown" if not equals or isinstance(error, KeyError) else error
      raise UserError(f"questions: {change!r}: {why}") from error
  return copy


def _is_training_of_network(path, last, config) -> bool:
  """Whether a key sets an option of section `training` for one network."""
  return (
    len(path) == 2
    and path[0] in NETWORKS
    and path[1] == "training"
    and last in config.training
  )


def _value(text: str):
  """The value of a Python literal; any other text is a string."""
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError):
    return text
