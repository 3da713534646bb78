"""The section of a question, from a record made by hand."""

import pytest

from mrf_jax.report.answers import answers


def way(question, name, factor, *, lesion=False):
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


def record(*found):
  names = dict.fromkeys(w["question"] for w in found)
  questions = {name: {"base": "folds=(0,)", "ways": {}} for name in names}
  questions["never"] = {"base": "", "ways": {}}
  config = {"questions": questions, "data": {"files": ()}}
  return {"config": config, "ways": list(found)}


def test_a_line_for_each_way_and_note():
  found = answers(record(way("rank", "r8", 1.0)), {"rank": "As expected."})
  text = "\n\n".join(found)
  assert "## Question: rank" in text and "never" not in text
  assert "| r8 | cohen | 1,234 | 57 | 0.010 / 0.020 | 50.0 / 80.0 |" in text
  assert "training_mean" not in text and "nan" not in text
  assert "relative" not in text and text.endswith("As expected.")
  assert "Development heads" not in text


def test_questions_of_other_heads_are_marked():
  asked = record(way("rank", "r8", 1.0))
  asked["config"]["questions"]["rank"]["base"] = "seed=1 folds=(0,)"
  assert "Development heads (seed 1)" in "\n".join(answers(asked, {}))
  # Of the training alone.
  asked["config"]["questions"]["rank"]["base"] = "training.seed=1"
  assert "Development heads" not in "\n".join(answers(asked, {}))


def test_relative_to_what_is_the_same():
  found = (way("noise", "same", 1.0), way("noise", "double", 1.5, lesion=True))
  text = "\n\n".join(answers(record(*found), {}))
  lines = text.split("relative to *same*:")[1].splitlines()
  (line,) = (line for line in lines if line.startswith("| double"))
  assert line.count("1.50") == 6 and line.count("–") == 6
  assert "results/noise.png" in text


@pytest.mark.parametrize("factors", [(1.0, 2.0, 3.0)])
def test_spread_over_seeds(factors):
  found = (way("seeds", f"seed_{f:g}", f) for f in factors)
  text = "\n\n".join(answers(record(*found), {}))
  assert "160.0 ± 80.0" in text


def test_what_another_question_leaves_the_same():
  same = way("schedule", "same", 2.0)
  same["errors"]["hoppe"] = same["errors"]["cohen"]
  asked = record(same, way("loss", "likelihood", 1.0))
  asked["config"]["questions"]["loss"]["against"] = "schedule"
  sections = "\n\n".join(answers(asked, {})).split("## Question: ")
  assert [part.split("\n")[0] for part in sections[1:]] == ["schedule", "loss"]
  loss = sections[2]
  assert "| same | cohen |" in loss and "hoppe" not in loss
  assert loss.count("| likelihood | cohen | 0.50 |") == 1
