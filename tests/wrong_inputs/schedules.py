"""Schedules whose columns, units or names are not what they seem."""

from tests.wrong_inputs.cases import Case

CASES: list[Case] = []
