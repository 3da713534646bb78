"""Image series, masks and reference maps of other programs."""

from tests.wrong_inputs.cases import Case

CASES: list[Case] = []
