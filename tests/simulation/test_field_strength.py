"""Heads at other fields than 1.5 T."""

import numpy as np
import pytest

from configs import demo, smoke
from configs import train as train_config
from mrf_jax.errors import UserError
from mrf_jax.experiment.settings import check_values, phantom_options
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.map_phantom import phantom_of
from mrf_jax.simulation.nuclei import NUCLEI_AT_1_5T
from mrf_jax.simulation.tissue import (
  BRAIN,
  BRAIN_AT_1_5T,
  brain_at,
  nuclei_at,
)
from mrf_jax.stages.train import _set_field


def phantom(field_t):
  data = smoke.get_config().data
  data.field_strength_t = field_t
  data.b0.shim_hz = 0.0
  return phantom_of(
    np.random.default_rng(0), SliceGrid(**data.grid), **phantom_options(data)
  )


def test_tables_grow_with_the_field():
  fields = sorted(BRAIN)
  assert fields == [0.55, 1.5, 3.0, 7.0] and BRAIN[1.5] is BRAIN_AT_1_5T
  for tissue in ("wm", "gm"):
    t1 = [BRAIN[field][tissue][0] for field in fields]
    assert t1 == sorted(t1)
  for table in BRAIN.values():
    assert table["wm"][0] < table["gm"][0] < table["csf"][0]
    assert table["csf"] == BRAIN_AT_1_5T["csf"]
    assert all(t2 < t1 for t1, t2, _ in table.values())


def test_names_of_one_scanner_have_one_table():
  assert brain_at(2.89) is BRAIN[3.0]
  with pytest.raises(UserError, match=r"values of 4 T, only of 0\.55, 1\.5, 3"):
    brain_at(4.0)


def test_nuclei_follow_the_cortex():
  np.testing.assert_allclose(nuclei_at(1.5), list(NUCLEI_AT_1_5T.values()))
  ratio = nuclei_at(3.0)[0] / nuclei_at(1.5)[0]
  np.testing.assert_allclose(ratio, [1331 / 1150, 110 / 88, 1])


def test_a_head_has_the_times_and_the_field_of_its_scanner():
  low, high = phantom(1.5), phantom(3.0)
  assert (low.field_strength_t, high.field_strength_t) == (1.5, 3.0)
  white = [
    maps.tissues["wm"].t1_ms / brain_at(maps.field_strength_t)["wm"][0]
    for maps in (low, high)
  ]
  # The same head, with other values.
  np.testing.assert_allclose(white[0], white[1], rtol=1e-5)
  # Offsets by air are parts of the field.
  np.testing.assert_allclose(high.b0_hz, 2 * low.b0_hz, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("field", [4.0, 0.0, float("nan"), "3"])
def test_fields_without_values_are_refused(field):
  config = demo.get_config().unlock()
  config.data = dict(config.data) | {"field_strength_t": field}
  with pytest.raises(UserError, match=r"data\.field_strength_t"):
    check_values(config)


def test_training_sets_what_goes_with_the_field():
  config = train_config.get_config()
  before = config.copy_and_resolve_references()
  _set_field(config, 3.0)
  assert config.data.field_strength_t == 3.0
  assert config.data.b1_deviation == pytest.approx(2 * before.data.b1_deviation)
  assert config.data.b0.shim_hz == 2 * before.data.b0.shim_hz
  limits = config.evaluation.thresholds_ms
  assert limits.wm[0] < 832 < limits.wm[1] == limits.gm[0] < 1331 < limits.gm[1]
  assert limits.csf == before.evaluation.thresholds_ms.csf
  touching = config.evaluation.other_thresholds_ms.touching
  assert touching.gm[1] == touching.csf[0]
  _set_field(config, 7.0)
  assert config.data.b1_deviation == 0.4
  limits = config.evaluation.thresholds_ms
  assert limits.wm[1] < 1939 < limits.gm[1] < limits.csf[0]
