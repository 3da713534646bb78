"""ISMRMRD files: every layout of the header, and damaged files."""

import re

import h5py
import numpy as np
import pytest

from mrf_jax import UserError, load_raw_data
from mrf_jax.io.ismrmrd_reader import _heads
from tests.faults.edits import cut
from tests.launcher import run_python

N_ACQUISITIONS, N_COILS, N_SAMPLES = 7, 3, 5

# Fields of the ISMRMRD acquisition header, version 1.
_HEAD = [
  ("version", "<u2"),
  ("flags", "<u8"),
  ("measurement_uid", "<u4"),
  ("scan_counter", "<u4"),
  ("acquisition_time_stamp", "<u4"),
  ("physiology_time_stamp", "<u4", (3,)),
  ("number_of_samples", "<u2"),
  ("available_channels", "<u2"),
  ("active_channels", "<u2"),
  ("channel_mask", "<u8", (16,)),
  ("discard_pre", "<u2"),
  ("discard_post", "<u2"),
  ("center_sample", "<u2"),
  ("encoding_space_ref", "<u2"),
  ("trajectory_dimensions", "<u2"),
  ("sample_time_us", "<f4"),
  ("position", "<f4", (3,)),
]
_XML = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
  <acquisitionSystemInformation>
    <systemVendor>Müller MR</systemVendor>
    <systemFieldStrength_T>1.494</systemFieldStrength_T>
  </acquisitionSystemInformation>
  <encoding>
    <encodedSpace>
      <matrixSize><x>128</x><y>64</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>460</x><y>230</y><z>5</z></fieldOfView_mm>
    </encodedSpace>
    <reconSpace>
      <matrixSize><x>64</x><y>60</y><z>1</z></matrixSize>
      <fieldOfView_mm><x>230.5</x><y>220</y><z>5</z></fieldOfView_mm>
    </reconSpace>
  </encoding>
</ismrmrdHeader>"""


def acquisitions(n_dimensions=2):
  """Header, positions and complex samples of each acquisition."""
  rng = np.random.default_rng(0)
  shape = (N_ACQUISITIONS, N_COILS, N_SAMPLES)
  samples = rng.normal(size=shape) + 1j * rng.normal(size=shape)
  trajectory = rng.uniform(-0.5, 0.5, (*shape[::2], n_dimensions))
  head = {
    "number_of_samples": N_SAMPLES,
    "active_channels": N_COILS,
    "trajectory_dimensions": n_dimensions,
  }
  return [
    [dict(head), position.astype(np.float32), values.astype(np.complex64)]
    for position, values in zip(trajectory, samples, strict=True)
  ]


def layout(fields, padded):
  """A compound type, aligned as a C compiler does if `padded`."""
  aligned = np.dtype(fields, align=padded)
  names = list(aligned.names)
  # Spelled out, since h5py refuses types that must stay aligned.
  return np.dtype(
    {
      "names": names,
      "formats": [aligned[name] for name in names],
      "offsets": [aligned.fields[name][1] for name in names],
      "itemsize": aligned.itemsize,
    }
  )


def row_type(kind, padded=True, left_out=()):
  """Compound type of an acquisition with lists of one kind of numbers."""
  fields = [field for field in _HEAD if field[0] not in left_out]
  lists = h5py.vlen_dtype(kind)
  head = layout(fields, padded)
  return layout([("head", head), ("traj", lists), ("data", lists)], padded)


def write(path, items, *, padded=True, xml=_XML, left_out=()):
  """An ISMRMRD file of header, positions and samples of each acquisition."""
  rows = np.zeros(len(items), row_type(np.float32, padded, left_out))
  for row, (head, positions, values) in zip(rows, items, strict=True):
    for name, value in head.items():
      row["head"][name] = value
    row["traj"] = positions.ravel()
    row["data"] = np.ascontiguousarray(values).view(np.float32).ravel()
  with h5py.File(path, "w") as file:
    file["dataset/data"] = rows
    if xml is not None:
      file["dataset/xml"] = np.array([xml], h5py.string_dtype())
  return path


@pytest.fixture
def path(tmp_path):
  return tmp_path / "scan.mrd"


def refusal(path):
  """The error in one line, without the file's name that it begins with."""
  with pytest.raises(UserError) as caught:
    load_raw_data(path)
  message = str(caught.value)
  assert message.startswith(f"{path}: ")
  assert "\n" not in message
  return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("n_dimensions", [0, 2, 3])
