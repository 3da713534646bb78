"""Files that changed, models and scans that do not belong together."""

from tests.wrong_inputs.cases import Case

CASES: list[Case] = []
