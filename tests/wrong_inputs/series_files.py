"""Files of image series, masks and maps, and their import."""

import collections
import contextlib
import functools
import io
import pathlib
from collections.abc import Callable

import nibabel
import numpy as np
import scipy.ndimage

from mrf_jax import load_subject
from mrf_jax.stages.import_scan import import_files
from tests.wrong_inputs.cases import OUTPUT, Seen

SHAPE = (24, 28, 4)
N_IMAGES = 30
VOXEL_MM = (3.0, 3.0, 5.0)
# Oblique, and x to the left, as scanners write axial slices.
AFFINE = np.array(
  [
    [-2.99, 0.2, 0, 41],
    [0.2, 2.99, 0.4, -52],
    [0, -0.24, 4.98, 12],
    [0] * 3 + [1],
  ]
)
BARE = np.diag([*VOXEL_MM, 1.0])
X, Y, Z = np.indices(SHAPE)
# An ellipse, thicker on one side, with skin and a dark skull around a brain.
RADIUS = np.hypot((X - 11) / 8.5, (Y - 13) / (11 - 0.12 * X))
HEAD = RADIUS < 1
BRAIN = RADIUS < 0.7
SKULL = (RADIUS >= 0.7) & (RADIUS < 0.8)
# T1 differs from left to right.
T1_MS = np.where(BRAIN, 600 + 60.0 * X, 0).astype(np.float32)
T2_MS = np.where(BRAIN, 50 + 2.0 * Y, 0).astype(np.float32)
PD = np.where(BRAIN, 0.8, 0).astype(np.float32)
MAPS = {"pd": PD, "t1": T1_MS, "t2": T2_MS}
MASK = BRAIN.astype(np.uint8)


@functools.cache
def images(*, inversion: bool = True, noise: float = 0.01) -> np.ndarray:
  """A series [x, y, slice, image] that recovers; the head above noise."""
  rng = np.random.default_rng(0)
  t1_ms = np.where(BRAIN, T1_MS, 400)[..., None]
  times_ms = 60.0 * np.arange(N_IMAGES)
  recovery = 1 - (1.9 if inversion else 0.7) * np.exp(-times_ms / t1_ms)
  density = np.where(SKULL, 0.03, HEAD * 0.8)[..., None]
  phase = 0.4 + 0.04 * (X - 11)[..., None]
  clean = density * recovery * np.exp(1j * phase)
  parts = rng.normal(size=(2, *clean.shape))
  return (clean + noise * (parts[0] + 1j * parts[1])).astype(np.complex64)


def nifti(path, values, affine=AFFINE, *, code=1, unit="mm", qform=None):
  """Writes a file with `code` for sform and qform; returns its path."""
  image = nibabel.Nifti1Image(values, affine)
  image.set_sform(affine, code)
  image.set_qform(affine if qform is None else qform, code)
  image.header.set_xyzt_units(unit)
  nibabel.save(image, path)
  return str(path)


def files(
  folder: pathlib.Path, affine=AFFINE, *, values=None, mask=MASK, **place
) -> dict[str, str]:
  """Mask and maps in a folder, by flag."""
  found = {"mask": nifti(folder / "mask.nii", mask, affine, **place)}
  for name, volume in (MAPS if values is None else values).items():
    path = folder / f"{name}.nii"
    found[name] = nifti(path, np.ascontiguousarray(volume), affine, **place)
  return found


def imported(folder, inputs: dict, *, signals=None, t1_ms=T1_MS, mask=BRAIN):
  """Imports files, and compares mask, T1 and signals with the right ones."""
  schedule = folder / "train.txt"
  np.savetxt(schedule, np.full((N_IMAGES, 2), [30.0, 60.0]))
  given = {"schedule": str(schedule), "field_strength_t": 1.5}
  # The signals are those of no sequence of this program.
  given |= {"misfit": "ignore", "output": str(folder / f"{OUTPUT}.h5")}
  screen = io.StringIO()
  with contextlib.redirect_stdout(screen):
    import_files(collections.defaultdict(lambda: None, given | inputs))
  said = [s[2:] for s in screen.getvalue().splitlines() if s[:2] == "- "]
  subject = load_subject(given["output"])
  wanted = mask.transpose(2, 1, 0)
  right = bool(np.all(subject.mask == wanted))
  result = f"{subject.n_voxels} voxels of {np.count_nonzero(wanted)}"
  both = wanted[subject.mask]
  if subject.maps is not None:
    expected = t1_ms.transpose(2, 1, 0)[subject.mask]
    error = float(np.abs(subject.maps.t1_ms - expected)[both].max())
    result += f", T1 errs by up to {error:.3g} ms"
    right &= error < 1
  if signals is not None:
    expected = signals.transpose(2, 1, 0, 3)[subject.mask]
    error = float(np.abs(subject.signals - expected).max())
    result += f", signals by up to {error:.2g}"
    right &= error < 0.01
  return Seen(result, right, tuple(said))