def test_values_of_every_layout(path, padded, n_dimensions):
  items = acquisitions(n_dimensions)
  raw = load_raw_data(write(path, items, padded=padded))
  assert raw.samples.dtype == np.complex64
  np.testing.assert_array_equal(raw.samples, [item[2] for item in items])
  if n_dimensions:
    assert raw.trajectory.dtype == np.float32
    np.testing.assert_array_equal(raw.trajectory, [item[1] for item in items])
  else:
    assert raw.trajectory is None


def test_padding_reaches_the_file(path):
  sizes = []
  for padded in (True, False):
    with h5py.File(write(path, acquisitions(), padded=padded)) as file:
      sizes.append(file["dataset/data"].dtype["head"].itemsize)
  assert sizes[0] > sizes[1]


def test_order_over_several_blocks(path):
  items = acquisitions() * 90
  for index, item in enumerate(items):
    item = items[index] = list(item)
    item[2] = np.full_like(item[2], index)
  raw = load_raw_data(write(path, items))
  assert len(raw.samples) == len(items) > 512
  np.testing.assert_array_equal(raw.samples[:, 1, 2], np.arange(len(items)))


def test_fields_of_the_xml_header(path):
  raw = load_raw_data(write(path, acquisitions()))
  assert raw.fov_mm == (230.5, 220.0, 5.0)
  assert raw.matrix == (64, 60, 1)
  assert raw.vendor == "Müller MR"
  assert raw.field_strength_t == 1.494


@pytest.mark.parametrize(
  "xml",
  [
    None,
    '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding/>'
    "</ismrmrdHeader>",
  ],
)
def test_missing_fields_are_none(path, xml):
  raw = load_raw_data(write(path, acquisitions(), xml=xml))
  assert raw.fov_mm is raw.matrix is raw.vendor is None
  assert raw.field_strength_t is None


def test_noise_measurements_are_left_out(path):
  items = acquisitions()
  # Flag 19 is bit 18; bit 17 marks the last of a segment, 18 and 20 together
  # noise, and 19 and 20 calibration that is imaging, too.
  for index, flags in enumerate([1 << 18, 1 << 17, 3 << 19, 0x140000]):
    items[index][0]["flags"] = flags
  # Noise may have another size and no trajectory.
  items[0][0].update(number_of_samples=2, trajectory_dimensions=0)
  items[0][1:] = np.zeros(0, np.float32), np.full((N_COILS, 2), np.nan + 0j)
  items[0][2] = items[0][2].astype(np.complex64)
  raw = load_raw_data(write(path, items))
  kept = [items[index] for index in (1, 2, 4, 5, 6)]
  np.testing.assert_array_equal(raw.samples, [item[2] for item in kept])
  np.testing.assert_array_equal(raw.trajectory, [item[1] for item in kept])
  assert raw.notes == ("left out by their flags: 2 noise acquisitions",)


@pytest.mark.parametrize("flag", [20, 23, 24, 26, 27, 28, 29, 30, 31])
def test_acquisitions_that_are_no_images_are_left_out(path, flag):
  items = acquisitions()
  items[1][0].update(flags=1 << (flag - 1), number_of_samples=2)
  items[1][0]["active_channels"] = 1
  items[1][1:] = items[1][1][:2], np.full((1, 2), np.nan, np.complex64)
  raw = load_raw_data(write(path, items))
  kept = [item[2] for index, item in enumerate(items) if index != 1]
  np.testing.assert_array_equal(raw.samples, kept)
  assert raw.notes[0].startswith("left out by their flags: 1 ")


