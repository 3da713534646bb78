"""Raw data as converters write them."""

from tests.wrong_inputs.cases import Case

CASES: list[Case] = []
