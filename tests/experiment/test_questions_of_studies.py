"""Every variant that a built-in configuration asks for can run."""

import pytest

from configs import ablation, study
from mrf_jax.experiment.settings import check_methods
from mrf_jax.experiment.variants import variants


@pytest.mark.parametrize("module", [study, ablation])
def test_all_variants_are_valid(module):
  chosen = list(variants(module.get_config(), ()))
  assert len(chosen) > 10
  for variant in chosen:
    check_methods(variant.config)
