"""One simulated object in many styles of acquisition, from files to maps.

Each style is scanned of the same T1 and T2, imported, and matched between the
atoms. Its errors are at most those of the plain style, one arm a frame.
"""

import functools

import mrd_files
import nibabel
import numpy as np
import pytest

import mrf_jax
from mrf_jax.importing.arm_files import delayed
from mrf_jax.kspace.encoding import NufftEncoding
from mrf_jax.kspace.off_resonance import OffResonance, make_time_segments
from mrf_jax.kspace.spiral import make_spiral
from tests.laws import complex_noise

MATRIX, N_FRAMES, N_ARMS, N_COILS, N_SAMPLES = 80, 120, 12, 4, 720
SEQUENCE = mrf_jax.tailored(N_FRAMES)
SPIRAL = make_spiral(
  matrix=MATRIX,
  n_arms=N_ARMS,
  samples_per_arm=N_SAMPLES,
  density_power=1.25,
)
READ_MS, FOV_MM, NOISE = 8.0, 220.0, 0.002
SAMPLE_US = 1e3 * READ_MS / N_SAMPLES
X, Y = np.meshgrid(*2 * [np.arange(MATRIX) - MATRIX // 2])
OBJECT = np.hypot(X, Y) < 27
# Squares of four tissues, and their voxels without those at the steps.
SIDE = 9
SQUARES = (X // SIDE) % 2 + 2 * ((Y // SIDE) % 2)
INNER = (np.hypot(X, Y) < 24) & (np.abs(X % SIDE - 4) < 3)
INNER &= np.abs(Y % SIDE - 4) < 3
T1_MS, T2_MS = [700, 1100, 1600, 2400], [60, 90, 140, 300]
# ± 100 Hz over the object.
FIELD_HZ = 100 * np.sin(np.pi * X / 54)


@functools.cache
def fingerprints():
  """Of the squares in a disc, [voxel, frame]."""
  echoes = mrf_jax.simulate_fingerprints(SEQUENCE, T1_MS, T2_MS)
  return echoes[SQUARES[OBJECT]].astype(np.complex64)


def sensitivities():
  angles = np.arange(N_COILS)[:, None, None] * 2 * np.pi / N_COILS
  near = (X / 40 - np.cos(angles)) ** 2 + (Y / 40 - np.sin(angles)) ** 2
  return np.exp(-near / 3 + 1j * angles).astype(np.complex64)


@functools.cache
def k_space(*, field: bool = False, late_us: float = 0.0):
  """Of all arms in all frames, [arm, frame, coil, sample]."""
  encoding = NufftEncoding(OBJECT, sensitivities())
  rates = 2j * np.pi * FIELD_HZ[OBJECT]
  times_s = 1e-6 * SAMPLE_US * np.arange(N_SAMPLES)
  segments = make_time_segments(rates, times_s, largest_error=1e-4)
  arms = []
  for positions in delayed(SPIRAL.trajectory, late_us / SAMPLE_US):
    one = encoding.of_samples(positions)
    if field:
      one = OffResonance(one, rates, segments)
    arms.append(one.forward(fingerprints()))
  noise = complex_noise(N_ARMS, N_FRAMES, N_COILS, N_SAMPLES)
  return np.stack(arms) + NOISE * noise


class Scan:
  """Acquisitions of a style, and what its file and its import need besides.

  Attributes:
    samples: [acquisition, coil, sample].
    arms: of each acquisition.
    counters: of each acquisition.
    written: further options of the file.
    given: further options of the import.
  """

  def __init__(self, frames, arms, **source):
    """Takes the arm of each acquisition in its frame."""
    self.samples = k_space(**source)[arms, frames]
    self.arms = np.asarray(arms)
    self.counters = {"repetition": np.asarray(frames)}
    self.written, self.given = {}, {}

  def counted(self, **counters):
    """The same with further counters."""
    self.counters |= counters
    return self

  def maps(self, folder):
    """T1 and T2 of the inner voxels, and what the import said."""
    options = {
      "matrix": MATRIX,
      "fov_mm": FOV_MM,
      "sample_time_us": SAMPLE_US,
      **self.written,
    }
    trajectory = options.pop("trajectory", SPIRAL.trajectory[self.arms])
    path = mrd_files.write(
      folder / "scan.mrd",
      self.samples[None],
      trajectory,
      counters=self.counters,
      **options,
    )
    schedule = folder / "train.txt"
    mrf_jax.save_sequence(SEQUENCE, schedule)
    subject = mrf_jax.load_scan(
      path,
      schedule=schedule,
      window=N_ARMS,
      stride=2,
      mask=self.mask(folder),
      voxel_by_voxel=True,
      misfit="ignore",
      **self.given,
    )
    found = mrf_jax.match_off_grid(matcher(), subject.signals, b1=1.0)
    return np.stack([found.maps.t1_ms, found.maps.t2_ms]), subject.provenance

  def mask(self, folder):
    """Mask of the inner voxels of the middle slice, as the images have them."""
    width = self.written.get("matrix", MATRIX)
    height = self.written.get("height", width)
    depth = self.written.get("depth", 1)
    first = MATRIX // 2 - height // 2, MATRIX // 2 - width // 2
    cut = INNER[first[0] :, first[1] :][:height, :width]
    mask = np.zeros((width, height, depth), np.uint8)
    mask[..., depth // 2] = cut.T
    path = folder / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([5.0, 5, 5, 1])), path)
    return path


@functools.cache
def matcher():
  return mrf_jax.make_off_grid_matcher(
    mrf_jax.Acquisition(SEQUENCE, N_ARMS, 2),
    t1_ms=(300, 4000),
    t2_ms=(20, 800),
    b1=(1.0, 1.0),
    rank=12,
  )


FRAMES = np.arange(N_FRAMES)
ALL_FRAMES = np.tile(FRAMES, N_ARMS)
ALL_ARMS = np.repeat(np.arange(N_ARMS), N_FRAMES)


def plain(**source):
  return Scan(FRAMES, FRAMES % N_ARMS, **source)


def several_arms(**source):
  scan = Scan(ALL_FRAMES, ALL_ARMS, **source)
  return scan.counted(kspace_encode_step_1=ALL_ARMS)


def averages():
  scan = Scan(np.tile(FRAMES, 2), np.tile(FRAMES % N_ARMS, 2))
  return scan.counted(average=np.repeat([0, 1], N_FRAMES))


def missing_arms():
  """A quarter of the arms of each frame, others in the next one."""
  kept = (ALL_ARMS + ALL_FRAMES) % 4 > 0
  # Frames that lost three have as many as the others: some lose one more.
  kept &= ~((ALL_FRAMES % 5 == 0) & (ALL_ARMS == 3))
  scan = Scan(ALL_FRAMES[kept], ALL_ARMS[kept])
  return scan.counted(kspace_encode_step_1=ALL_ARMS[kept])


def rectangular():
  scan = plain()
  scan.written = {"matrix": 60, "height": 70, "fov_mm": FOV_MM * 60 / MATRIX}
  return scan


def correlated_coils():
  scan = several_arms()
  mixing = np.eye(N_COILS)
  mixing[1, 1], mixing[3, 2] = 10, 0.7

  def noise(n, n_samples, seed):
    white = complex_noise(n, N_COILS, n_samples, seed=seed)
    other = complex_noise(n, N_COILS, n_samples, seed=seed + 1)
    return NOISE * (white + 0.3 * mixing @ other)

  # That of the scan has the white part already.
  white = complex_noise(*scan.samples.shape, seed=6)
  scan.samples = scan.samples + 0.3 * NOISE * (mixing @ white)
  scan.written = {"noise": noise(20, 200, 7)}
  return scan


def partitions():
  scan = plain()
  n, brightness = 4, np.array([0.3, 0.6, 1.0, 0.5])
  z, steps = np.arange(n) - n // 2, np.arange(n)
  waves = np.exp(-2j * np.pi * (steps - n // 2)[:, None] * z / n) @ brightness
  scan.samples = np.concatenate([wave * scan.samples for wave in waves])
  scan.arms = np.tile(scan.arms, n)
  scan.counters = {
    "repetition": np.tile(FRAMES, n),
    "kspace_encode_step_2": np.repeat(steps, N_FRAMES),
  }
  scan.written = {"partitions": n, "depth": n}
  return scan


def with_trajectory_elsewhere(folder):
  scan = plain()
  arms = SPIRAL.trajectory * MATRIX
  np.save(folder / "arms.npy", arms[..., 0] + 1j * arms[..., 1])
  scan.counted(kspace_encode_step_1=scan.arms)
  scan.written = {"trajectory": np.zeros((N_FRAMES, N_SAMPLES, 0))}
  scan.given = {"trajectory": folder / "arms.npy"}
  return scan


def with_field(folder):
  scan = several_arms(field=True)
  values = FIELD_HZ.T[..., None].astype(np.float32)
  path = folder / "b0.nii.gz"
  nibabel.save(nibabel.Nifti1Image(values, np.diag([5.0, 5, 5, 1])), path)
  scan.given = {"b0_map": path}
  return scan


def with_delay(folder):
  del folder
  scan = several_arms(late_us=3.0)
  scan.given = {"delay_us": 3.0}
  return scan


# Styles of one arm a frame, and those of as many as k-space needs, each with
# what the import says of them.
ONE_ARM = {
  "averages": (lambda folder: averages(), "counted by average"),
  "rectangular": (lambda folder: rectangular(), "mask.nii.gz"),
  "partitions": (lambda folder: partitions(), "4 partitions are transformed"),
  "trajectory elsewhere": (with_trajectory_elsewhere, "arms.npy, of 12 arms"),
}
SEVERAL_ARMS = {
  "missing arms": (lambda folder: missing_arms(), "acquisitions are missing"),
  "correlated coils": (lambda folder: correlated_coils(), "is whitened by"),
  "field": (with_field, "images are sharper with it"),
  "delay": (with_delay, "late by 3 µs"),
}
# Largest errors over those of the plain style, where they are above 1.05: a
# quarter of the samples is missing, or each has more noise.
MOST = {"missing arms": 1.8, "correlated coils": 1.15}


def errors(maps):
  """RMSE of T1 and T2, ms."""
  truth = np.array([T1_MS, T2_MS], float)[:, SQUARES[INNER]]
  return np.sqrt(np.mean((maps - truth) ** 2, 1))


@pytest.fixture(scope="module")
def of_one_arm(tmp_path_factory):
  return errors(plain().maps(tmp_path_factory.mktemp("plain"))[0])


@pytest.fixture(scope="module")
def of_several_arms(tmp_path_factory):
  return errors(several_arms().maps(tmp_path_factory.mktemp("several"))[0])


def check(style, styles, folder, wanted):
  make, words = styles[style]
  maps, said = make(folder).maps(folder)
  assert words in said
  ratios = errors(maps) / wanted
  assert (ratios < MOST.get(style, 1.05)).all(), ratios


@pytest.mark.parametrize("style", ONE_ARM)
def test_styles_of_one_arm(style, of_one_arm, tmp_path):
  check(style, ONE_ARM, tmp_path, of_one_arm)


@pytest.mark.parametrize("style", SEVERAL_ARMS)
def test_styles_of_several_arms(style, of_several_arms, tmp_path):
  check(style, SEVERAL_ARMS, tmp_path, of_several_arms)


def test_several_arms_leave_no_aliasing(of_one_arm, of_several_arms):
  assert (of_several_arms < 0.3 * of_one_arm).all()


@pytest.mark.parametrize(
  "source", [{"field": True}, {"late_us": 3.0}], ids=["field", "delay"]
)
def test_what_a_correction_mends(source, of_several_arms, tmp_path):
  """A field of ± 100 Hz during 8 ms, and gradients that are late."""
  maps, _ = several_arms(**source).maps(tmp_path)
  ratios = errors(maps) / of_several_arms
  assert (ratios > 1.5).all(), ratios
