"""Networks of random weights, whose maps are not bounded."""

import pytest

from mrf_jax.inference import model


@pytest.fixture
def unbounded(monkeypatch):
  """Estimates as the network gives them, also below zero."""
  monkeypatch.setattr(model, "bounded", lambda maps: maps)
