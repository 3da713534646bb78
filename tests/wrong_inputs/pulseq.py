"""Pulseq files of other writers."""

from tests.wrong_inputs.cases import Case

CASES: list[Case] = []