@pytest.mark.parametrize(
  ("flag", "words"), [(22, "reverse"), (53, "compressed")]
)
def test_flags_that_change_what_is_stored(path, flag, words):
  items = acquisitions()
  items[4][0]["flags"] = 1 << (flag - 1)
  message = refusal(write(path, items))
  assert message.startswith("acquisition 4 is") and words in message


def test_measurements_in_groups_of_their_own(path):
  items = acquisitions()
  write(path, items)
  noise = acquisitions()
  for head, _, _ in noise:
    head["flags"] = 1 << 18
  with h5py.File(path, "a") as file:
    file.move("dataset", "dataset_2")
  assert load_raw_data(path).matrix == (64, 60, 1)
  other = write(path.with_name("noise"), noise)
  with h5py.File(other) as source, h5py.File(path, "a") as file:
    source.copy("dataset", file, "dataset")
  raw = load_raw_data(path)
  np.testing.assert_array_equal(raw.samples, [item[2] for item in items])
  assert "dataset_2 is read, the only measurement of 2" in raw.notes[0]
  with h5py.File(path, "a") as file:
    file.copy("dataset_2", "dataset_3")
  message = refusal(path)
  assert "2 measurements with acquisitions of images (dataset_2, da" in message


def encodings(*matrices):
  """The header with several encodings of other matrices."""
  start, end = _XML.index("<encoding>"), _XML.index("</ismrmrdHeader>")
  one = _XML[start:end]
  every = [one.replace(">64<", f">{matrix}<") for matrix in matrices]
  return _XML[:start] + "".join(every) + _XML[end:]


def test_encoding_that_the_acquisitions_name(path):
  items = acquisitions()
  for head, _, _ in items:
    head["encoding_space_ref"] = 1
  raw = load_raw_data(write(path, items, xml=encodings(32, 64)))
  assert raw.matrix[0] == 64 and not raw.notes
  # A few of another encoding are a scan of another kind.
  items[2][0].update(encoding_space_ref=0)
  raw = load_raw_data(write(path, items, xml=encodings(32, 64)))
  assert raw.matrix[0] == 64 and len(raw.samples) == N_ACQUISITIONS - 1
  assert "1 acquisitions are left out" in raw.notes[0]
  for head, _, _ in items[:3]:
    head["encoding_space_ref"] = 0
  message = refusal(write(path, items, xml=encodings(32, 64)))
  assert "several encodings (3 encoding 0, 4 encoding 1)" in message
  for head, _, _ in items:
    head["encoding_space_ref"] = 2
  message = refusal(write(path, items, xml=encodings(32, 64)))
  assert "encoding_space_ref is 2, but the header has 2 encodings" in message


@pytest.mark.parametrize("place", ["encoding", "header"])
def test_unit_that_the_header_says(path, place):
  items = acquisitions()
  unit = (
    "<userParameterString><name>trajectory_unit</name><value>per_m</value>"
    "</userParameterString>"
  )
  if place == "encoding":
    end = "</encoding>"
    xml = f"<trajectoryDescription>{unit}</trajectoryDescription>{end}"
  else:
    end = "</ismrmrdHeader>"
    xml = f"<userParameters>{unit}</userParameters>{end}"
  raw = load_raw_data(write(path, items, xml=_XML.replace(end, xml)))
  assert raw.trajectory_unit == "per_m"
  # Voxels of the encoded space: 460 / 128 × 230 / 64 mm.
  expected = np.array([i[1] for i in items]) * [0.46 / 128, 0.23 / 64]
  np.testing.assert_allclose(raw.trajectory, expected, rtol=1e-5)
  wrong = _XML.replace(end, xml.replace("per_m", "parsec"))
  message = refusal(write(path, items, xml=wrong))
  assert "trajectory_unit is 'parsec', which is not one of cycles" in message


