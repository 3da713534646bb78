"""Series of images in every format, and in damaged files."""

import gzip

import h5py
import nibabel
import numpy as np
import pytest
import scipy.io

from mrf_jax import UserError
from mrf_jax.importing.series import open_series
from tests.faults.edits import patched
from tests.io.matlab_files import save_v73

SHAPE = (4, 5, 3, 7)
AFFINE = np.array(
  [[-2.0, 0, 0.3, 10], [0, 1.5, 0, -20], [0.1, 0, 5, 30], [0, 0, 0, 1]]
)


@pytest.fixture
def images():
  rng = np.random.default_rng(0)
  pairs = rng.standard_normal((*SHAPE, 2), np.float32)
  return pairs.view(np.complex64)[..., 0]


def nifti(path, values, affine=AFFINE, kind=nibabel.Nifti1Image):
  nibabel.save(kind(values, affine), path)
  return path


def matlab73(path, **variables):
  """Compressed file as MATLAB 7.3 writes it."""
  save_v73(path, variables, chunks=True, compression="gzip")
  return path


def write(kind, folder, images):
  """Writes the images in one format; returns arguments of `open_series`."""
  real, imaginary = images.real.copy(), images.imag.copy()
  if kind in ("scan.nii", "scan.nii.gz"):
    return {"path": nifti(folder / kind, images)}
  if kind == "nifti2":
    return {"path": nifti(folder / "b.nii", images, kind=nibabel.Nifti2Image)}
  if kind == "pair.nii":
    return {
      "path": nifti(folder / "real.nii", real),
      "imaginary_path": nifti(folder / "imaginary.nii", imaginary),
    }
  if kind == "five axes":
    return {"path": nifti(folder / "s.nii", np.stack([real, imaginary], -1))}
  if kind == "scaled":
    # Scaled 16-bit integers, as converters of scanner images write them.
    paths = {"path": "re.nii.gz", "imaginary_path": "im.nii.gz"}
    paths = {name: folder / file for name, file in paths.items()}
    for path, values in zip(paths.values(), (real, imaginary), strict=True):
      image = nibabel.Nifti1Image(values, AFFINE)
      image.set_data_dtype(np.int16)
      nibabel.save(image, path)
    return paths
  if kind == "mat5":
    scipy.io.savemat(folder / "a.mat", {"scan": images, "fa": np.arange(9.0)})
    return {"path": folder / "a.mat"}
  if kind == "mat73":
    path = matlab73(folder / "a.mat", scan=images, other=np.zeros((3, 1)))
    return {"path": path}
  if kind == "mat73 pair":
    path = matlab73(folder / "a.mat", re=real, im=imaginary)
    return {"path": path, "variable": "re", "imaginary_variable": "im"}
  if kind == "npz":
    np.savez_compressed(folder / "a.npz", scan=images, tr=np.ones(3))
    return {"path": folder / "a.npz"}
  order = "F" if kind == "fortran" else "C"
  np.save(folder / "a.npy", np.asarray(images, order=order))
  return {"path": folder / "a.npy"}


def signals_of(series):
  """Signals of all voxels, x fastest."""
  return series.signals(np.ones(series.shape[2::-1], bool))


def in_order(images):
  """Signals that `signals_of` gives for images [x, y, slice, frame]."""
  return images.transpose(2, 1, 0, 3).reshape(-1, images.shape[-1])


NIFTI = ["scan.nii", "scan.nii.gz", "nifti2", "pair.nii", "five axes", "scaled"]
OTHERS = ["mat5", "mat73", "mat73 pair", "npz", "npy", "fortran"]


@pytest.mark.parametrize("kind", [*NIFTI, *OTHERS])
def test_every_format_gives_the_same_signals(
  kind, images, tmp_path, monkeypatch
):
  # Several pieces, the last one shorter.
  two_images = 4 * 5 * 3 * 8 * 2
  monkeypatch.setattr("mrf_jax.importing.series._PIECE_BYTES", two_images)
  series = open_series(**write(kind, tmp_path, images))
  assert series.shape == SHAPE
  assert (series.place is not None) == (kind in NIFTI)
  if kind in NIFTI:
    np.testing.assert_allclose(series.place.affine, AFFINE, atol=1e-5)
  mask = np.random.default_rng(1).random(SHAPE[2::-1]) < 0.4
  atol = 2e-4 if kind == "scaled" else 0
  signals = series.signals(mask)
  assert signals.dtype == np.complex64
  expected = images.transpose(2, 1, 0, 3)[mask]
  np.testing.assert_allclose(signals, expected, atol=atol)
  np.testing.assert_allclose(
    series.mean_magnitude(), np.abs(images).mean(-1), rtol=1e-4, atol=atol
  )


