"""Differences between the configurations of two runs."""

import json
from collections.abc import Sequence

# Keys that may change while results stay valid: each method has results of its
# own, and so have `design` and `benchmark`; the others say where something is
# read from, what else is kept, or how training is spread over a machine.
FREE_KEYS = (
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
# Sections that came later: where a stored configuration lacks one, there are no
# results that could differ by its options, but by those in `_BEFORE`.
_LATER = ("dictionary_fit", "generated_heads")
# Options that came later, and what was done before.
_BEFORE = {
  "preprocessing.bound_estimates": False,
  "preprocessing.normalise_signals_by": "scan",
  "generated_heads.count": 0,
  "spatiotemporal_plus.network.match_step_percent": 0.0,
  "spatiotemporal_plus.network.match_t1_ms": [100.0, 5400.0],
  "spatiotemporal_plus.network.match_t2_ms": [10.0, 2460.0],
  "spatiotemporal_plus.training.generated_heads": True,
  "training.altered_masks": 0.0,
  "spatiotemporal_plus.training.altered_masks": 0.0,
  "training.generated_heads": False,
  "training.pd_unit": "references",
  "spatiotemporal_plus.training.pd_unit": "references",
  "data.acquired_maps": True,
  "data.field_strength_t": 1.5,
  "scan.b1_map_error": None,
  "spatiotemporal_plus.network.sees_b1": False,
}
# Files of the subjects, or of the maps that heads are made from: only their
# content counts, where that is known.
OF_FILES = ("data.files", "data.maps")
# Parts of a configuration that the subjects depend on.
OF_SUBJECTS = ("seed", "data", "sequence", "scan", "reference")


def config_differences(
  stored: dict,
  asked: dict,
  *,
  free: Sequence[str] = FREE_KEYS,
  parts: Sequence[str] | None = None,
) -> list[str]:
  """Values in which two configurations differ.

  Empty dictionaries do not count, nor does the section of a method that the
  stored configuration is older than. An option that it is older than counts as
  what was done before.

  Args:
    stored: the configuration of existing results.
    asked: the configuration of this run.
    free: keys that may differ, alone or with all keys below them.
    parts: keys of the highest level to compare; None compares all.

  Returns:
    `key.of.value=STORED (now ASKED)`, in the order of the keys; None stands
    for a value that one of them lacks.
  """
  flat_stored, flat_asked = _flat(stored, parts), _flat(asked, parts)
  for key, value in _BEFORE.items():
    if key in flat_asked:
      flat_stored.setdefault(key, value)
  missing = object()
  later = [name for name in _LATER if name not in stored]

  def is_free(key: str) -> bool:
    names = free if key in _BEFORE else (*free, *later)
    return any(key == name or key.startswith(name + ".") for name in names)

  return [
    f"{key}={flat_stored.get(key)} (now {flat_asked.get(key)})"
    for key in sorted({*flat_stored, *flat_asked})
    if flat_stored.get(key, missing) != flat_asked.get(key, missing)
    and not is_free(key)
  ]


def _flat(config: dict, parts: Sequence[str] | None) -> dict:
  """Values by their dotted keys, as JSON stores them."""
  from flax.traverse_util import flatten_dict

  if parts is not None:
    config = {key: value for key, value in config.items() if key in parts}
  # As in a stored configuration: JSON has no tuples, and all its keys are text.
  return flatten_dict(json.loads(json.dumps(config)), sep=".")
