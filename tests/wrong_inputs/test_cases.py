"""No input of the document `docs/wrong_inputs.md` is taken wrongly."""

import pytest

from tests.wrong_inputs.cases import Case, all_cases, outcome

_CASES = [
  pytest.param(case, id=f"{module}: {case.input}")
  for module, cases in all_cases().items()
  for case in cases
]


@pytest.mark.parametrize("case", _CASES)
def test_verdict_is_the_expected_one(case: Case, tmp_path):
  seen = outcome(case, tmp_path)
  assert seen.verdict == case.expected, seen.seen
