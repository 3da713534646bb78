"""Scans whose signals do not fit their sequence."""

from tests.wrong_inputs.cases import Case

CASES: list[Case] = []
