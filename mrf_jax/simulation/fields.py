"""Smooth fields in a head: transmit B1, coil sensitivities, random fields."""

import numpy as np
from jaxtyping import Complex64, Float, Float32

_N_WAVES = 48
# Susceptibility of tissue less that of air (Schenck 1996).
_AIR_IN_TISSUE = 9.4e-6
# Hz of protons in a field of one tesla.
_HZ_PER_T = 42.577e6
# Centre in MNI space and radius of spheres of about the size of air cavities:
# sphenoid and frontal sinus, and both ears.
_CAVITIES_MM = (
  ((0.0, 30.0, -38.0), 15.0),
  ((0.0, 66.0, -22.0), 10.0),
  ((-55.0, -25.0, -42.0), 10.0),
  ((55.0, -25.0, -42.0), 10.0),
)
# Radius of the cylinder on which the coils are.
_COILS_RADIUS_MM = 200.0


def smooth_noise(
  rng: np.random.Generator,
  points_mm: Float[np.ndarray, "point 3"],
  *,
  correlation_mm: float,
) -> Float[np.ndarray, "point"]:
  r"""Random field with zero mean, unit variance and Gaussian covariance.

  .. math::

    f(r) = \sqrt{2 / n} \, \sum_{j=1}^{n} \cos(k_j \cdot r + \varphi_j), \quad
    k_j \text{ normal}, \; \varphi_j \text{ uniform}

  These are random Fourier features of the covariance exp(−d² / 2 l²) of
  points at distance d, with the correlation length l. The field can be
  evaluated at any point.
  """
  waves = rng.normal(size=(_N_WAVES, 3)) / correlation_mm
  phases = rng.uniform(0, 2 * np.pi, _N_WAVES)
  field = np.zeros(len(points_mm), np.float32)
  points = points_mm.astype(np.float32)
  for wave, phase in zip(waves.astype(np.float32), phases, strict=True):
    field += np.cos(points @ wave + np.float32(phase))
  return field * np.float32(np.sqrt(2 / _N_WAVES))


def b1_field(
  rng: np.random.Generator,
  points_mm: Float[np.ndarray, "point 3"],
  *,
  deviation: float,
) -> Float32[np.ndarray, "point"]:
  """Transmit field B1 relative to nominal: high in the centre, low at the rim.

  Points are relative to the centre of the head. Inside a head the factor on the
  flip angles deviates from one by `deviation` at most (0.15 is ±15 %).
  """
  # One on an ellipsoid of about the size of a brain.
  radius = np.linalg.norm(points_mm / np.array([75.0, 95.0, 75.0]), axis=-1)
  dome = 1 - 1.6 * np.clip(radius, 0, 1.25) ** 2
  tilt = smooth_noise(rng, points_mm, correlation_mm=90.0)
  field = 0.7 * dome + 0.35 * np.clip(tilt, -2, 2)
  return (1 + deviation * np.clip(field, -1, 1)).astype(np.float32)


def b0_field(
  rng: np.random.Generator,
  points_mm: Float[np.ndarray, "point 3"],
  *,
  field_strength_t: float,
  shim_hz: float,
  air_cavities: bool,
) -> Float32[np.ndarray, "point"]:
  """Offset of the main field: what a linear shim leaves, Hz.

  Args:
    rng: random numbers of the shim's residue.
    points_mm: places in the head, MNI mm; z is the direction of the field.
    field_strength_t: main field, T.
    shim_hz: standard deviation of a residue that is smooth over 60 mm, Hz.
    air_cavities: whether the air of sinuses and ears disturbs the field.

  Returns:
    Offsets whose best linear function of the place is zero, in Hz.
  """
  points = points_mm.astype(np.float64)
  field = shim_hz * smooth_noise(rng, points_mm, correlation_mm=60.0)
  field = field.astype(np.float64)
  if air_cavities:
    hz = _HZ_PER_T * field_strength_t
    for centre, radius in _CAVITIES_MM:
      field += hz * sphere_of_air(points - np.array(centre), radius_mm=radius)
  linear = np.column_stack([np.ones(len(points)), points])
  shim = np.linalg.lstsq(linear, field, rcond=None)[0]
  return (field - linear @ shim).astype(np.float32)


def sphere_of_air(
  points_mm: Float[np.ndarray, "point 3"], *, radius_mm: float
) -> Float[np.ndarray, "point"]:
  r"""Relative field offset around a sphere of air in tissue, a dipole.

  .. math::

    \frac{\Delta B}{B_0} = \frac{\Delta\chi}{3} \frac{a^3}{r^3}
    (3 \cos^2 \theta - 1)

  outside the radius a (Haacke 1999, section 25.3), with the angle θ to the main
  field; inside it is zero.

  Args:
    points_mm: from the centre of the sphere, mm.
    radius_mm: its radius, mm.
  """
  square = np.sum(points_mm**2, -1)
  outside = square > radius_mm**2
  square = np.where(outside, square, 1.0)
  angle = 3 * points_mm[:, 2] ** 2 / square - 1
  field = _AIR_IN_TISSUE / 3 * radius_mm**3 / square**1.5 * angle
  # Tissue is what is disturbed: its susceptibility is the reference.
  return np.where(outside, field, 0.0)


def coil_sensitivities(
  points_mm: Float[np.ndarray, "point 3"], *, n_coils: int
) -> Complex64[np.ndarray, "coil point"]:
  """Receive sensitivities of loop coils on a cylinder around the head.

  Each loop is a magnetic dipole that points at the axis; its sensitivity is
  the transverse field B_x − i B_y (reciprocity, Hoult 1976). Eight or more
  coils alternate between two rings. The sum of squares is scaled to average one
  within 80 mm of the centre, from which points are measured.
  """
  points = points_mm.astype(np.float32)
  maps = np.empty((n_coils, len(points)), np.complex64)
  for coil in range(n_coils):
    angle = 2 * np.pi * coil / n_coils
    height = 0.0 if n_coils < 8 else (40.0 if coil % 2 else -40.0)
    axis = np.array([np.cos(angle), np.sin(angle), 0.0], np.float32)
    centre = axis * np.float32(_COILS_RADIUS_MM)
    centre[2] = height
    distance = points - centre
    length = np.linalg.norm(distance, axis=-1, keepdims=True)
    unit = distance / length
    # Dipole of moment m = -axis: B ~ (3 u (u · m) - m) / r³.
    field = (3 * unit * (unit @ -axis)[:, None] + axis) / length**3
    maps[coil] = field[:, 0] - 1j * field[:, 1]
  power = np.sum(np.abs(maps) ** 2, 0)
  near = np.linalg.norm(points, axis=-1) <= 80.0
  return maps / np.sqrt(np.mean(power[near] if near.any() else power))