@pytest.mark.parametrize("half_turn", [np.pi, 180.0, 4096.0])
def test_magnitude_and_phase_are_refused(half_turn, images, tmp_path):
  phase = np.angle(images) * half_turn / np.pi
  np.save(tmp_path / "m.npy", np.abs(images).astype(np.float32))
  np.save(tmp_path / "p.npy", phase.astype(np.float32))
  paths = {"path": tmp_path / "m.npy", "imaginary_path": tmp_path / "p.npy"}
  with pytest.raises(UserError, match="are these magnitude and phase"):
    open_series(**paths).mean_magnitude()


def test_magnitude_and_phase_of_two_variables(images, tmp_path):
  """In degrees, whose unit a few voxels do not tell."""
  magnitude, phase = np.abs(images), np.rad2deg(np.angle(images))
  path = tmp_path / "a.mat"
  scipy.io.savemat(path, {"m": magnitude, "p": phase})
  names = {"variable": "m", "imaginary_variable": "p", "phase_path": path}
  series = open_series(path, **names, phase_turn=360.0)
  expected = in_order(images)
  np.testing.assert_allclose(signals_of(series), expected, atol=1e-6)
  assert np.all(series.mean_magnitude() > 0)
  with pytest.raises(UserError, match="one too many"):
    np.save(tmp_path / "c.npy", images)
    np.save(tmp_path / "p.npy", phase)
    open_series(tmp_path / "c.npy", phase_path=tmp_path / "p.npy")
  with pytest.raises(UserError, match="only one of them"):
    open_series(path, **names, imaginary_path=path)


@pytest.mark.parametrize("axes", ["tzyx", "xtyz", "zxyt"])
def test_axes_in_any_order(axes, images, tmp_path):
  order = ["xyzt".index(letter) for letter in axes]
  np.save(tmp_path / "a.npy", images.transpose(order))
  series = open_series(tmp_path / "a.npy", axes=axes)
  assert series.shape == SHAPE
  np.testing.assert_array_equal(signals_of(series), in_order(images))


def test_affine_follows_the_axes(images, tmp_path):
  """A coronal series: slices along the file's second axis."""
  path = nifti(tmp_path / "a.nii", images)
  series = open_series(path, axes="xzyt")
  assert series.shape == (4, 3, 5, 7)
  position = AFFINE @ [1, 2, 0, 1]
  np.testing.assert_allclose(series.place.affine @ [1, 0, 2, 1], position)


def test_a_single_slice(images, tmp_path):
  np.save(tmp_path / "a.npy", images[:, :, 0])
  series = open_series(tmp_path / "a.npy")
  assert series.shape == (4, 5, 1, 7)
  expected = in_order(images[:, :, :1])
  np.testing.assert_array_equal(signals_of(series), expected)


def test_metres_become_millimetres(images, tmp_path):
  image = nibabel.Nifti1Image(images, np.diag([0.002, 0.002, 0.005, 1]))
  image.header.set_xyzt_units(xyz="meter")
  nibabel.save(image, tmp_path / "a.nii")
  affine = open_series(tmp_path / "a.nii").place.affine
  np.testing.assert_allclose(np.diag(affine), [2, 2, 5, 1], rtol=1e-6)


class Evil:
  """Object that writes a file when it is unpickled."""

  def __reduce__(self):
    return open, ("evil", "w")


@pytest.mark.parametrize(
  "kind", ["scan.nii", "scan.nii.gz", "mat5", "mat73", "npz", "npy"]
)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_truncated_file(kind, share, images, tmp_path):
  options = write(kind, tmp_path, images)
  data = options["path"].read_bytes()
  options["path"].write_bytes(data[: int(share * len(data))])
  with pytest.raises(UserError) as caught:
    signals_of(open_series(**options))
  message = str(caught.value)
  assert str(options["path"]) in message and "\n" not in message


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_nothing_is_unpickled(suffix, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  array = np.empty((2, 2, 2, 2), object)
  array[:] = Evil()
  path = tmp_path / f"a.{suffix}"
  save = np.save if suffix == "npy" else np.savez
  save(path, array, allow_pickle=True)
  assert not (tmp_path / "evil").exists()
  with pytest.raises(UserError, match=r"a\.np"):
    open_series(path, **({"variable": "arr_0"} if suffix == "npz" else {}))
  assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("offset", [0, 100, 348])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_offset_within_the_header(offset, suffix, images, tmp_path):
  """A vox_offset within the header means the header's end (nifti1.h)."""
  path = nifti(tmp_path / "a.nii", images)
  patched(108, np.float32(offset).tobytes())(path)
  if suffix == "nii.gz":
    data = path.read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(data))
  signals = signals_of(open_series(path))
  np.testing.assert_array_equal(signals, in_order(images))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_header_extensions_are_skipped(kind, images, tmp_path):
  image = kind(images, AFFINE)
  image.header.extensions.append(
    nibabel.nifti1.Nifti1Extension("comment", b"x" * 999)
  )
  nibabel.save(image, tmp_path / "a.nii.gz")
  stored = nibabel.load(tmp_path / "a.nii.gz")
  assert stored.dataobj.offset > 1300
  signals = signals_of(open_series(tmp_path / "a.nii.gz"))
  expected = in_order(np.asarray(stored.dataobj))
  np.testing.assert_array_equal(signals, expected)