def placed(
  folder, *, series_place=(AFFINE, {}), maps_place=(AFFINE, {}), **more
):
  """A series and its mask and maps, each with a place."""
  affine, options = series_place
  scan = nifti(folder / "series.nii", images(), affine, **options)
  affine, options = maps_place
  return imported(
    folder, {"scan": scan, **files(folder, affine, **options), **more}
  )


def from_numpy(folder, maps_place, **more):
  """A series without any header, and mask and maps."""
  np.save(folder / "series.npy", images())
  affine, options = maps_place
  given = {"scan": str(folder / "series.npy"), "voxel_mm": "3,3,5"}
  return imported(folder, {**given, **files(folder, affine, **options), **more})


def numpy_with_place_of(folder, **place):
  np.save(folder / "series.npy", images())
  given = files(folder, **place)
  given |= {"scan": str(folder / "series.npy"), "affine_from": given["mask"]}
  return imported(folder, given)


def resaved(folder, *, series_code):
  """Mask and maps saved with the affine that nibabel gives a file of code 0."""
  nameless = nifti(folder / "a.nii", MASK, BARE, code=0)
  invented = nibabel.load(nameless).affine
  place = (BARE, {"code": 0}) if not series_code else (AFFINE, {})
  return placed(folder, series_place=place, maps_place=(invented, {"code": 2}))


def in_units(folder, unit, factor):
  affine = np.diag([factor, factor, factor, 1]) @ AFFINE
  return placed(folder, maps_place=(affine, {"unit": unit}))


def other_shape(folder):
  nameless = {name: volume[:-1] for name, volume in MAPS.items()}
  scan = nifti(folder / "series.nii", images())
  given = files(folder, BARE, values=nameless, mask=MASK[:-1], code=0)
  return imported(folder, {"scan": scan, "voxel_by_voxel": True, **given})


def qform_elsewhere(folder):
  moved = AFFINE.copy()
  moved[:3, 3] += 20
  return placed(folder, series_place=(AFFINE, {"qform": moved}))


def with_mask(folder, mask, *, expected=None, affine=AFFINE, **more):
  """A series and a mask alone."""
  scan = nifti(folder / "series.nii", images())
  path = nifti(folder / "mask.nii", np.ascontiguousarray(mask), affine, **more)
  expected = np.asarray(mask) > 0 if expected is None else expected
  return imported(folder, {"scan": scan, "mask": path}, mask=expected)


@functools.cache
def soft() -> np.ndarray:
  """Probabilities, whose half is the border of the brain."""
  smooth = scipy.ndimage.gaussian_filter(BRAIN.astype(float), (2, 2, 0))
  return (smooth / smooth.max()).astype(np.float32)


def finer_soft_mask(folder):
  """Probabilities on four voxels for one."""
  finer, values = doubled(soft())
  expected = soft() >= 0.5
  return with_mask(folder, values, expected=expected, affine=finer)


def doubled(volume, background=0.0):
  """A volume at twice the matrix in the plane, and its affine."""
  finer = AFFINE @ np.diag([0.5, 0.5, 1, 1])
  finer[:3, 3] = (AFFINE @ [-0.25, -0.25, 0, 1])[:3]
  values = np.where(volume > 0, volume, background).astype(np.float32)
  return finer, values.repeat(2, 0).repeat(2, 1)


def half_a_voxel_off(folder, *, background):
  """Maps of a finer grid whose voxels straddle those of the scan."""
  shape = (70, 84, 4)
  affine = AFFINE @ np.diag([0.4, 0.4, 1, 1])
  affine[:3, 3] = (AFFINE @ [-2.17, -2.29, 0, 1])[:3]
  x, y = np.indices(shape)[:2]
  x, y = 0.4 * x - 2.17, 0.4 * y - 2.29
  # The maps reach half a voxel beyond the mask.
  inside = np.hypot((x - 11) / 8.5, (y - 13) / (11 - 0.12 * x)) < 0.76
  values = {
    "pd": np.where(inside, 0.8, background),
    "t1": np.where(inside, 600 + 60 * x, background),
    "t2": np.where(inside, 50 + 2 * y, background),
  }
  scan = nifti(folder / "series.nii", images())
  given = {"scan": scan, "mask": nifti(folder / "mask.nii", MASK)}
  for name, volume in values.items():
    path = folder / f"{name}.nii"
    given[name] = nifti(path, volume.astype(np.float32), affine)
  return imported(folder, given)