def test_samples_to_discard_are_left_out(path):
  items = acquisitions()
  for head, _, _ in items:
    head.update(discard_pre=1, discard_post=2)
  raw = load_raw_data(write(path, items))
  np.testing.assert_array_equal(raw.samples, [i[2][:, 1:3] for i in items])
  np.testing.assert_array_equal(raw.trajectory, [i[1][1:3] for i in items])


def test_discarded_samples_are_not_looked_at(path):
  items = acquisitions()
  for index, (head, positions, values) in enumerate(items):
    pre = 1 + index % 2
    head.update(discard_pre=pre, discard_post=3 - pre)
    positions[:pre] = np.nan
    values[:, N_SAMPLES - (3 - pre) :] = np.inf
  raw = load_raw_data(write(path, items))
  assert raw.samples.shape[2] == N_SAMPLES - 3
  parts = [slice(1 + k % 2, 3 + k % 2) for k in range(len(items))]
  expected = [i[2][:, part] for i, part in zip(items, parts, strict=True)]
  np.testing.assert_array_equal(raw.samples, expected)
  items[1][0]["discard_pre"] = 0
  message = refusal(write(path, items))
  assert message.startswith(
    "acquisition 1: number_of_samples is 4 without those to discard, but 2 in"
  )


def half(path):
  cut(write(path, acquisitions()))


def empty(name, shape=(3,), dtype="f8", **options):
  """Writes a file of one array without values."""

  def write(path):
    with h5py.File(path, "w") as file:
      file.create_dataset(name, shape, dtype, **options)

  return write


def no_head_field(path):
  write(path, acquisitions(), left_out=("discard_post",))


def numbers_for_xml(path):
  write(path, acquisitions(), xml=None)
  with h5py.File(path, "a") as file:
    file["dataset/xml"] = np.arange(3)


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (lambda path: None, "^there is no such file$"),
    (lambda path: path.write_text("no HDF5"), "^not a readable HDF5 file"),
    (half, "^not a readable HDF5 file, or cut short"),
    (empty("dataset/image"), "^no acquisitions in dataset/data$"),
    (empty("dataset/data"), "^dataset/data has no field head$"),
    (no_head_field, "no field discard_post"),
    (
      empty("dataset/data", dtype=row_type(np.float64)),
      "^field traj of dataset/data holds no float32 lists$",
    ),
    (
      empty("dataset/data", (1 << 40,), row_type(np.float32), chunks=(1,)),
      "^/dataset/data: .*bytes, more than the file can hold",
    ),
    (numbers_for_xml, "^dataset/xml is not one text$"),
  ],
)
def test_bad_file_is_named(path, damage, message):
  damage(path)
  assert re.search(message, refusal(path))


@pytest.mark.parametrize("count", [0, 3])
def test_only_noise_is_an_error(path, count):
  items = acquisitions()[:count]
  for head, _, _ in items:
    head["flags"] = 1 << 18
  words = f", left out by their flags: {count} noise" if count else ""
  assert refusal(write(path, items)).startswith(
    f"no acquisitions of images in dataset/data{words}"
  )


@pytest.mark.parametrize(
  "name", ["number_of_samples", "active_channels", "trajectory_dimensions"]
)
def test_different_sizes_are_an_error(path, name):
  items = acquisitions()
  items[0][0]["flags"] = 1 << 18
  items[4][0][name] = 4
  message = refusal(write(path, items))
  assert message.startswith(f"acquisition 4: {name} is 4")
  assert message.endswith("in acquisition 1")


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"trajectory_dimensions": 4}, "4 dimensions, not 0, 2 or 3"),
    ({"active_channels": 0}, "nothing is left of 0 coils"),
    ({"discard_pre": 3, "discard_post": 2}, "3 + 2 of them to discard"),
    # Sizes that would need gigabytes are compared with the data first.
    (
      {"active_channels": 65535, "number_of_samples": 65535},
      "acquisition 0: 30 values of data, but coils",
    ),
  ],
)
def test_impossible_sizes_are_an_error(path, changes, words):
  items = acquisitions()
  for head, _, _ in items:
    head.update(changes)
  assert words in refusal(write(path, items))