def test_bytes_after_the_values(images, tmp_path):
  path = nifti(tmp_path / "a.nii", images)
  data = path.read_bytes()
  path = tmp_path / "a.nii.gz"
  path.write_bytes(gzip.compress(data + bytes(1000)))
  signals = signals_of(open_series(path))
  np.testing.assert_array_equal(signals, in_order(images))
  packed = bytearray(path.read_bytes())
  packed[-8] ^= 1  # in the checksum of gzip
  path.write_bytes(packed)
  with pytest.raises(UserError, match="CRC check failed"):
    signals_of(open_series(path))
  path.write_bytes(gzip.compress(data + bytes(2 << 20)))
  with pytest.raises(UserError, match="follow the values"):
    signals_of(open_series(path))


def test_header_that_claims_too_much(images, tmp_path):
  path = nifti(tmp_path / "a.nii", images)
  patched(42, np.array([32767] * 4, "<i2").tobytes())(path)
  (tmp_path / "b.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
  with h5py.File(tmp_path / "c.mat", "w") as file:
    file.create_dataset("scan", (1 << 20, 1 << 10, 9, 9), "f4", chunks=True)
  for name in ("a.nii", "b.nii.gz", "c.mat"):
    with pytest.raises(UserError, match="more than the file can hold"):
      open_series(tmp_path / name)


def test_nan_is_counted(images, tmp_path):
  images[1, 2, 0, 3] = np.nan
  np.save(tmp_path / "a.npy", images)
  with pytest.raises(UserError, match="1 voxels"):
    open_series(tmp_path / "a.npy").mean_magnitude()


@pytest.mark.parametrize(
  ("values", "options", "words"),
  [
    (np.zeros((3, 4, 5, 6)), {}, "imaginary part is needed"),
    (np.zeros((3, 4), np.complex64), {}, "three to five axes"),
    (np.zeros((0, 4, 5), np.complex64), {}, "empty"),
    (np.zeros((3, 4, 5), "U3"), {}, "not real or complex"),
    (np.zeros((3, 4, 5), bool), {}, "not real or complex"),
    (np.zeros((3, 4, 5), np.complex64), {"axes": "xy"}, "does not fit"),
    (np.zeros((3, 4, 5), np.complex64), {"axes": "xyy"}, "does not fit"),
    (np.zeros((3, 4, 5), np.complex64), {"axes": "xyq"}, "does not fit"),
    (np.zeros((3, 4, 5, 6, 3)), {}, "axis c"),
    (np.zeros((3, 4, 5, 6, 2), np.complex64), {}, "one too many"),
    (np.zeros((3, 4, 5), np.complex64), {"variable": "x"}, "no variable"),
  ],
)
def test_arrays_that_are_no_series(values, options, words, tmp_path):
  np.save(tmp_path / "a.npy", values)
  with pytest.raises(UserError, match=words):
    open_series(tmp_path / "a.npy", **options)


def test_parts_that_do_not_match(images, tmp_path):
  np.save(tmp_path / "re.npy", images.real)
  for values, words in (
    (images.imag[..., :5], "shape"),
    (images, "complex"),
    (np.asarray(images.imag, order="F"), "another order"),
  ):
    np.save(tmp_path / "im.npy", values)
    with pytest.raises(UserError, match=words):
      open_series(tmp_path / "re.npy", imaginary_path=tmp_path / "im.npy")


def test_choice_of_variable(images, tmp_path):
  path = tmp_path / "a.mat"
  scipy.io.savemat(path, {"a": images, "b": images, "c": {"x": 1}})
  for options, words in (
    ({}, "2 of its arrays"),
    ({"variable": "d"}, "no array 'd'"),
    ({"variable": "c"}, "struct"),
  ):
    with pytest.raises(UserError, match=words):
      open_series(path, **options)
  assert open_series(path, variable="b").shape == SHAPE


@pytest.mark.parametrize("name", ["a.nii", "a.mat", "a.npy", "a.npz", "a.dcm"])
def test_missing_and_other_files(name, tmp_path):
  with pytest.raises(UserError, match="no such file"):
    open_series(tmp_path / name)
  (tmp_path / name).write_text("no series, but longer than a header\n" * 20)
  with pytest.raises(UserError, match=name):
    open_series(tmp_path / name)
