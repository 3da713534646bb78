"""What a sweep has found, question by question, in Markdown."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from mrf_jax.evaluation.table import (
  ABSENT,
  DECIMALS,
  markdown_table,
  tissue_heading,
)
from mrf_jax.evaluation.tissues import TISSUES
from mrf_jax.experiment.variants import SAME
from mrf_jax.maps import MAP_NAMES

# Questions whose errors are drawn against a number.
CURVES = {"noise": "noise level", "steps": "training steps"}
_SHORT = {"pd": "PD", "t1_ms": "T1", "t2_ms": "T2"}
_RMSE = 1


def answers(record: dict, notes: Mapping[str, str]) -> list[str]:
  """A section for each question that has been asked.

  Args:
    record: of `study_record`.
    notes: what a person says about a section, by its name.
  """
  parts = []
  questions = record["config"]["questions"]
  files = record["config"]["data"].get("files")
  simulated = "" if files else "simulated "
  for question in sorted(questions, key=lambda q: _position(q, questions[q])):
    content = questions[question]
    found = [w for w in record["ways"] if w["question"] == question]
    if not found:
      continue
    found = _put_against(found, content.get("against"), record["ways"])
    parts += [
      f"## Question: {question}",
      f"All of it with `{content['base']}`. {_heads(content['base'])}MAE / "
      f"RMSE against the {simulated}acquired maps, times in ms, PD in a.u.",
      _absolute(found),
    ]
    if any(variant["name"] == SAME for variant in found) and len(found) > 1:
      parts += [f"RMSE relative to *{SAME}*:", _relative(found)]
    if question == "seeds":
      parts.append("Mean ± standard deviation of the RMSE over seeds:")
      parts.append(_spread(found))
    if question in CURVES:
      parts.append(
        f"![MAE of each method over the {CURVES[question]}: columns are white "
        "matter, grey matter and CSF, rows PD, T1 and T2]"
        f"(results/{question}.png)"
      )
    parts.append(notes.get(question, ""))
  return parts


def _position(question: str, content: Mapping) -> tuple[str, bool, str]:
  """Sorts questions behind the ones they are held against."""
  against = content.get("against")
  return against or question, bool(against), question


def _put_against(
  found: Sequence[dict], against: str | None, everything: Sequence[dict]
) -> list[dict]:
  """Adds what another question leaves the same, of the same methods."""
  asked = {method for variant in found for method, _ in _methods(variant)}
  others = [
    {**variant, "errors": {m: e for m, e in _methods(variant) if m in asked}}
    for variant in everything
    if (variant["question"], variant["name"]) == (against, SAME)
  ]
  return [*others, *found]


def _heads(base: str) -> str:
  """Says so where a question was asked of other heads than the study's."""
  seed = re.search(r"(?:^|\s)seed=(\d+)", base)
  if not seed:
    return ""
  return f"**Development heads (seed {seed[1]}), none of the study's.** "


def _absolute(found: Sequence[dict]) -> str:
  """A line for each method of each variant."""
  tissues = _tissues(found)
  head = ["way", "method", "steps", "training, a fold (s)", *_headings(tissues)]
  body = []
  for variant in found:
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


def _relative(found: Sequence[dict]) -> str:
  """RMSE of each way over that of the way that changes nothing."""
  (same,) = (
    dict(_methods(variant)) for variant in found if variant["name"] == SAME
  )
  tissues = _tissues(found)
  body = []
  for variant in found:
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
  return markdown_table(["way", "method", *_headings(tissues)], body)


def _spread(found: Sequence[dict]) -> str:
  """Of each method over ways that are alike but for chance."""
  tissues = _tissues(found)
  body = []
  for method in dict.fromkeys(
    m for variant in found for m, _ in _methods(variant)
  ):
    cells = [method, str(len(found))]
    for tissue in tissues:
      for name in MAP_NAMES:
        pairs = [
          _pair(dict(_methods(variant)).get(method, {}), tissue, name)
          for variant in found
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
  """Methods of a way and their errors, without what it shares with others."""
  return [
    (method, errors)
    for method, errors in variant["errors"].items()
    if method not in ("training_mean", "truth")
  ]


def _tissues(found: Sequence[dict]) -> list[str]:
  """Those that a way has."""
  return [
    tissue
    for tissue in TISSUES
    if any(
      tissue in errors for variant in found for _, errors in _methods(variant)
    )
  ]


def _headings(tissues: Sequence[str]) -> list[str]:
  return [
    f"{tissue_heading(tissue)} {_SHORT[name]}"
    for tissue in tissues
    for name in MAP_NAMES
  ]


def _pair(errors: dict, tissue: str, name: str) -> list[float] | None:
  """MAE and RMSE; None where the tissue has no voxels."""
  pair = errors.get(tissue, {}).get(name)
  return pair if pair and pair[0] == pair[0] else None
