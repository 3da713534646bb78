"""Sections of questions, from a record made by hand."""

import pytest

from mrf_jax.report.answers import answers


def variant(question, name, factor, *, lesion=False):
  cell = {"pd": [0.01, 0.02], "t1_ms": [50 * factor, 80.0], "t2_ms": [5.0, 8.0]}
  cell = {key: [a, b * factor] for key, (a, b) in cell.items()}
  errors = {"wm": cell, "brain": cell, **({"lesion": cell} if lesion else {})}
  nothing = {"pd": [float("nan")] * 2, "t1_ms": [float("nan")] * 2}
  return {
    "question": question,
    "name": name,
    "errors": {
      "cohen": {**errors, "csf": nothing},
      "training_mean": errors,
      "truth": errors,
    },
    "steps": {"cohen": 1234},
    "times": {"cohen": {"train": 113.4}},
    "n_folds": 2,
  }


def record(*variants):
  names = dict.fromkeys(v["question"] for v in variants)
  questions = {name: {"base": "folds=(0,)", "ways": {}} for name in names}
  questions["never"] = {"base": "", "ways": {}}
  config = {"questions": questions, "data": {"files": ()}}
  return {"config": config, "ways": list(variants)}


def text_of(study, notes=None):
  return "\n\n".join(answers(study, notes or {}))


def test_line_per_variant_and_note():
  text = text_of(record(variant("rank", "r8", 1.0)), {"rank": "As expected."})
  assert "## Question: rank" in text and "never" not in text
  assert "| r8 | cohen | 1,234 | 57 | 0.010 / 0.020 | 50.0 / 80.0 |" in text
  assert "training_mean" not in text and "nan" not in text
  assert "relative" not in text and text.endswith("As expected.")
  assert "Development heads" not in text


def test_development_heads_are_marked():
  study = record(variant("rank", "r8", 1.0))
  study["config"]["questions"]["rank"]["base"] = "seed=1 folds=(0,)"
  assert "Development heads (seed 1)" in text_of(study)
  # A seed of the training alone does not change the heads.
  study["config"]["questions"]["rank"]["base"] = "training.seed=1"
  assert "Development heads" not in text_of(study)


def test_errors_relative_to_same():
  variants = (
    variant("noise", "same", 1.0),
    variant("noise", "double", 1.5, lesion=True),
  )
  text = text_of(record(*variants))
  lines = text.split("relative to *same*:")[1].splitlines()
  (line,) = (line for line in lines if line.startswith("| double"))
  assert line.count("1.50") == 6 and line.count("–") == 6
  assert "results/noise.png" in text


@pytest.mark.parametrize("factors", [(1.0, 2.0, 3.0)])
def test_spread_over_seeds(factors):
  variants = (variant("seeds", f"seed_{f:g}", f) for f in factors)
  text = text_of(record(*variants))
  assert "160.0 ± 80.0" in text


def test_baseline_from_another_question():
  """A question with `against` shows `same` of the question that it names."""
  same = variant("schedule", "same", 2.0)
  same["errors"]["hoppe"] = same["errors"]["cohen"]
  study = record(same, variant("loss", "likelihood", 1.0))
  study["config"]["questions"]["loss"]["against"] = "schedule"
  sections = text_of(study).split("## Question: ")
  assert [part.split("\n")[0] for part in sections[1:]] == ["schedule", "loss"]
  loss = sections[2]
  assert "| same | cohen |" in loss and "hoppe" not in loss
  assert loss.count("| likelihood | cohen | 0.50 |") == 1
