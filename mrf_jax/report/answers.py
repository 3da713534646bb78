"""Results of a sweep in Markdown, one section for each question."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from mrf_jax.evaluation.markdown import (
  ABSENT,
  DECIMALS,
  HEADINGS,
  markdown_table,
  tissue_heading,
)
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.experiment.variants import SAME
from mrf_jax.maps import MAP_NAMES

# Questions whose variants are numbers, and the label of that number: their
# errors are drawn as curves.
CURVES = {"noise": "noise level", "steps": "training steps"}
_RMSE = 1


def answers(record: dict, notes: Mapping[str, str]) -> list[str]:
  """Sections of the questions that a sweep has run variants of.

  Args:
    record: from `study_record`.
    notes: text written by hand for a section, by the section's name.

  Returns:
    Headings, tables and paragraphs.
  """
  parts = []
  questions = record["config"]["questions"]
  files = record["config"]["data"].get("files")
  simulated = "" if files else "simulated "
  for question in sorted(questions, key=lambda q: _position(q, questions[q])):
    content = questions[question]
    variants = [w for w in record["ways"] if w["question"] == question]
    if not variants:
      continue
    variants = _with_baseline(variants, content.get("against"), record["ways"])
    parts += [
      f"## Question: {question}",
      f"All variants use `{content['base']}`. {_heads(content['base'])}MAE / "
      f"RMSE against the {simulated}acquired maps, times in ms, PD in a.u.",
      _error_table(variants),
    ]
    if any(v["name"] == SAME for v in variants) and len(variants) > 1:
      parts += [f"RMSE relative to *{SAME}*:", _relative_table(variants)]
    if question == "seeds":
      parts.append("Mean ± standard deviation of the RMSE over seeds:")
      parts.append(_seed_table(variants))
    if question in CURVES:
      parts.append(
        f"![MAE of each method over the {CURVES[question]}: columns are white "
        "matter, grey matter and CSF, rows PD, T1 and T2]"
        f"(results/{question}.png)"
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
  tissues = _tissues(variants)
  head = ["variant", "method", "steps", "training per fold (s)"]
  body = []
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
      for tissue, name in _columns(tissues):
        pair = _pair(errors, tissue, name)
        digits = DECIMALS[name]
        cells.append(
          f"{pair[0]:.{digits}f} / {pair[1]:.{digits}f}" if pair else ABSENT
        )
      body.append(cells)
  return markdown_table([*head, *_headings(tissues)], body)


def _relative_table(variants: Sequence[dict]) -> str:
  """RMSE of each variant divided by that of the variant `same`."""
  (same,) = (
    dict(_methods(variant)) for variant in variants if variant["name"] == SAME
  )
  tissues = _tissues(variants)
  body = []
  for variant in variants:
    if variant["name"] == SAME:
      continue
    for method, errors in _methods(variant):
      if method not in same:
        continue
      cells = [variant["name"], method]
      for tissue, name in _columns(tissues):
        changed = _pair(errors, tissue, name)
        unchanged = _pair(same[method], tissue, name)
        ratio = ABSENT
        if changed and unchanged:
          ratio = f"{changed[_RMSE] / unchanged[_RMSE]:.2f}"
        cells.append(ratio)
      body.append(cells)
  return markdown_table(["variant", "method", *_headings(tissues)], body)


def _seed_table(variants: Sequence[dict]) -> str:
  """Mean and spread of each method's RMSE over variants that differ by seed."""
  tissues = _tissues(variants)
  methods = [m for variant in variants for m, _ in _methods(variant)]
  body = []
  for method in dict.fromkeys(methods):
    cells = [method, str(len(variants))]
    for tissue, name in _columns(tissues):
      pairs = [
        _pair(dict(_methods(variant)).get(method, {}), tissue, name)
        for variant in variants
      ]
      values = [pair[_RMSE] for pair in pairs if pair]
      digits = DECIMALS[name]
      cells.append(
        f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}"
        if len(values) > 1
        else ABSENT
      )
    body.append(cells)
  return markdown_table(["method", "seeds", *_headings(tissues)], body)


def _methods(variant: dict) -> list[tuple[str, dict]]:
  """Methods of a variant and their errors, without the rows of reference."""
  return [
    (method, errors)
    for method, errors in variant["errors"].items()
    if method not in ("training_mean", "truth")
  ]


def _tissues(variants: Sequence[dict]) -> list[str]:
  """Tissues for which some variant has errors."""
  present = {
    tissue
    for variant in variants
    for _, errors in _methods(variant)
    for tissue in errors
  }
  return [tissue for tissue in TISSUES if tissue in present]


def _columns(tissues: Sequence[str]) -> list[tuple[str, str]]:
  """Tissue and map of each column of errors."""
  return [(tissue, name) for tissue in tissues for name in MAP_NAMES]


def _headings(tissues: Sequence[str]) -> list[str]:
  return [
    f"{tissue_heading(tissue)} {HEADINGS[name]}"
    for tissue, name in _columns(tissues)
  ]


def _pair(errors: dict, tissue: str, name: str) -> list[float] | None:
  """MAE and RMSE, or None if the tissue has no voxels."""
  pair = errors.get(tissue, {}).get(name)
  return pair if pair and not math.isnan(pair[0]) else None
