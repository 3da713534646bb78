"""Differences between the configurations of two runs."""

import json
from collections.abc import Sequence

# Methods stand beside each other in a workdir, so their choice may change; the
# results of `design` and `benchmark` stand apart; and on another machine folds
# may be spread, and checkpoints written, in another way.
_FREE_KEYS = (
  "methods",
  "design",
  "benchmark",
  "questions",
  "data.keep_raw",
  "subjects_from",
  "models_from",
  "training.folds_at_once",
  "training.checkpoint_epochs",
  "training.checkpoint_minutes",
)
# Parts of a configuration that the subjects depend on.
OF_SUBJECTS = ("seed", "data", "sequence", "scan", "reference")


def config_differences(
  stored: dict,
  asked: dict,
  *,
  free: Sequence[str] = _FREE_KEYS,
  parts: Sequence[str] | None = None,
) -> list[str]:
  """What sets the results of two configurations apart, in words.

  Args:
    stored: the configuration of results that stand.
    asked: the one asked for now.
    free: keys, or beginnings of keys, that may differ.
    parts: keys of the highest level to look at; None is all.
  """
  # As JSON holds them: without tuples.
  stored, asked = (
    _flat(json.loads(json.dumps(_some(tree, parts))))
    for tree in (stored, asked)
  )
  missing = object()

  def is_free(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in free)

  return [
    f"{key}={stored.get(key)} (now {asked.get(key)})"
    for key in sorted({*stored, *asked})
    if stored.get(key, missing) != asked.get(key, missing) and not is_free(key)
  ]


def _some(tree: dict, parts: Sequence[str] | None) -> dict:
  if parts is None:
    return tree
  return {key: value for key, value in tree.items() if key in parts}


def _flat(tree: dict, prefix: str = "") -> dict:
  """Nested dictionaries as one of dotted keys."""
  flat: dict[str, object] = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat |= _flat(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = value
  return flat
