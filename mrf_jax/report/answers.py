"""Results of a sweep in Markdown, one section for each question."""

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mrf_jax.evaluation.markdown import (
  ABSENT,
  DECIMALS,
  HEADINGS,
  mae_rmse,
  markdown_table,
  picture,
  tissue_heading,
)
from mrf_jax.evaluation.spread import STANDARD_DEVIATION, spread
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.experiment.variants import SAME, comparisons
from mrf_jax.maps import MAP_NAMES
from mrf_jax.report.paired import format_paired

# Questions whose variants are numbers, and the label of that number: their
# errors are drawn as curves.
CURVES = {"noise": "noise level", "steps": "training steps"}
_RMSE = 1


def _base(changes: str) -> str:
  """Sentences on what all variants of a question have in common."""
  if not changes:
    return ""
  return f"All variants use `{changes}`. {_heads(changes)}"


def answers(record: dict, notes: Mapping[str, str]) -> list[str]:
  """Sections of the questions in a record, with notes by hand, in Markdown."""
  parts = []
  questions = record["config"]["questions"]
  files = record["config"]["data"].get("files")
  simulated = "" if files else "simulated "
  for question in sorted(questions, key=lambda q: _position(q, questions[q])):
    content = questions[question]
    variants = [w for w in record["ways"] if w["question"] == question]
    if not variants:
      continue
    if comparisons(content):
      parts += [
        f"## Question: {question}",
        f"{_base(content['base'])}Errors against the {simulated}acquired maps "
        "of each variant.",
        format_paired(question, content, variants),
        notes.get(question, ""),
      ]
      continue
    variants = _with_baseline(variants, content.get("against"), record["ways"])
    parts += [
      f"## Question: {question}",
      f"{_base(content['base'])}MAE / "
      f"RMSE against the {simulated}acquired maps, times in ms, PD in a.u.",
      _error_table(variants),
    ]
    if any(v["name"] == SAME for v in variants) and len(variants) > 1:
      parts += [f"RMSE relative to *{SAME}*:", _relative_table(variants)]
    if question == "seeds":
      parts.append(f"Mean ± {STANDARD_DEVIATION} of the RMSE over seeds:")
      parts.append(_seed_table(variants))
    if question in CURVES:
      parts.append(
        picture(
          f"results/{question}.png",
          alt=f"Curves of the MAE over the {CURVES[question]}, a line for each "
          "method: columns are white matter, grey matter and CSF, rows PD, T1 "
          "and T2",
          caption=f"MAE over the {CURVES[question]}, logarithmic axes.",
        )
      )
    parts.append(notes.get(question, ""))
  return parts


def _position(question: str, content: Mapping) -> tuple[str, bool, str]:
  """Sort key that puts a question after the one it is compared with."""
  against = content.get("against")
  return against or question, bool(against), question


def _with_baseline(
  variants: Sequence[dict], against: str | None, all_variants: Sequence[dict]
) -> list[dict]:
  """Puts the variant `same` of another question first, of the same methods."""
  methods = {method for variant in variants for method, _ in _methods(variant)}
  baseline = [
    {**variant, "errors": {m: e for m, e in _methods(variant) if m in methods}}
    for variant in all_variants
    if (variant["question"], variant["name"]) == (against, SAME)
  ]
  return [*baseline, *variants]


def _heads(base: str) -> str:
  """Sentence for a question that does not use the study's own heads."""
  seed = re.search(r"(?:^|\s)seed=(\d+)", base)
  if not seed:
    return ""
  return f"**Development heads (seed {seed[1]}), not the study's.** "


def _error_table(variants: Sequence[dict]) -> str:
  """MAE and RMSE, one line for each method of each variant."""
  lines = []
  for variant in variants:
    for method, errors in _methods(variant):
      steps = variant["steps"].get(method)
      seconds = variant["times"].get(method, {}).get("train")
      cells = [
        variant["name"],
        method,
        ABSENT if steps is None else f"{steps:,}",
        ABSENT if seconds is None else f"{seconds / variant['n_folds']:,.0f}",
      ]
      lines.append((cells, [errors]))

  def text(name, pairs):
    return mae_rmse(pairs[0], name) if pairs else ABSENT

  head = ["variant", "method", "steps", "training per fold (s)"]
  return _table(head, lines, text, variants)


def _relative_table(variants: Sequence[dict]) -> str:
  """RMSE of each variant divided by that of the variant `same`."""
  (same,) = (
    dict(_methods(variant)) for variant in variants if variant["name"] == SAME
  )
  lines = [
    ([variant["name"], method], [errors, same[method]])
    for variant in variants
    for method, errors in _methods(variant)
    if variant["name"] != SAME and method in same
  ]

  def text(name, pairs):
    del name
    if len(pairs) < 2:
      return ABSENT
    changed, unchanged = pairs
    return f"{changed[_RMSE] / unchanged[_RMSE]:.2f}"

  return _table(["variant", "method"], lines, text, variants)


def _seed_table(variants: Sequence[dict]) -> str:
  """Mean and spread of each method's RMSE over variants that differ by seed."""
  by_method: dict[str, list[dict]] = {}
  for variant in variants:
    for method, errors in _methods(variant):
      by_method.setdefault(method, []).append(errors)
  lines = [([m, str(len(variants))], errors) for m, errors in by_method.items()]

  def text(name, pairs):
    if len(pairs) < 2:
      return ABSENT
    values, digits = [pair[_RMSE] for pair in pairs], DECIMALS[name]
    return f"{np.mean(values):.{digits}f} ± {spread(values):.{digits}f}"

  return _table(["method", "seeds"], lines, text, variants)


def _table(
  head: list[str],
  lines: Sequence[tuple[list[str], list[dict]]],
  text: Callable[[str, list], str],
  variants: Sequence[dict],
) -> str:
  """Table with a column for each map in each tissue that a variant has."""
  present = {
    tissue
    for variant in variants
    for _, errors in _methods(variant)
    for tissue in errors
  }
  tissues = [tissue for tissue in TISSUES if tissue in present]
  columns = list(itertools.product(tissues, MAP_NAMES))
  body = []
  # First cells of each line, and the errors of one or several methods.
  for cells, several in lines:
    for tissue, name in columns:
      pairs = (errors.get(tissue, {}).get(name) for errors in several)
      # Without those that have no voxels in the tissue.
      found = [pair for pair in pairs if pair and not math.isnan(pair[0])]
      cells = [*cells, text(name, found)]
    body.append(cells)
  head = [*head, *(f"{tissue_heading(t)} {HEADINGS[n]}" for t, n in columns)]
  return markdown_table(head, body)


def _methods(variant: dict) -> list[tuple[str, dict]]:
  """Methods of a variant and their errors, without the rows of reference."""
  return [
    (method, errors)
    for method, errors in variant["errors"].items()
    if method not in ("training_mean", "truth")
  ]
