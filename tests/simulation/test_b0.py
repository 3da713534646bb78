"""Offsets of the main field, and what they do to a simulated scan."""

import numpy as np
import pytest

from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from mrf_jax.sequence.sequence import make_sequence
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.fields import b0_field, sphere_of_air
from mrf_jax.simulation.phantom import make_phantom
from tests.simulation.examples import PHANTOM, scan_head

GRID = SliceGrid(
  n_slices=2, matrix=32, fov_mm=256, slice_thickness_mm=5, centre_z_mm=-5
)
NONE = {"shim_hz": 0.0, "air_cavities": False, "r2_prime_per_s": 0.0}


def phantom(**b0):
  options = {**PHANTOM, "b0": {**NONE, **b0} if b0 else None}
  return make_phantom(np.random.default_rng(0), GRID, **options)


def test_sphere_of_air_is_a_dipole():
  points = np.array([[0, 0, 20.0], [20.0, 0, 0], [0, -40.0, 0], [0, 0, 5.0]])
  field = sphere_of_air(points, radius_mm=10.0)
  most = 9.4e-6 / 3
  np.testing.assert_allclose(
    field, [most / 4, -most / 8, -most / 64, 0], rtol=1e-12
  )


def test_field_outside_the_sphere_has_no_sources():
  """Its Laplacian is zero, as that of any field in matter of one kind."""
  step = 0.5
  steps = step * np.concatenate([np.eye(3), -np.eye(3), np.zeros((1, 3))])
  field = sphere_of_air(np.array([11.0, 7.0, 9.0]) + steps, radius_mm=10.0)
  second = [field[k] + field[k + 3] - 2 * field[6] for k in range(3)]
  assert max(map(abs, second)) > 1e-3 * abs(field[6])
  assert abs(sum(second)) < 1e-2 * max(map(abs, second))


def test_a_linear_shim_leaves_nothing_linear():
  points = np.random.default_rng(0).uniform(-70, 70, (3000, 3))
  field = b0_field(
    np.random.default_rng(1),
    points,
    field_strength_t=1.5,
    shim_hz=10.0,
    air_cavities=True,
  )
  linear = np.column_stack([np.ones(len(points)), points / 70])
  assert np.abs(linear.T @ field / len(points)).max() < 1e-3
  assert 5 < field.std() < 30


def test_field_grows_towards_the_sinuses():
  far = np.ptp(phantom(air_cavities=True).b0_hz)
  low = SliceGrid(
    n_slices=2, matrix=32, fov_mm=256, slice_thickness_mm=5, centre_z_mm=-22
  )
  options = {**PHANTOM, "b0": {**NONE, "air_cavities": True}}
  near = make_phantom(np.random.default_rng(0), low, **options)
  assert np.ptp(near.b0_hz) > 1.5 * far > 10


def test_other_fields_and_tissues_stay_as_they_are():
  plain, offset = phantom(), phantom(shim_hz=10.0)
  assert plain.rates_per_s is None
  assert plain.b0_hz is None
  assert offset.b0_hz.std() > 3
  np.testing.assert_array_equal(plain.b1, offset.b1)
  np.testing.assert_array_equal(plain.fractions, offset.fractions)


def test_fluid_does_not_decay():
  head = phantom(r2_prime_per_s=3.0)
  np.testing.assert_allclose(
    -head.rates_per_s.real, 3.0 * (1 - head.fractions[2]), atol=1e-6
  )
  np.testing.assert_array_equal(head.b0_hz, 0)


@pytest.mark.parametrize(
  "changes", [{"shim_hz": 15.0}, {"r2_prime_per_s": 5.0}]
)
def test_a_scan_has_the_phase_and_the_decay_of_the_echo(changes):
  """TE is long beside the readout, so that little but the echo matters.

  In the steady state all arms see one contrast, so that voxels do not mix.
  """
  te_ms = 8.0
  train = make_sequence(np.full(192, 8.0), 12.0, te_ms)
  acquisition = Acquisition(train, 48, 144)

  def scanned(b0):
    phantom = {**PHANTOM, "b0": b0}
    subject = scan_head(acquisition, phantom=phantom, readout_ms=0.4)
    return subject.signals[:, 1], subject

  plain, subject = scanned(None)
  other, _ = scanned({**NONE, **changes})
  grid = SliceGrid(
    n_slices=1, matrix=32, fov_mm=256, slice_thickness_mm=3, centre_z_mm=15
  )
  options = {**PHANTOM, "b0": {**NONE, **changes}}
  rates = make_phantom(
    np.random.default_rng([0, 0]), grid, **options
  ).rates_per_s
  assert len(rates) == subject.n_voxels
  expected = plain * np.exp(1e-3 * te_ms * rates)
  error = np.linalg.norm(other - expected) / np.linalg.norm(expected)
  change = np.linalg.norm(other - plain) / np.linalg.norm(plain)
  assert error < 0.1 * change


def test_phase_of_the_object_is_in_all_images():
  acquisition = Acquisition(tailored(48), 24, 12)

  def scanned(phase_deg):
    phantom = {**PHANTOM, "phase_deg": phase_deg}
    return scan_head(acquisition, phantom=phantom)

  plain, turned = scanned(0.0), scanned(40.0)
  # Neighbouring arms are missing in half a window, so that voxels mix.
  turns = np.angle(turned.signals * plain.signals.conj())
  usual = np.abs(plain.signals) > np.median(np.abs(plain.signals))
  assert 20 < np.rad2deg(turns[usual].std()) < 60
  spread = np.median(np.abs(turns - np.median(turns, 1, keepdims=True)))
  assert np.rad2deg(spread) < 10
  np.testing.assert_array_equal(plain.maps.stack(), turned.maps.stack())
