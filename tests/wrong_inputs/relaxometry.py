"""Times and angles in other units, given to the fits."""

from tests.wrong_inputs.cases import Case

CASES: list[Case] = []
