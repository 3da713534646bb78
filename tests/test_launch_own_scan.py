"""Import and reconstruction of a scan of one's own, as a user calls them."""

import h5py
import nibabel
import numpy as np
import pytest
from test_launch import fails_in_one_line

from mrf_jax import load_model, load_subject, reconstruct
from tests.launcher import RAW


@pytest.fixture
def train(tmp_path):
  """A schedule of 96 frames, and the flags of an import with it."""
  path = tmp_path / "train.txt"
  np.savetxt(path, np.full(96, 12.0))
  return path, [
    "--mode=import",
    f"--schedule={path}",
    "--field_strength_t=1.5",
    "--voxel_mm=2,2,5",
  ]


def test_from_raw_data_to_maps(launch, smoke, tmp_path):
  launch.succeed(*RAW, f"--workdir={tmp_path / 'run'}")
  raw = tmp_path / "run/raw/subject-00.mrd"
  bundle = smoke / "models/spatiotemporal_plus/fold-0"
  done = launch.succeed(
    "--mode=reconstruct",
    f"--model={bundle}",
    f"--scan={raw}",
    "--uncertainty",
    f"--output={tmp_path / 'maps'}",
  )
  assert "no mask: the largest bright object" in done.stdout
  subject = load_subject(tmp_path / "run/data/subject-00.h5")
  found = {}
  for name in ("pd", "t1", "t2", "pd_sd", "t1_sd", "t2_sd"):
    image = nibabel.load(tmp_path / f"maps/{name}.nii.gz")
    np.testing.assert_allclose(image.affine, subject.affine, atol=1e-3)
    found[name] = image.get_fdata().transpose(2, 1, 0)
    assert np.isfinite(found[name]).all()
  # Those of the subject file, whose coils are known, the right way round.
  wanted = np.zeros(subject.mask.shape)
  wanted[subject.mask] = reconstruct(load_model(bundle), subject).t1_ms
  inside = subject.mask & (found["t1"] != 0)
  assert inside.sum() > 0.9 * subject.n_voxels

  def alike(values):
    return np.corrcoef(values[inside], wanted[inside])[0, 1]

  # Voxels of 8 mm and a network of two epochs do not show much.
  assert alike(found["t1"]) > 0.12
  for turned in (found["t1"][:, ::-1], found["t1"][:, :, ::-1]):
    assert alike(turned) < alike(found["t1"]) - 0.08


def test_import_names_what_is_wrong(launch, train, tmp_path):
  images = np.ones((8, 8, 2, 96, 2), np.float32)
  images[0, 0, 0, 0] = np.nan
  np.save(tmp_path / "nan.npy", images)
  np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
  np.save(tmp_path / "short.npy", images[..., :50, :])
  options = [*train[1], f"--output={tmp_path / 's.h5'}"]
  for name, words in (
    ("nan.npy", ["nan.npy", "finite"]),
    ("objects.npy", ["objects.npy"]),
    ("short.npy", ["50 images", "96"]),
    ("gone.npy", ["gone.npy"]),
  ):
    done = launch(*options, f"--scan={tmp_path / name}")
    fails_in_one_line(done, *words)
    assert not (tmp_path / "s.h5").exists()


def test_import_spares_what_is_there(launch, train, tmp_path):
  schedule, flags = train
  images = np.random.default_rng(0).normal(size=(8, 8, 2, 96, 2))
  np.save(tmp_path / "scan.npy", images.astype(np.float32))
  other = tmp_path / "other.h5"
  with h5py.File(other, "w") as file:
    file["mine"] = np.ones(3)
  link = tmp_path / "link.h5"
  link.symlink_to(schedule)
  # Noise, which no sequence explains.
  options = [*flags, f"--scan={tmp_path / 'scan.npy'}", "--misfit=ignore"]
  for path, words in (
    (other, "other.h5 exists and is not a subject file"),
    (link, "link.h5 is --schedule itself"),
  ):
    before = path.read_bytes()
    fails_in_one_line(launch(*options, f"--output={path}"), words)
    assert path.read_bytes() == before
  done = launch.succeed(*options, f"--output={tmp_path / 'new.h5'}")
  for said in (
    "assumed: TR 15 ms, TE 2 ms, inversion time 20 ms",
    "phase of the images is taken as it is",
  ):
    assert said in done.stdout
  # Said, it is not assumed; a subject file gives way to a new one.
  times = ("--tr_ms=12", "--te_ms=3", "--inversion_time_ms=none")
  done = launch.succeed(*options, *times, f"--output={tmp_path / 'new.h5'}")
  assert "assumed" not in done.stdout


def test_reconstruct_names_what_is_wrong(launch, smoke, tmp_path):
  out = tmp_path / "out"
  bundle = smoke / "models/cohen/fold-0"
  scan = f"--scan={smoke / 'data/subject-00.h5'}"
  model = f"--model={bundle}"
  gone = "configs/nope.py"
  for given, words in (
    ([scan], ["--model is missing"]),
    ([scan, model, "--uncertainty"], ["--model=A,B"]),
    (
      [scan, "--model=dictionary", f"--config={gone}"],
      [f"{gone}: there is no such"],
    ),
    ([scan, model, "--epochs=3"], ["--epochs", "finetune"]),
    ([f"--scan={bundle}/model.json", model], ["model.json"]),
    ([f"--scan={bundle}", model], [bundle]),
  ):
    done = launch("--mode=reconstruct", f"--output={out}", *given)
    fails_in_one_line(done, *words)
    assert not out.exists()