def with_maps(folder, change: Callable[[dict], dict], **more):
  scan = nifti(folder / "series.nii", images())
  given = files(folder, values=change(MAPS))
  return imported(folder, {"scan": scan, **given, **more})


def moved_maps(maps):
  return {name: np.roll(volume, 5, 0) for name, volume in maps.items()}


def mask_of_two_files(folder):
  nibabel.save(nibabel.Nifti1Pair(MASK, AFFINE), folder / "mask.img")
  given = {"scan": nifti(folder / "series.nii", images())}
  return imported(folder, {**given, "mask": str(folder / "mask.hdr")})


def images_as_vectors(folder):
  scan = nifti(folder / "series.nii", images()[:, :, :, None])
  given = {"scan": scan, "mask": nifti(folder / "mask.nii", MASK)}
  return imported(folder, given, signals=images())


def zeros(folder):
  scan = nifti(folder / "series.nii", 0 * images())
  mask = nifti(folder / "mask.nii", MASK)
  return imported(folder, {"scan": scan, "mask": mask})


def transposed_series(folder):
  """Stored [y, x, slice], with a square matrix, as MATLAB shows images."""
  square = np.zeros((28, 28, 4, N_IMAGES), np.complex64)
  square[2:26] = images()
  mask = np.zeros((28, 28, 4), np.uint8)
  mask[2:26] = HEAD
  scan = nifti(folder / "series.nii", square.transpose(1, 0, 2, 3).copy())
  return imported(
    folder,
    {"scan": scan, "mask": nifti(folder / "mask.nii", mask)},
    mask=mask > 0,
  )


def phase_images(low: float, turn: float, dtype=np.float32):
  """Phases of the images, of which `turn` are a full one, from `low` on."""
  angle = np.angle(images()) % (2 * np.pi) if low == 0 else np.angle(images())
  values = turn * angle / (2 * np.pi)
  if np.dtype(dtype).kind == "i":
    values = np.clip(np.round(values), low, low + turn - 1)
  return values.astype(dtype)


def magnitude_and_phase(folder, low, turn, *, flags, swap=False, **more):
  """Two files of magnitude and phase, given with these two flags."""
  dtype = np.int16 if turn > 1000 else np.float32
  paths = [
    nifti(folder / "magnitude.nii", np.abs(images())),
    nifti(folder / "phase.nii", phase_images(low, turn, dtype)),
  ]
  given = dict(zip(flags, paths[::-1] if swap else paths, strict=True))
  given["mask"] = nifti(folder / "mask.nii", MASK)
  # Default with --phase, so that the angle of 0 does not matter.
  return imported(
    folder,
    given | more,
    signals=None if "align_phases" not in more else images(),
  )


def magnitude_and_phase_in_one(folder):
  pair = np.stack([np.abs(images()), np.angle(images())], -1)
  given = {"scan": nifti(folder / "series.nii", pair)}
  return imported(folder, given | {"mask": nifti(folder / "mask.nii", MASK)})


def signed_magnitude(folder):
  given = {"scan": nifti(folder / "real.nii", images().real.copy())}
  given["phase"] = nifti(folder / "phase.nii", np.angle(images()))
  return imported(folder, given)


def unsigned_parts(folder):
  """12-bit numbers whose 0 is 2048."""
  parts = {"scan": images().real, "imaginary": images().imag}
  given = {
    name: nifti(
      folder / f"{name}.nii", np.round(2048 + 1500 * part).astype("i2")
    )
    for name, part in parts.items()
  }
  return imported(folder, given)


def complex_above_zero(folder, *, kind):
  """A sound series whose real part is never negative: no inversion, masked."""
  series = np.where(
    HEAD[..., None] & ~SKULL[..., None], images(inversion=False), 0
  )
  if kind == "aligned":  # nothing but noise in the imaginary part
    phase = 0.4 + 0.04 * (X - 11)[..., None]
    series = (series * np.exp(-1j * phase)).astype(np.complex64)
  assert series.real.min() >= 0
  given = {"scan": nifti(folder / "series.nii", series)}
  given["mask"] = nifti(folder / "mask.nii", MASK)
  return imported(folder, given, signals=series)


def small_region(folder):
  region = np.hypot(X - 13, Y - 15) < 2.5
  return with_mask(folder, (region & (Z == 1)).astype(np.uint8))