@pytest.mark.parametrize(
  ("field", "message"),
  [
    (1, "acquisition 3: 8 values of trajectory, but samples × dimensions"),
    (2, "acquisition 3: 20 values of data, but coils × samples × 2"),
  ],
)
def test_data_must_fit_their_header(path, field, message):
  items = acquisitions()
  items[3][field] = items[3][field][:-1]  # a sample, or a coil
  assert refusal(write(path, items)).startswith(message)


@pytest.mark.parametrize(("field", "name"), [(1, "trajectory"), (2, "data")])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_must_be_finite(path, field, name, bad):
  items = acquisitions()
  items[5][field][1, 1] = bad
  message = f"acquisition 5: {name}: 1 values are NaN or infinite, the first at"
  assert refusal(write(path, items)).startswith(f"{message} [1, 1")


@pytest.mark.parametrize(
  ("old", "new", "words"),
  [
    ("</encoding>", "", "not sound XML"),
    ("<ismrmrdHeader", "<!DOCTYPE a><ismrmrdHeader", "has a DOCTYPE"),
    ("<x>64</x>", "<x>64.5</x>", "encoding/reconSpace/matrixSize is '64.5'"),
    ("<x>230.5<", "<x>nan<", "encoding/reconSpace/fieldOfView_mm is 'nan'"),
  ],
)
def test_damaged_xml_header_is_named(path, old, new, words):
  assert old in _XML
  write(path, acquisitions(), xml=_XML.replace(old, new))
  assert words in refusal(path)


@pytest.mark.parametrize("text", ["0", "-1", "1.5 T", "inf", ""])
def test_field_strength_that_is_none_is_absent(path, text):
  write(path, acquisitions(), xml=_XML.replace("1.494", text))
  assert load_raw_data(path).field_strength_t is None


def test_header_without_its_namespace(path):
  xml = _XML.replace(' xmlns="http://www.ismrm.org/ISMRMRD"', "")
  assert xml != _XML
  write(path, acquisitions(), xml=xml)
  assert load_raw_data(path).field_strength_t == 1.494


def rows_of_lists(path, **options):
  """A file of acquisitions with long lists, and their headers."""
  lists = h5py.vlen_dtype(np.float32)
  head = np.dtype([("flags", "<u8"), ("number_of_samples", "<u2")])
  rows = np.empty(30, [("head", head), ("traj", lists), ("data", lists)])
  for number in range(len(rows)):
    values = np.zeros(100_000, np.float32)
    rows[number] = ((number, 2 * number), values[:0], values)
  with h5py.File(path, "w") as file:
    file.create_dataset("dataset/data", data=rows, **options)
  return path, rows["head"]


@pytest.mark.parametrize(
  "options",
  [{}, {"chunks": (1,)}, {"chunks": (7,)}, {"chunks": (4,), "shuffle": True}],
  ids=["contiguous", "single", "rounded up", "filtered"],
)
def test_headers_however_they_are_stored(options, tmp_path):
  path, expected = rows_of_lists(tmp_path / "rows.h5", **options)
  with h5py.File(path) as file:
    np.testing.assert_array_equal(_heads(file["dataset/data"]), expected)


def test_headers_leave_no_samples_in_memory(tmp_path):
  path, _ = rows_of_lists(tmp_path / "rows.h5", chunks=(1,))
  code = f"""
import h5py
from mrf_jax.io.ismrmrd_reader import _heads
def mib():
  return int(open("/proc/self/statm").read().split()[1]) / 256
with h5py.File({str(path)!r}) as file:
  _heads(file["dataset/data"])
  before = mib()
  for _ in range(10):
    _heads(file["dataset/data"])
print(mib() - before)
"""
  grown_mib = float(run_python(code).stdout)
  # The lists have 11 MiB, which h5py would leave behind each time.
  assert grown_mib < 11
