"""The head that Python programs simulate, and its files read again."""

import inspect

import numpy as np
import pytest

import mrf_jax
from configs.demo import get_config
from mrf_jax import UserError
from mrf_jax.experiment.settings import imperfections_of, phantom_options
from mrf_jax.simulation import head
from tests.simulation.examples import scan_head

# Of four images, any sequence explains nearly all.
pytestmark = pytest.mark.filterwarnings(
  "ignore:any sequence could explain:UserWarning"
)
ACQUISITION = mrf_jax.Acquisition(mrf_jax.tailored(96), window=48, stride=16)
SIZE = {"matrix": 32, "n_coils": 2, "noise_level": 0.05}


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
  """A head, and the folder of its raw data and schedule."""
  folder = tmp_path_factory.mktemp("scan")
  subject = mrf_jax.simulate_head(
    ACQUISITION, raw_path=folder / "scan.mrd", **SIZE
  )
  mrf_jax.save_sequence(subject.sequence, folder / "schedule.txt")
  return subject, folder


def test_values_are_those_of_the_demo():
  config = get_config()
  assert phantom_options(config.data) == head.PHANTOM
  assert config.reference.to_dict() == head.REFERENCE
  assert imperfections_of(config) == head.IMPERFECTIONS
  scan = config.scan
  assert scan.subspace_tolerance == head.SUBSPACE_TOLERANCE
  assert scan.spiral.to_dict() == {**head.SPIRAL, "samples_per_arm": 256}
  given = inspect.signature(mrf_jax.simulate_head).parameters
  grid = config.data.grid
  assert grid.fov_mm == head.FOV_MM
  for name in ("matrix", "slice_thickness_mm", "centre_z_mm"):
    assert given[name].default == grid[name]
  assert given["noise_level"].default == scan.noise_level


def test_head_is_whole(scanned):
  subject, _ = scanned
  assert subject.is_simulated
  assert subject.signals.shape == (subject.n_voxels, 4)
  assert 200 < subject.n_voxels < 32 * 32
  for maps in (subject.maps, subject.truth):
    assert 500 < np.median(maps.t1_ms) < 2000
  assert 2 < subject.true_b0_hz.std() < 50


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"seed": -1}, "simulate_head: seed is -1, not at least 0"),
    ({"matrix": 8}, "simulate_head: matrix is 8, not at least 16"),
    ({"noise_level": -0.1}, "noise_level is -0.1, not at least 0"),
    ({"centre_z_mm": 300.0}, "no brain in the slices around z = 300 mm"),
  ],
)
def test_impossible_heads_are_refused(options, message):
  with pytest.raises(UserError, match=message):
    mrf_jax.simulate_head(ACQUISITION, **options)


def load(folder, **options):
  """The scan from its raw data, or another scan of the same sequence."""
  given = {
    "scan": folder / "scan.mrd",
    "schedule": folder / "schedule.txt",
    "window": 48,
    "stride": 16,
  }
  return mrf_jax.load_scan(**{**given, **options})


def test_raw_data_are_read_again(scanned):
  subject, folder = scanned
  loaded = load(folder, subject="A")
  assert loaded.subject == "A"
  assert loaded.is_simulated
  assert loaded.field_strength_t == 1.5
  assert loaded.acquisition.difference(subject.acquisition) is None
  assert "no mask: the largest bright object" in loaded.provenance
  assert "the sequence explains" in loaded.provenance
  both = loaded.mask & subject.mask
  assert both.sum() > 0.9 * subject.n_voxels
  # Up to a phase and the coils' weights, the same signals.
  one = loaded.signals[both[loaded.mask]]
  other = subject.signals[both[subject.mask]]
  products = np.abs(np.sum(one * other.conj(), 1))
  norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
  assert np.median(products / norms) > 0.99


@pytest.fixture
def images(scanned, tmp_path):
  """The signals as images [x, y, slice, image], and how they are loaded."""
  subject, folder = scanned
  values = np.zeros((*subject.mask.shape, 4), np.complex64)
  values[subject.mask] = subject.signals
  values = values.transpose(2, 1, 0, 3)

  def load_images(**options):
    np.save(tmp_path / "scan.npy", values)
    return load(
      folder,
      scan=tmp_path / "scan.npy",
      field_strength_t=1.5,
      voxel_mm=(8, 8, 3),
      **options,
    )

  return values, load_images


def test_images_are_read(scanned, images):
  subject, _ = scanned
  loaded = images[1]()
  kept = loaded.mask & subject.mask
  np.testing.assert_array_equal(
    loaded.signals[kept[loaded.mask]], subject.signals[kept[subject.mask]]
  )
  assert np.linalg.norm(loaded.affine[:3, 0]) == 8


def test_misfit_is_an_error_or_a_warning(images):
  values, load_images = images
  values[..., 2] = 0
  problem = "1 image of 4 is zero in all voxels"
  with pytest.raises(UserError, match=problem):
    load_images()
  with pytest.warns(UserWarning, match=problem):
    accepted = load_images(misfit="accept")
  assert problem in accepted.provenance
  assert problem not in load_images(misfit="ignore").provenance


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"windows": 3}, "load_scan: the option: 'windows' is not one of .*voxel"),
    ({"schedule": "nowhere.txt"}, "nowhere.txt"),
    ({"window": 97}, "window 97 and stride 16 do not fit 96 frames"),
    ({"misfit": "perhaps"}, "misfit: 'perhaps' is not one of refuse, accept"),
    ({"n_frames": 90}, "has 96 acquisitions, but the sequence has 90 frames"),
  ],
)
def test_what_does_not_fit_is_refused(scanned, options, message):
  with pytest.raises(UserError, match=message):
    load(scanned[1], **options)


def test_an_ideal_scanner_gives_the_signals_of_before():
  """Numbers by commit b328164, which knew white noise only."""
  acquisition = mrf_jax.Acquisition(mrf_jax.tailored(96), 48, 24)
  subject = scan_head(acquisition, n_slices=2, noise_level=0.6)
  assert subject.n_voxels == 595
  signals = subject.signals
  assert np.linalg.norm(signals) == pytest.approx(3.4301677, rel=1e-5)
  np.testing.assert_allclose(
    signals[[0, 300, 590], [0, 1, 2]],
    [
      0.03833433 + 0.16973755j,
      -0.00293826 - 0.05053547j,
      -0.03851052 - 0.05928628j,
    ],
    atol=2e-5,
  )
  np.testing.assert_allclose(
    subject.maps.stack()[500], [0.7162146, 818.11554, 75.631226], rtol=1e-3
  )
  assert subject.noise_sd[500] == pytest.approx(0.039808694, rel=1e-5)
