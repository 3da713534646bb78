"""Raw data as converters write them.

All are one scan: an ellipse of 45 × 30 mm in slices 6 mm apart, the next one
darker than the last, whose signal recovers from an inversion.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator

import h5py
import ismrmrd
import numpy as np
from ismrmrd.hdf5 import acquisition_dtype

from mrf_jax.importing.from_flags import (
  ImportOptions,
  read_acquisition,
  read_scan,
)
from mrf_jax.importing.scan import Imported
from mrf_jax.io.ismrmrd_writer import write_raw_data
from mrf_jax.io.untrusted import trust
from mrf_jax.kspace.encoding import NufftEncoding
from mrf_jax.kspace.spiral import Spiral, make_spiral
from tests.wrong_inputs.cases import Case, Seen

MATRIX, VOXEL_MM, SLICE_MM = 32, 3.0, 6.0
FOV_MM = MATRIX * VOXEL_MM
N_SLICES, N_FRAMES, N_ARMS, N_COILS = 3, 24, 6, 2
# Semi-axes of the ellipse, voxels: 45 × 30 mm at voxels of 3 mm.
HALF_X, HALF_Y = 7.5, 5.0
BRIGHTNESS = 1.0 - 0.3 * np.arange(N_SLICES)
SIGNAL = 1 - 1.8 * np.exp(-np.arange(N_FRAMES) / 8)
# Unlike the noise of a scan, it only makes the background of the mask uneven.
NOISE = 0.002
PAD = 4


def ellipse() -> np.ndarray:
  """The voxels of the object, [y, x]."""
  offset = np.arange(MATRIX) - MATRIX // 2
  return np.hypot(offset / HALF_X, offset[:, None] / HALF_Y) < 1


@functools.cache
def scan() -> tuple[np.ndarray, np.ndarray]:
  """K-space [slice, frame, coil, sample] and its places, cycles per voxel."""
  spiral: Spiral = make_spiral(
    matrix=MATRIX, n_arms=N_ARMS, samples_per_arm=160, density_power=1.25
  )
  x = (np.arange(MATRIX) - MATRIX // 2) / MATRIX
  coils = np.broadcast_to(
    np.stack([1 + x, 1 - x])[:, None], (N_COILS, MATRIX, MATRIX)
  ).astype(np.complex64)
  encoding = NufftEncoding(ellipse(), coils)
  ones = np.ones((np.count_nonzero(ellipse()), 1), np.float32)
  arms = np.concatenate(
    [encoding.of_samples(arm).forward(ones) for arm in spiral.trajectory]
  )
  order = np.arange(N_FRAMES) % N_ARMS
  one = arms[order] * SIGNAL[:, None, None]
  samples = one * BRIGHTNESS[:, None, None, None]
  rng = np.random.default_rng(0)
  noise = rng.normal(size=(*samples.shape, 2)).view(complex)[..., 0]
  samples = samples + NOISE * np.abs(samples).max() * noise
  return samples.astype(np.complex64), spiral.trajectory[order]


def space(name: str, matrix=MATRIX, fov=FOV_MM, fov_y=None) -> str:
  """The encoded or the reconstruction space of a header."""
  return (
    f"<{name}><matrixSize><x>{matrix}</x><y>{matrix}</y><z>1</z></matrixSize>"
    f"<fieldOfView_mm><x>{fov}</x><y>{fov_y or fov}</y><z>5</z>"
    f"</fieldOfView_mm></{name}>"
  )


def encoding(encoded: str | None = None, recon: str | None = None) -> str:
  """One encoding of a header."""
  return (
    f"<encoding>{encoded or space('encodedSpace')}"
    f"{recon or space('reconSpace')}<encodingLimits/>"
    "<trajectory>spiral</trajectory></encoding>"
  )


def header(*encodings: str, vendor: str = "someone") -> str:
  """The XML header."""
  return (
    '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
    f"<acquisitionSystemInformation><systemVendor>{vendor}</systemVendor>"
    "<systemFieldStrength_T>1.5</systemFieldStrength_T>"
    "</acquisitionSystemInformation><experimentalConditions>"
    "<H1resonanceFrequency_Hz>63866217</H1resonanceFrequency_Hz>"
    f"</experimentalConditions>{''.join(encodings or [encoding()])}"
    "</ismrmrdHeader>"
  )


@dataclasses.dataclass
class Readout:
  """One acquisition to write: its data, and fields of its header."""

  slice: int
  frame: int
  samples: np.ndarray
  positions: np.ndarray
  fields: dict


def readouts(order=None, slices=range(N_SLICES), **fields) -> Iterator[Readout]:
  """The frames of each slice, in an order; fields may depend on the readout."""
  samples, trajectory = scan()
  for z in slices:
    for k in range(N_FRAMES) if order is None else order:
      one = Readout(z, k, samples[z, k], trajectory[k], {})
      one.fields = {
        "slice": z,
        "repetition": k,
        "kspace_encode_step_1": k % N_ARMS,
        "acquisition_time_stamp": 14 * (z * N_FRAMES + k),
        "position": (0.0, 0.0, SLICE_MM * z),
      }
      for name, value in fields.items():
        one.fields[name] = value(one) if callable(value) else value
      yield one


def with_others(
  change: Callable[[Readout], Readout], **fields
) -> Iterator[Readout]:
  """The frames, and after every fourth another acquisition made from it."""
  for one in readouts(**fields):
    yield one
    if one.frame % 4 == 3:
      copy = dataclasses.replace(one, fields=dict(one.fields))
      yield change(copy)


def flagged(*flags: int, n_samples: int | None = None):
  """A change to an acquisition of noise with flags, of any size."""

  def change(one: Readout) -> Readout:
    one.samples = 5 * one.samples[:, ::-1][:, :n_samples]
    one.positions = 0 * one.positions[:n_samples]
    one.fields["flags"] = flags
    return one

  return change


def only_noise(samples: np.ndarray) -> np.ndarray:
  """Noise of the shape of some samples."""
  rng = np.random.default_rng(0)
  parts = NOISE * rng.normal(size=(*samples.shape, 2))
  return parts.view(complex)[..., 0].astype(np.complex64)


def noise_like(change: Callable[[np.ndarray], np.ndarray]):
  """A change to an acquisition of noise, of other samples."""

  def changed(one: Readout) -> Readout:
    one = flagged(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)(one)
    one.samples = change(one.samples)
    return one

  return changed


def of_encoding_0(one: Readout) -> Readout:
  """A change to an acquisition of another encoding, without a flag."""
  one.fields["encoding_space_ref"] = 0
  return one


def with_density(one: Readout) -> Readout:
  """A change to a trajectory with a density in its third column."""
  density = np.linalg.norm(one.positions, axis=1, keepdims=True)
  one.positions = np.concatenate([one.positions, density], 1)
  return one


def of_field(text: str) -> str:
  """A header whose field strength is a text."""
  return header().replace("_T>1.5</", f"_T>{text}</")


def turned_back(positions: Callable[[Readout], np.ndarray]) -> list[Readout]:
  """The frames with another trajectory."""
  return mapped(lambda r: dataclasses.replace(r, positions=positions(r)))


def mapped(change: Callable[[Readout], Readout], **fields) -> list[Readout]:
  """The frames, each changed."""
  return [change(one) for one in readouts(**fields)]


def scaled(factor) -> list[Readout]:
  """The frames with their trajectory in another unit."""

  def change(one: Readout) -> Readout:
    one.positions = one.positions * np.array(factor)
    return one

  return mapped(change)


def padded(pre: Callable[[Readout], int]) -> list[Readout]:
  """The frames between samples to discard, which are not finite."""

  def change(one: Readout) -> Readout:
    first = pre(one)
    width = ((0, 0), (first, PAD - first))
    one.samples = np.pad(one.samples, width, constant_values=np.nan)
    one.positions = np.pad(one.positions, width[::-1], constant_values=np.inf)
    one.fields |= {"discard_pre": first, "discard_post": PAD - first}
    return one

  return mapped(change)


def write(path: pathlib.Path, xml: str, every) -> pathlib.Path:
  """Writes an ISMRMRD file, all acquisitions at once."""
  every = list(every)
  rows = np.zeros(len(every), acquisition_dtype)
  for row, one in zip(rows, every, strict=True):
    head, samples = row["head"], np.asarray(one.samples, np.complex64)
    head["active_channels"], head["number_of_samples"] = samples.shape
    head["trajectory_dimensions"] = one.positions.shape[1]
    directions = ("read_dir", "phase_dir", "slice_dir")
    for name, direction in zip(directions, np.eye(3), strict=True):
      head[name] = direction
    for name, value in one.fields.items():
      if name == "flags":
        head[name] = sum(1 << (flag - 1) for flag in value)
      elif name in (head["idx"].dtype.names or ()):
        head["idx"][name] = value
      else:
        head[name] = value
    row["data"] = np.ascontiguousarray(samples).view(np.float32).ravel()
    row["traj"] = np.asarray(one.positions, np.float32).ravel()
  with h5py.File(path, "w") as file:
    file["dataset/data"] = rows
    file["dataset/xml"] = np.array([xml], h5py.string_dtype())
  trust(path)  # without a trial in a process of its own
  return path


def imported(folder: pathlib.Path, path: pathlib.Path, **flags) -> Imported:
  """The scan as --mode=import takes it."""
  schedule = folder / "train.txt"
  np.savetxt(schedule, np.full((N_FRAMES, 2), (30, 14)), fmt="%g")
  options = ImportOptions(
    scan=str(path), schedule=str(schedule), window=N_ARMS, **flags
  )
  acquisition, assumptions = read_acquisition(options)
  return read_scan(options, acquisition, assumptions=assumptions)


def judge(scan: Imported, voxel_mm: tuple[float, float]) -> Seen:
  """Size and place of the object, and its signal, against the truth."""
  subject = scan.subject
  mask, affine = subject.mask, subject.affine
  n_y, n_x = (np.ptp(np.nonzero(mask[0])[axis]) + 1 for axis in (0, 1))
  size_mm = np.abs([n_x * affine[0, 0], n_y * affine[1, 1]])
  true_mm = 2 * np.array([HALF_X, HALF_Y]) * voxel_mm
  truth = np.convolve(SIGNAL, np.ones(N_ARMS) / N_ARMS, "valid")
  volumes = np.zeros((*mask.shape, len(truth)), np.complex64)
  volumes[mask] = subject.signals
  curve = np.median(subject.signals.real, 0)
  likeness = np.corrcoef(curve, truth)[0, 1]
  bright = [np.abs(volumes[z][mask[z]]).mean() for z in range(len(mask))]
  bright = np.array(bright) / max(bright)
  step_mm = affine[2, 2]
  rank = np.argsort(-bright) if step_mm > 0 else np.argsort(bright)
  right = (
    np.all(np.abs(size_mm - true_mm) <= 1.5 * np.array(voxel_mm))
    and likeness > 0.99
    and np.array_equal(rank, np.arange(len(mask)))
    and np.isclose(abs(step_mm), SLICE_MM)
  )
  return Seen(
    f"{size_mm[0]:.0f} × {size_mm[1]:.0f} mm, signal like the true one "
    f"{likeness:.3f}, brightness of the slices "
    + ", ".join(f"{value:.1f}" for value in bright),
    bool(right),
    scan.assumptions,
  )


def case(
  text: str,
  expected: str,
  words: str,
  every: Callable[[], object],
  *,
  xml: str | None = None,
  true_voxel_mm: tuple[float, float] = (VOXEL_MM, VOXEL_MM),
  **flags,
) -> Case:
  """A case of a raw file, and flags of the import."""

  def run(folder: pathlib.Path) -> Seen:
    path = write(folder / "scan.mrd", xml or header(), every())
    return judge(imported(folder, path, **flags), true_voxel_mm)

  return Case(text, expected, words, run)


def of_this_program(folder: pathlib.Path) -> Seen:
  """The file that --config.data.keep_raw writes."""
  samples, trajectory = scan()
  path = folder / "scan.mrd"
  write_raw_data(
    path,
    samples,
    trajectory,
    matrix=MATRIX,
    affine=np.diag([VOXEL_MM, VOXEL_MM, SLICE_MM, 1.0]),
    tr_ms=np.full(N_FRAMES, 14.0),
    field_strength_t=1.5,
  )
  return judge(imported(folder, path), (VOXEL_MM, VOXEL_MM))


def turned(one: Readout) -> int:
  """Time stamps, in 2.5 ms, of a clock that turns at midnight in slice 1."""
  readout = one.slice * N_FRAMES + one.frame
  return (34_560_000 - 6 * 34 + 6 * readout) % 34_560_000


SHUFFLED = [int(k) for k in np.random.default_rng(1).permutation(N_FRAMES)]
BY_ARM = sorted(range(N_FRAMES), key=lambda k: (k % N_ARMS, k))
SMALL = {
  size: header(
    encoding(
      space("encodedSpace", fov=size * MATRIX),
      space("reconSpace", fov=size * MATRIX),
    )
  )
  for size in (2.0, 1.2, 1.0, 6.0)
}
UNEVEN = header(
  encoding(
    space("encodedSpace", fov_y=FOV_MM / 2),
    space("reconSpace", fov_y=FOV_MM / 2),
  )
)
OTHER = encoding(space("encodedSpace", 64, 400.0), space("reconSpace", 64, 400))

_ORDER = [
  case("frames in the order of the file", "right", "", readouts),
  case(
    "frames sorted by spiral arm, counted by repetition",
    "named",
    "in the order of repetition, not of the file",
    lambda: readouts(BY_ARM),
  ),
  case(
    "frames shuffled, counted by set, no time stamps",
    "named",
    "in the order of set, not of the file",
    lambda: readouts(
      SHUFFLED, repetition=0, set=lambda r: r.frame, acquisition_time_stamp=0
    ),
  ),
  case(
    "frames shuffled, told by their time stamps only",
    "named",
    "in the order of acquisition_time_stamp, not of the file",
    lambda: readouts(SHUFFLED, repetition=0),
  ),
  case(
    "time stamps that begin again at midnight",
    "right",
    "",
    lambda: readouts(repetition=0, acquisition_time_stamp=turned),
  ),
  case(
    "arms in a random order, numbered, in a file in the order of time",
    "right",
    "",
    lambda: readouts(
      repetition=0, kspace_encode_step_1=lambda r: SHUFFLED[r.frame]
    ),
  ),
  case(
    "the same without time stamps",
    "refused",
    "--frame=file",
    lambda: readouts(
      repetition=0,
      kspace_encode_step_1=lambda r: SHUFFLED[r.frame],
      acquisition_time_stamp=0,
    ),
  ),
  case(
    "frames sorted by arm, counted by nothing",
    "refused",
    "sorted by kspace_encode_step_1",
    lambda: readouts(BY_ARM, repetition=0, acquisition_time_stamp=0),
  ),
  case(
    "repetitions and time stamps in different orders",
    "refused",
    "--frame=repetition",
    lambda: readouts(
      SHUFFLED, acquisition_time_stamp=lambda r: SHUFFLED.index(r.frame)
    ),
  ),
  case(
    "the same with --frame=repetition",
    "named",
    "in the order of repetition",
    lambda: readouts(
      SHUFFLED, acquisition_time_stamp=lambda r: SHUFFLED.index(r.frame)
    ),
    frame="repetition",
  ),
  case(
    "the number of one frame left out",
    "named",
    "slice 0 jumps from 4 to 6: was a frame lost?",
    lambda: readouts(repetition=lambda r: r.frame + (r.frame > 4)),
  ),
  case(
    "numbers of frames in steps of 2",
    "right",
    "",
    lambda: readouts(repetition=lambda r: 2 * r.frame),
  ),
  case(
    "two averages in one file",
    "named",
    "each has 2 acquisitions, counted by average",
    lambda: [*readouts(), *readouts(average=1, acquisition_time_stamp=0)],
  ),
  case(
    "slices that contrast counts, without positions",
    "refused",
    "are told apart by contrast, too: slices, echoes and partitions",
    lambda: readouts(slice=0, position=(0, 0, 0), contrast=lambda r: r.slice),
  ),
  case(
    "acquisitions of zeros",
    "named",
    "3 of 72 acquisitions hold nothing but zeros",
    lambda: mapped(
      lambda r: dataclasses.replace(r, samples=r.samples * (r.frame != 7))
    ),
  ),
  case(
    "neither counters nor time stamps",
    "named",
    "no counter or time stamp tells the frames apart",
    lambda: readouts(
      repetition=0, kspace_encode_step_1=0, acquisition_time_stamp=0
    ),
  ),
]
_FLAGS = [
  case(
    f"{name} acquisitions among the frames",
    "named",
    f"left out by their flags: 18 {name} acquisitions",
    functools.partial(with_others, flagged(flag, n_samples=n_samples)),
  )
  for name, flag, n_samples in (
    ("dummy", ismrmrd.ACQ_IS_DUMMYSCAN_DATA, None),
    ("navigator", ismrmrd.ACQ_IS_NAVIGATION_DATA, None),
    ("calibration", ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, 20),
    ("phase correction", ismrmrd.ACQ_IS_PHASECORR_DATA, 3),
    ("HP feedback", ismrmrd.ACQ_IS_HPFEEDBACK_DATA, None),
    ("real-time feedback", ismrmrd.ACQ_IS_RTFEEDBACK_DATA, None),
    ("phase stabilization", ismrmrd.ACQ_IS_PHASE_STABILIZATION, None),
  )
]
_FLAGS += [
  case(
    "noise acquisitions among the frames",
    "named",
    "noise of the coils is whitened by",
    lambda: with_others(noise_like(only_noise)),
  ),
  case(
    "noise acquisitions that are a scan",
    "named",
    "its noise acquisitions are stronger than the scan: are they noise?",
    lambda: with_others(flagged(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)),
  ),
  case(
    "noise acquisitions of another coil",
    "named",
    "its noise acquisitions are of 3 coils, the scan is of 2",
    lambda: with_others(noise_like(lambda x: np.concatenate([x, x[:1]]))),
  ),
  case(
    "noise acquisitions of one sample",
    "named",
    "18 samples of noise for 2 coils; at least 20",
    lambda: with_others(flagged(ismrmrd.ACQ_IS_NOISE_MEASUREMENT, n_samples=1)),
  ),
  case(
    "noise acquisitions with NaN",
    "named",
    "the coils are not whitened: ",
    lambda: with_others(noise_like(lambda x: x * np.float32([[np.nan], [1]]))),
  ),
  case(
    "frames that are calibration and imaging",
    "right",
    "",
    lambda: readouts(flags=(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING,)),
  ),
  case(
    "frames marked as read in reverse",
    "refused",
    "ACQ_IS_REVERSE",
    lambda: readouts(flags=(ismrmrd.ACQ_IS_REVERSE,)),
  ),
  case(
    "acquisitions to discard that no flag marks",
    "refused",
    "slice 0 has 30 acquisitions, but the sequence has 24 frames",
    functools.partial(with_others, flagged()),
  ),
  case(
    "samples to discard that are NaN and have no place",
    "right",
    "",
    lambda: padded(lambda r: PAD),
  ),
  case(
    "samples to discard, before or after in turn",
    "right",
    "",
    lambda: padded(lambda r: r.frame % (PAD + 1)),
  ),
  case(
    "another number of samples left in each second frame",
    "refused",
    "number_of_samples is 159 without those to discard",
    lambda: readouts(discard_pre=lambda r: r.frame % 2),
  ),
]
_ENCODINGS = [
  case(
    "the second encoding of the header",
    "right",
    "",
    lambda: readouts(encoding_space_ref=1),
    xml=header(OTHER, encoding()),
  ),
  case(
    "some acquisitions of another encoding, without a flag",
    "named",
    "18 acquisitions are left out: they are of another encoding than 1",
    lambda: with_others(of_encoding_0, encoding_space_ref=1),
    xml=header(OTHER, encoding()),
  ),
  case(
    "two scans of two encodings",
    "refused",
    "several encodings (36 encoding 0, 36 encoding 1)",
    lambda: readouts(encoding_space_ref=lambda r: r.frame % 2),
    xml=header(OTHER, encoding()),
  ),
  case(
    "an encoding that the header does not have",
    "refused",
    "encoding_space_ref is 2",
    lambda: readouts(encoding_space_ref=2),
    xml=header(OTHER, encoding()),
  ),
  case(
    "encoded space of twice the field of view (oversampling)",
    "right",
    "",
    readouts,
    xml=header(encoding(space("encodedSpace", 2 * MATRIX, 2 * FOV_MM))),
  ),
  case(
    "reconstruction space of twice the matrix (zero filling)",
    "named",
    "the images have those, of 3 × 3 mm",
    readouts,
    xml=header(encoding(None, space("reconSpace", 2 * MATRIX))),
  ),
]
_UNITS = [
  case(
    "±N/2 (cycles per field of view)",
    "named",
    "in cycles_per_fov",
    lambda: scaled(MATRIX),
  ),
  case(
    "±N/2 of an encoded space of twice the field of view",
    "named",
    "in cycles_per_fov",
    lambda: scaled(2 * MATRIX),
    xml=header(encoding(space("encodedSpace", 2 * MATRIX, 2 * FOV_MM))),
  ),
  case("1/m", "named", "in per_m", lambda: scaled(1000 / VOXEL_MM)),
  case(
    "1/m with voxels of 3 × 1.5 mm",
    "named",
    "in per_m",
    lambda: scaled((1000 / VOXEL_MM, 1000 / (VOXEL_MM / 2))),
    xml=UNEVEN,
    true_voxel_mm=(VOXEL_MM, VOXEL_MM / 2),
  ),
  case(
    "1/cm at 2 mm",
    "refused",
    "fits radians_per_voxel and per_cm",
    lambda: scaled(5.0),
    xml=SMALL[2.0],
  ),
  case(
    "1/cm at 2 mm with --trajectory_unit=per_cm",
    "right",
    "",
    lambda: scaled(5.0),
    xml=SMALL[2.0],
    true_voxel_mm=(2.0, 2.0),
    trajectory_unit="per_cm",
  ),
  case(
    "1/mm at 1.2 mm",
    "refused",
    "--trajectory_unit=cycles_per_voxel or --trajectory_unit=per_mm",
    lambda: scaled(1 / 1.2),
    xml=SMALL[1.2],
  ),
  case(
    "1/mm at 1 mm, where it is cycles per voxel",
    "right",
    "",
    lambda: scaled(1.0),
    xml=SMALL[1.0],
    true_voxel_mm=(1.0, 1.0),
  ),
  case(
    "±0.5 at 6 mm, which would be rad/mm of 95 % of the band",
    "named",
    "edge of the band in cycles_per_voxel; it would fit radians_per_mm, too",
    readouts,
    xml=SMALL[6.0],
    true_voxel_mm=(6.0, 6.0),
  ),
  case(
    "1/m with --trajectory_unit=per_mm",
    "refused",
    "1e+03 times the edge of the band",
    lambda: scaled(1000 / VOXEL_MM),
    trajectory_unit="per_mm",
  ),
  case(
    "a third column of the trajectory, a density",
    "refused",
    "its third column is a density",
    lambda: mapped(with_density),
  ),
  case(
    "KomaMRI: ±0.5, and a field of view in metres",
    "named",
    "is in metres",
    readouts,
    xml=header(
      encoding(
        space("encodedSpace", fov=FOV_MM / 1000),
        space("reconSpace", fov=FOV_MM / 1000),
      ),
      vendor="KomaMRI.jl",
    ),
  ),
  Case("raw data of this program", "right", "", of_this_program),
  case(
    "the trajectory of the first arm in all acquisitions",
    "named",
    "are the arms not turned?",
    lambda: turned_back(lambda r: scan()[1][0]),
  ),
  case(
    "a trajectory in the first turn of the arms only",
    "refused",
    "the trajectory of 54 of 72 acquisitions stays in the centre",
    lambda: turned_back(lambda r: (r.frame < N_ARMS) * r.positions),
  ),
]
_HEADERS = [
  case(
    "a field of view in cm",
    "named",
    "the field of view, 9.6 × 9.6 mm, is small: is it in cm?",
    readouts,
    xml=header(
      encoding(
        space("encodedSpace", fov=FOV_MM / 10),
        space("reconSpace", fov=FOV_MM / 10),
      )
    ),
  ),
  case(
    "a matrix with the slices along z",
    "right",
    "",
    readouts,
    xml=header().replace("<z>1</z>", f"<z>{N_SLICES}</z>"),
  ),
  case(
    "a header without the namespace of ISMRMRD",
    "right",
    "",
    readouts,
    xml=header().replace(' xmlns="http://www.ismrm.org/ISMRMRD"', ""),
  ),
  case(
    "a field strength in gauss",
    "refused",
    "1.5 T if it was in gauss",
    readouts,
    xml=of_field("15000"),
  ),
  case(
    "a field strength in MHz",
    "refused",
    "1.5 T if it was in MHz",
    readouts,
    xml=of_field("63.87"),
  ),
  case(
    "a field strength in MHz, --field_strength_t=1.5",
    "named",
    "--field_strength_t=1.5, but scan.mrd says 63.87 T",
    readouts,
    xml=of_field("63.87"),
    field_strength_t=1.5,
  ),
  case(
    "a field strength of 0, --field_strength_t=1.5",
    "right",
    "",
    readouts,
    xml=of_field("0"),
    field_strength_t=1.5,
  ),
  case(
    "a field strength of 0",
    "refused",
    "--field_strength_t gives it",
    readouts,
    xml=of_field("0"),
  ),
  case(
    "--field_strength_t=3 for a file that says 1.5",
    "named",
    "--field_strength_t=3, but scan.mrd says 1.5 T",
    readouts,
    field_strength_t=3.0,
  ),
]
_SLICES = [
  case(
    "slices numbered in the order of time (0, 2, 1)",
    "named",
    "in the order of their positions, not of their numbers",
    lambda: readouts(slice=lambda r: (0, 2, 1)[r.slice]),
  ),
  case(
    "slices that differ in their positions only",
    "named",
    "told by their positions, not by their numbers",
    lambda: readouts(slice=0),
  ),
  case(
    "positions in cm",
    "named",
    "slices of 5 mm are 0.6 mm apart",
    lambda: readouts(position=lambda r: (0, 0, SLICE_MM / 10 * r.slice)),
  ),
  case(
    "slices numbered downwards",
    "right",
    "",
    lambda: readouts(slice=lambda r: N_SLICES - 1 - r.slice),
  ),
  case(
    "slices without positions",
    "refused",
    "the position of its voxels is missing",
    lambda: readouts(position=(0.0, 0.0, 0.0)),
  ),
  case(
    "slices without positions, with --voxel_mm",
    "named",
    "the file does not say where its slices lie",
    lambda: readouts(position=(0.0, 0.0, 0.0)),
    voxel_mm="3,3,6",
  ),
  case(
    "slices at uneven distances",
    "refused",
    "not equally spaced",
    lambda: readouts(position=lambda r: (0.0, 0.0, (0.0, 6.0, 18.0)[r.slice])),
  ),
]
CASES: list[Case] = [
  *_ORDER,
  *_FLAGS,
  *_ENCODINGS,
  *_UNITS,
  *_HEADERS,
  *_SLICES,
]
