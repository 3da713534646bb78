"""Results of a sweep in Markdown, a section for each question."""

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

# Questions whose errors are drawn as curves, and the label of their x axis.
CURVES = {"noise": "noise level", "steps": "training steps"}
_RMSE = 1


def answers(record: dict, notes: Mapping[str, str]) -> list[str]:
  """Writes a section for each question that has results.

  Args:
    record: record of a study, see `study_record`.
    notes: section to paragraphs that a person wrote about it.

  Returns:
    Paragraphs, some of them empty.
  """
  parts = []
  questions = record["config"]["questions"]
  files = record["config"]["data"].get("files")
  simulated = "" if files else "simulated "
  for question in sorted(questions, key=lambda q: _position(q, questions[q])):
    content = questions[question]
    variants = [v for v in record["ways"] if v["question"] == question]
    if not variants:
      continue
    variants = _with_unchanged(variants, content.get("against"), record["ways"])
    parts += [
      f"## Question: {question}",
      f"All of it with `{content['base']}`. {_other_heads(content['base'])}"
      f"MAE / RMSE against the {simulated}acquired maps, times in ms, PD in "
      "a.u.",
      _absolute(variants),
    ]
    if len(variants) > 1 and any(v["name"] == SAME for v in variants):
      parts += [f"RMSE relative to *{SAME}*:", _relative(variants)]
    if question == "seeds":
      parts.append("Mean ± standard deviation of the RMSE over seeds:")
      parts.append(_spread(variants))
    if question in CURVES:
      parts.append(
        f"![MAE of each method over the {CURVES[question]}: columns are white "
        "matter, grey matter and CSF, rows PD, T1 and T2]"
        f"(results/{question}.png)"
      )
    parts.append(notes.get(question, ""))
  return parts


def _position(question: str, content: Mapping) -> tuple[str, bool, str]:
  """Key that sorts questions behind those that they are compared with."""
  against = content.get("against")
  return against or question, bool(against), question


def _with_unchanged(
  variants: Sequence[dict], against: str | None, everything: Sequence[dict]
) -> list[dict]:
  """Adds the unchanged variant of another question, with the same methods."""
  asked = {method for variant in variants for method, _ in _methods(variant)}
  others = [
    {**variant, "errors": {m: e for m, e in _methods(variant) if m in asked}}
    for variant in everything
    if (variant["question"], variant["name"]) == (against, SAME)
  ]
  return [*others, *variants]


def _other_heads(base: str) -> str:
  """Sentence for questions that use other heads than the study."""
  seed = re.search(r"(?:^|\s)seed=(\d+)", base)
  if not seed:
    return ""
  return f"**Development heads (seed {seed[1]}), none of the study's.** "


def _absolute(variants: Sequence[dict]) -> str:
  """Table of errors, a line for each method of each variant."""
  tissues = _tissues(variants)
  head = [
    "variant",
    "method",
    "steps",
    "training per fold (s)",
    *_headings(tissues),
  ]
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
      for tissue in tissues:
        for name in MAP_NAMES:
          pair = _pair(errors, tissue, name)
          digits = DECIMALS[name]
          cells.append(
            f"{pair[0]:.{digits}f} / {pair[1]:.{digits}f}" if pair else ABSENT
          )
      body.append(cells)
  return markdown_table(head, body)


def _relative(variants: Sequence[dict]) -> str:
  """Table of the RMSE of each variant over that of the unchanged one."""
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
      for tissue in tissues:
        for name in MAP_NAMES:
          now = _pair(errors, tissue, name)
          before = _pair(same[method], tissue, name)
          ratio = ABSENT
          if now and before:
            ratio = f"{now[_RMSE] / before[_RMSE]:.2f}"
          cells.append(ratio)
      body.append(cells)
  return markdown_table(["variant", "method", *_headings(tissues)], body)


def _spread(variants: Sequence[dict]) -> str:
  """Table of each method's mean and spread over variants of another seed."""
  tissues = _tissues(variants)
  body = []
  for method in dict.fromkeys(
    m for variant in variants for m, _ in _methods(variant)
  ):
    cells = [method, str(len(variants))]
    for tissue in tissues:
      for name in MAP_NAMES:
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
  """Methods of a variant and their errors, without reference rows."""
  return [
    (method, errors)
    for method, errors in variant["errors"].items()
    if method not in ("training_mean", "truth")
  ]


def _tissues(variants: Sequence[dict]) -> list[str]:
  """Tissues for which a variant has errors."""
  return [
    tissue
    for tissue in TISSUES
    if any(
      tissue in errors
      for variant in variants
      for _, errors in _methods(variant)
    )
  ]


def _headings(tissues: Sequence[str]) -> list[str]:
  """Tissue and map of each column."""
  return [
    f"{tissue_heading(tissue)} {HEADINGS[name]}"
    for tissue in tissues
    for name in MAP_NAMES
  ]


def _pair(errors: dict, tissue: str, name: str) -> list[float] | None:
  """MAE and RMSE; None if the tissue has no voxels."""
  pair = errors.get(tissue, {}).get(name)
  return pair if pair and not math.isnan(pair[0]) else None
