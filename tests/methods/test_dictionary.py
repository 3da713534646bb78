"""Matchers that configurations describe."""

import numpy as np
import pytest

from configs import smoke
from mrf_jax import build_dictionary
from mrf_jax.matching import dictionary as matching
from mrf_jax.methods.dictionary import make_matcher
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored

ACQUISITION = Acquisition(tailored(64), window=8)


@pytest.mark.parametrize(
  ("name", "most_simulated", "stages"),
  [
    ("dictionary", 10, ["simulate"]),
    ("dictionary_svd", 10, ["build"]),
    ("dictionary_svd", 50_000, ["simulate", "compress"]),
  ],
)
def test_large_compressed_ones_are_interpolated(
  monkeypatch, name, most_simulated, stages
):
  monkeypatch.setattr(matching, "MOST_SIMULATED", most_simulated)
  config = smoke.get_config()
  config.dictionary.step_percent = 20.0
  config.dictionary.svd_rank = 10
  match, times = make_matcher(config, name, ACQUISITION)
  assert [time.stage for time in times] == stages
  wanted = build_dictionary(
    ACQUISITION.sequence, [500.0, 1000.0], [50.0, 100.0], window=8
  )
  assert len({time.atoms for time in times}) == 1
  signals = wanted.norms[:, None] * wanted.atoms
  found = match(signals.astype(np.complex64))
  np.testing.assert_allclose(found.t1_ms, wanted.t1_ms, rtol=0.25)
  np.testing.assert_allclose(found.t2_ms, wanted.t2_ms, rtol=0.25)
