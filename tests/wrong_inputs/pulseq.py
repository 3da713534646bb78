"""Pulseq files of other writers, and exported models of another JAX."""

import dataclasses
import functools
import hashlib
import pathlib
import re
import subprocess
import sys
import warnings
from collections.abc import Callable

import jax
import numpy as np
import pypulseq
from pypulseq.compress_shape import compress_shape

from mrf_jax.errors import UserError
from mrf_jax.importing.from_flags import (
  ImportOptions,
  read_acquisition,
  read_scan,
)
from mrf_jax.io.ismrmrd_writer import write_raw_data
from mrf_jax.kspace.encoding import NufftEncoding
from mrf_jax.kspace.spiral import make_spiral
from tests.wrong_inputs.cases import Case, Seen

_SYSTEM = pypulseq.Opts(
  rf_dead_time=100e-6, rf_ringdown_time=20e-6, adc_dead_time=10e-6
)
_FLIPS = (10.0, 30.0, 50.0, 40.0, 20.0, 60.0)
_ALTERNATING = (0.0, 180.0) * 3
# Of RF spoiling by 117°.
_QUADRATIC = tuple(117.0 * k * (k + 1) / 2 % 360 for k in range(6))
_SCRIPT = pathlib.Path(__file__).parents[2] / "docs/run_exported.py"
# From the centre of a pulse of 2 ms, 0.06 ms of a ramp and 1 ms of a delay.
_TE_MS = 2.06
# A pulse of 2 ms of time-bandwidth product 4 over 5 mm.
_THICKNESS_M, _PRODUCT = 5e-3, 4


@dataclasses.dataclass(frozen=True)
class _Train:
  """A small train; its pulses are 2.12 ms long, its readouts start 1 ms later.

  Attributes:
    phases: of the pulses, degrees.
    receiver: phases of the ADC, degrees; None follows the pulses.
    moments: cycles over the slice that each repetition leaves; None has one
      spoiler of 2000 cycles/m.
    dummies: number of first pulses without readout.
    inversion: whether an inversion is before the train.
    use: what the file calls it.
    readouts: number of readouts after each pulse.
    gradients: whether it has gradients.
    repeats: how often it is played.
    extra: further events of a readout's block.
  """

  phases: tuple[float, ...] = (0.0,) * 6
  receiver: tuple[float, ...] | None = None
  moments: tuple[float, ...] | None = None
  dummies: int = 0
  inversion: bool = False
  use: str = "inversion"
  repeats: int = 1
  readouts: int = 1
  gradients: bool = True
  extra: Callable = lambda: ()

  def write(self, path: pathlib.Path, *, old: bool = False) -> pathlib.Path:
    """Writes it as Pulseq 1.5 or 1.4, signed as Pulseq's own writers do."""
    file = pypulseq.Sequence(_SYSTEM)
    for _ in range(self.repeats):
      self._add(file)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      file.write(str(path), v141_compat=old)
    return path

  def _add(self, file: pypulseq.Sequence) -> None:
    if self.inversion:
      pulse = pypulseq.make_block_pulse(
        np.pi, duration=1e-3, delay=1e-4, system=_SYSTEM, use=self.use
      )
      file.add_block(pulse, pypulseq.make_delay(20e-3))
    for k, flip in enumerate(_FLIPS):
      phase = np.deg2rad(self.phases[k])
      followed = (
        phase if self.receiver is None else np.deg2rad(self.receiver[k])
      )
      pulse, slice_gradient, _ = pypulseq.make_sinc_pulse(
        np.deg2rad(flip),
        duration=2e-3,
        slice_thickness=_THICKNESS_M,
        time_bw_product=_PRODUCT,
        delay=1e-4,
        system=_SYSTEM,
        return_gz=True,
        phase_offset=phase,
        use="excitation",
      )
      area = 2000.0
      if self.moments is not None:
        area = self.moments[k] / _THICKNESS_M - slice_gradient.area
      spoiler = pypulseq.make_trapezoid(
        "z", area=area, duration=3e-3, system=_SYSTEM
      )
      readout = pypulseq.make_adc(
        100, dwell=20e-6, delay=1e-3, phase_offset=followed, system=_SYSTEM
      )
      events = (readout, *self.extra()) if k >= self.dummies else ()
      file.add_block(pulse, *([slice_gradient] * self.gradients))
      for _ in range(self.readouts):
        file.add_block(*events, pypulseq.make_delay(4e-3))
      file.add_block(*([spoiler] * self.gradients), pypulseq.make_delay(3e-3))


def _read(
  path: pathlib.Path,
  *,
  phases: tuple[float, ...] = _Train.phases,
  balanced: bool = False,
  repeats: int = 1,
  te_ms: float = _TE_MS,
  **options,
) -> Seen:
  """What the import makes of a file, and whether it is as it was written."""
  given = ImportOptions(schedule=str(path), **options)
  acquisition, sentences = read_acquisition(given)
  sequence = acquisition.sequence
  n_frames = options.get("n_frames") or repeats * len(_FLIPS)
  flips = np.tile(_FLIPS, repeats)[:n_frames]
  apart = sequence.rf_phases_deg - np.tile(phases, repeats)[:n_frames]
  right = (
    sequence.n_frames == n_frames
    and np.allclose(sequence.flip_angles_deg, flips, atol=0.01)
    and np.allclose(np.exp(1j * np.deg2rad(apart)), 1, atol=1e-3)
    # The last TR may end with a preparation.
    and np.ptp(sequence.tr_ms[:-1]) < 1e-6
    and np.allclose(sequence.te_ms, te_ms, atol=0.01)
    and sequence.balanced is balanced
  )
  some = ", ".join(f"{flip:.1f}" for flip in sequence.flip_angles_deg[:3])
  kind = "balanced" if sequence.balanced else "gradient-spoiled"
  result = (
    f"{sequence.n_frames:,} frames of {some}, … °, TR {sequence.tr_ms[0]:.2f} "
    f"ms, {kind}"
  )
  return Seen(result, bool(right), tuple(sentences[1:]))


def _train(**changes) -> Callable[[pathlib.Path], Seen]:
  """Reads a train; `balanced` and `n_frames` are not of the train."""
  options = {k: changes.pop(k) for k in {"balanced", "n_frames"} & {*changes}}

  def run(folder: pathlib.Path) -> Seen:
    train = _Train(**changes)
    path = train.write(folder / "train.seq")
    repeats = train.repeats
    return _read(path, phases=train.phases, repeats=repeats, **options)

  return run


def _signed(change: Callable[[bytes], bytes], end: bytes = b"\n"):
  """Reads a train signed with an end of its text, and then changed."""

  def run(folder: pathlib.Path) -> Seen:
    path = _Train().write(folder / "train.seq")
    text = path.read_bytes().partition(b"\n[SIGNATURE]")[0].rstrip(b"\n")
    digest = hashlib.md5(text + end, usedforsecurity=False).hexdigest()
    mark = f"[SIGNATURE]\nType md5\nHash {digest}\n".encode()
    between = end if end.endswith(b"\n") else end + b"\n"
    path.write_bytes(change(text + between + mark))
    return _read(path)

  return run


def _other_digit(data: bytes) -> bytes:
  """One digit of the first pulse is another."""
  place = data.index(b"\n1 ", data.index(b"[RF]")) + 13
  while not chr(data[place]).isdigit():
    place += 1
  digit = b"%d" % ((int(chr(data[place])) + 1) % 10)
  return data[:place] + digit + data[place + 1 :]


def _extended(name: str, row: str, *, blocks: str = "adc", **options):
  """Reads a train whose blocks of one kind have an extension."""

  def run(folder: pathlib.Path) -> Seen:
    path = _Train().write(folder / "train.seq")
    text = path.read_text().partition("\n[SIGNATURE]")[0]
    head, table, tail = re.split(
      r"(?<=\[BLOCKS\]\n)|\n\n(?=# Format of RF)", text
    )
    column = {"rf": 2, "adc": 6}[blocks]
    rows = [line.split() for line in table.splitlines()]
    rows = [[*r[:7], str(int(r[column] != "0"))] for r in rows]
    table = "\n".join(" ".join(r) for r in rows)
    extension = f"[EXTENSIONS]\n1 1 1 0\n\nextension {name} 1\n1 {row}\n\n"
    shapes = tail.index("# Sequence Shapes")
    tail = tail[:shapes] + extension + tail[shapes:]
    path.write_text(f"{head}{table}\n\n{tail}\n")
    return _read(path, **options)

  return run


def _many_blocks(n_blocks: int):
  """Reads a file of very many blocks, the train again and again."""

  def run(folder: pathlib.Path) -> Seen:
    path = _Train().write(folder / "train.seq")
    text = path.read_text().partition("\n[SIGNATURE]")[0]
    head, table, tail = re.split(
      r"(?<=\[BLOCKS\]\n)|\n\n(?=# Format of RF)", text
    )
    rows = [line.split()[1:] for line in table.splitlines()]
    repeats = -(-n_blocks // len(rows))
    lines = [f"{k} {' '.join(r)}" for k, r in enumerate(rows * repeats, 1)]
    path.write_text(f"{head}{chr(10).join(lines)}\n\n{tail}\n")
    return _read(path, repeats=repeats)

  return run


def _edited(old: str, new: str) -> Callable[[pathlib.Path], Seen]:
  """Reads a train whose text was changed, without its signature."""

  def run(folder: pathlib.Path) -> Seen:
    path = _Train().write(folder / "train.seq")
    text = path.read_text().partition("\n[SIGNATURE]")[0]
    path.write_text(re.sub(old, new, text) + "\n")
    return _read(path)

  return run


def _later_blocks(folder: pathlib.Path) -> Seen:
  """Reads four frames of a file whose last block has an unknown event."""
  path = _Train().write(folder / "train.seq")
  text = path.read_text().partition("\n[SIGNATURE]")[0]
  path.write_text(re.sub(r"(?m)^18 .*$", "18 400 99 0 0 99 99 99", text) + "\n")
  return _read(path, n_frames=4)


def _soft_delay(folder: pathlib.Path) -> Seen:
  """Reads a train that begins with a delay that is set at the scanner."""
  path = _Train().write(folder / "train.seq")
  text = path.read_text().partition("\n[SIGNATURE]")[0]
  text = re.sub(r"(?m)^( *17 .*) 0$", r"\1 1", text)
  extension = "[EXTENSIONS]\n1 1 1 0\n\nextension DELAYS 1\n1 0 0 1 TR\n\n"
  path.write_text(
    text.replace("# Sequence Shapes", f"{extension}# Sequence Shapes") + "\n"
  )
  return _read(path)


def _lines(folder: pathlib.Path, **options) -> Seen:
  """Reads a train whose readouts pass the centre of k-space in their middle."""
  line = pypulseq.make_trapezoid(
    "x", flat_area=400, flat_time=2e-3, delay=9e-4, system=_SYSTEM
  )
  before = pypulseq.make_trapezoid(
    "x", area=-line.area / 2, duration=8e-4, system=_SYSTEM
  )
  both = pypulseq.add_gradients([before, line], system=_SYSTEM)
  path = _Train(extra=lambda: (both,)).write(folder / "train.seq")
  return _read(path, te_ms=3.06, **options)


def _text(folder: pathlib.Path, **options) -> Seen:
  """Reads the flip angles of a train from a text file."""
  path = folder / "train.txt"
  path.write_text("\n".join(map(str, _FLIPS)) + "\n")
  return _read(path, **options)


def _raw(
  folder: pathlib.Path, *, receiver: tuple[float, ...], **options
) -> Seen:
  """Imports raw data whose frames are turned by what the receiver left."""
  matrix, strengths = 16, np.array([1.0, 0.8, 0.6, -0.4, 0.5, 0.3])
  path = _Train(phases=_ALTERNATING, receiver=receiver).write(
    folder / "train.seq"
  )
  spiral = make_spiral(
    matrix=matrix, n_arms=1, samples_per_arm=1200, density_power=1.0
  )
  axis = np.arange(matrix) - matrix // 2
  disc = np.hypot(axis, axis[:, None]) < 5
  turns = np.exp(1j * np.deg2rad(np.subtract(_ALTERNATING, receiver)))
  encoding = NufftEncoding(disc, np.ones((1, matrix, matrix), np.complex64))
  images = np.repeat(strengths[None], np.count_nonzero(disc), 0)
  samples = encoding.of_samples(spiral.trajectory[0]).forward(images)
  samples = (samples * turns[:, None, None]).astype(np.complex64)
  write_raw_data(
    folder / "scan.mrd",
    samples[None],
    np.repeat(spiral.trajectory[:1], len(strengths), 0).astype(np.float32),
    matrix=matrix,
    affine=np.diag([10.0, 10.0, 5.0, 1.0]),
    tr_ms=np.full(len(strengths), 9.16),
    field_strength_t=3.0,
  )
  given = ImportOptions(
    scan=str(folder / "scan.mrd"),
    schedule=str(path),
    subject="disc",
    **options,
  )
  acquisition, sentences = read_acquisition(given)
  imported = read_scan(given, acquisition, assumptions=sentences)
  mean = imported.subject.signals.mean(0)
  signs = np.real(mean / mean[0])
  return Seen(
    "mean signals " + ", ".join(f"{value:.2f}" for value in signs),
    np.allclose(signs, strengths, atol=0.05),
    tuple(s for s in imported.assumptions if "receiver" in s),
  )


def _jemris(folder: pathlib.Path, *, minor: int) -> Seen:
  """Reads a train as JEMRIS writes it, with all shapes packed."""
  path = _Train(phases=_ALTERNATING).write(folder / "train.seq", old=True)
  text = path.read_text().partition("\n[SIGNATURE]")[0]
  text = text.replace("# Created by PyPulseq", "# Created by JEMRIS 2.9.1")
  text, shapes = text.split("[SHAPES]\n\n")
  packed = []
  for shape in shapes.strip().split("\n\n"):
    name, size, *values = shape.splitlines()
    samples = np.array([float(value) for value in values])
    if f"num_samples {len(values)}" == size:
      samples = compress_shape(samples, force_compression=True).data
    packed.append("\n".join([name, size, *(f"{x:.7g}" for x in samples)]))
  assert any(len(p.splitlines()) == 2002 for p in packed)
  if minor < 4:
    text = _version_1_2(text)
  text += "[SHAPES]\n\n" + "\n\n".join(packed) + "\n\n"
  digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
  path.write_text(f"{text}[SIGNATURE]\nType md5\nHash {digest}\n")
  return _read(path, phases=_ALTERNATING)


def _version_1_2(text: str) -> str:
  """Sections of Pulseq 1.4, but for shapes, as those of Pulseq 1.2.1."""
  text = re.sub(r"(?s)minor .*?\n\n", "minor 2\nrevision 1\n\n", text)
  text = re.sub(r"(?m)^\w+Raster\w* .*\n", "", text)
  lines, title, delays = [], "", {}
  for line in text.splitlines():
    words = line.split()
    title = line if line.startswith("[") else title
    if words and words[0].isdigit() and title == "[BLOCKS]":
      # A delay is a number there; other blocks last as long as their events.
      is_readout = words[6] != "0"
      delay = delays.setdefault(words[1], len(delays) + 1) if is_readout else 0
      line = " ".join([words[0], str(delay), *words[2:7]])
    elif words and words[0].isdigit() and title == "[RF]":
      line = " ".join(words[:4] + words[5:])
    lines.append(line)
  rows = [f"{number} {10 * int(steps)}" for steps, number in delays.items()]
  return "\n".join([*lines, "[DELAYS]", *rows, "", ""])


@functools.cache
def _model_of_newer_jax() -> bytes:
  """An exported model whose program is of a form that this JAX cannot read."""
  model = jax.export.export(jax.jit(lambda x, y: {"t1_ms": y * 1.0}))(
    np.ones((1, 4, 4, 5), np.complex64), np.ones((1, 4, 4), bool)
  )
  newer = dataclasses.replace(
    model, mlir_module_serialized=b"vhlo", fun_name="maps_jax_99.0"
  )
  return bytes(newer.serialize())


def _exported(folder: pathlib.Path, *, dtype=np.complex64) -> Seen:
  """Runs the exported model of a newer JAX on signals of some type."""
  (folder / "model.stablehlo").write_bytes(_model_of_newer_jax())
  np.save(folder / "signals.npy", np.ones((1, 4, 4, 5), dtype))
  np.save(folder / "mask.npy", np.ones((1, 4, 4), bool))
  names = ("model.stablehlo", "signals.npy", "mask.npy")
  done = subprocess.run(
    [sys.executable, "-I", _SCRIPT, *names],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    raise UserError(done.stderr.removeprefix("error: ").removesuffix("\n"))
  return Seen(done.stdout, False)


def _warned(folder: pathlib.Path) -> Seen:
  """Reads a train from Python, where sentences are warnings."""
  from mrf_jax import load_sequence

  path = _Train(phases=_ALTERNATING, receiver=(0.0,) * 6).write(
    folder / "train.seq"
  )
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    sequence = load_sequence(path)
  said = tuple(str(warning.message) for warning in caught)
  return Seen(f"phases {sequence.rf_phases_deg}", False, said)


def _crlf(data: bytes) -> bytes:
  return data.replace(b"\n", b"\r\n")


def _same(data: bytes) -> bytes:
  return data


def _labels() -> tuple:
  return (
    pypulseq.make_label(type="SET", label="SLC", value=0),
    pypulseq.make_label(type="INC", label="LIN", value=1),
    pypulseq.make_digital_output_pulse("ext1", duration=1e-4),
  )


_CYCLES = 0.3
_LABELLED = "labels of readouts, and pulses on a digital output"
_QUATERNION = "0.995004 0 0 0.0998334"

CASES: list[Case] = [
  Case("a plain train", "right", "", _train()),
  Case(
    "signed with the line end before the section, as JEMRIS does",
    "right",
    "",
    _signed(_same),
  ),
  Case(
    "signed without the line end, then copied with the line ends of Windows",
    "right",
    "",
    _signed(_crlf, b""),
  ),
  Case(
    "signed as JEMRIS does, then copied with the line ends of Windows",
    "right",
    "",
    _signed(_crlf),
  ),
  Case(
    "signed with two line ends, and a mark of UTF-8 put before it",
    "right",
    "",
    _signed(lambda data: b"\xef\xbb\xbf" + data, b"\n\n"),
  ),
  Case(
    "pulses of JEMRIS, packed to as many values as samples (Pulseq 1.4.0)",
    "right",
    "",
    functools.partial(_jemris, minor=4),
  ),
  Case(
    "a file of an older JEMRIS (Pulseq 1.2.1)",
    "right",
    "",
    functools.partial(_jemris, minor=2),
  ),
  Case(
    "signed as JEMRIS does, one digit changed later",
    "refused",
    "signature does not fit",
    _signed(_other_digit),
  ),
  Case(
    "signed as JEMRIS does, a block lost",
    "refused",
    "signature does not fit",
    _signed(lambda data: re.sub(rb"\n18 [^\n]*", b"", data)),
  ),
  Case(_LABELLED, "right", "", _train(extra=_labels)),
  Case(
    "a label that this version does not know (Pulseq 1.5.2)",
    "right",
    "",
    _extended("LABELSET", "1 MYLABEL"),
  ),
  Case(
    "gradients turned by the extension ROTATIONS (Pulseq 1.5.1)",
    "right",
    "",
    _extended("ROTATIONS", _QUATERNION),
  ),
  Case(
    "pulses changed by the extension RF_SHIMS",
    "refused",
    "RF_SHIMS, which changes its pulse",
    _extended("RF_SHIMS", "2 1 0 0.5 1.57", blocks="rf"),
  ),
  Case(
    "an extension of someone's own",
    "refused",
    "the extension MOTION, which is not known",
    _extended("MOTION", "1 2 3"),
  ),
  Case(
    "blocks that wait for the heart",
    "refused",
    "waits for a trigger",
    _extended("TRIGGERS", "2 1 0 2000"),
  ),
  Case(
    "a delay that is set at the scanner",
    "named",
    "delays that are set at the scanner, TR",
    _soft_delay,
  ),
  Case("a file of 61,000 blocks", "right", "", _many_blocks(61_000)),
  Case(
    "the first frames of a file with unknown events behind them",
    "right",
    "",
    _later_blocks,
  ),
  Case(
    "two trains, each after an inversion",
    "refused",
    "--n_frames=6 keeps",
    _train(inversion=True, repeats=2),
  ),
  Case(
    "the first of two trains, each after an inversion",
    "right",
    "",
    _train(inversion=True, repeats=2, n_frames=6),
  ),
  Case(
    "an inversion that the file calls a preparation",
    "right",
    "",
    _train(inversion=True, use="preparation"),
  ),
  Case(
    "two readouts after each pulse",
    "named",
    "up to 2 readouts after a pulse",
    _train(readouts=2),
  ),
  Case(
    "a train without gradients",
    "named",
    "has no gradients, which neither balance nor spoil",
    _train(gradients=False),
  ),
  Case(
    "a raster of blocks that is ten times too short",
    "refused",
    "is BlockDurationRaster wrong?",
    _edited(r"(BlockDurationRaster) .*", r"\1 1e-06"),
  ),
  Case(
    "a version after those that are known (Pulseq 1.9)",
    "named",
    "is of Pulseq 1.9; 1.5 is the newest",
    _edited(r"minor 5", "minor 9"),
  ),
  Case(
    "alternating phases, the receiver follows",
    "right",
    "",
    _train(phases=_ALTERNATING),
  ),
  Case(
    "RF spoiling, the receiver follows 90° behind",
    "right",
    "",
    _train(
      phases=_QUADRATIC, receiver=tuple(phase - 90 for phase in _QUADRATIC)
    ),
  ),
  Case(
    "alternating phases, the receiver stays at 0°",
    "named",
    "does not follow its pulses: in frame 1 the pulse has phase 180°",
    _train(phases=_ALTERNATING, receiver=(0.0,) * 6),
  ),
  Case(
    "one phase, the receiver alternates",
    "named",
    "does not follow its pulses: in frame 1 the pulse has phase 0°",
    _train(receiver=_ALTERNATING),
  ),
  Case(
    "the receiver stays at 0°, read from Python",
    "named",
    "does not follow its pulses",
    _warned,
  ),
  Case(
    "raw data of a receiver that stays at 0°",
    "named",
    "the phases that the receiver did not follow are removed",
    functools.partial(_raw, receiver=(0.0,) * 6),
  ),
  Case(
    "raw data of a receiver that follows",
    "right",
    "",
    functools.partial(_raw, receiver=_ALTERNATING),
  ),
  Case(
    "raw data of a receiver that follows, and --demodulate",
    "named",
    "--demodulate removes their phases from the raw data all the same",
    functools.partial(_raw, receiver=_ALTERNATING, demodulate=True),
  ),
  Case(
    "all gradients rewound",
    "right",
    "",
    _train(moments=(0.0,) * 6, balanced=True),
  ),
  Case(
    "gradients that leave one cycle over the slice",
    "right",
    "",
    _train(moments=(1.0,) * 6),
  ),
  Case(
    "gradients that leave a third of a cycle",
    "named",
    "neither balanced (none) nor spoiled",
    _train(moments=(_CYCLES,) * 6),
  ),
  Case(
    "gradients rewound in every second repetition",
    "named",
    "neither balanced (none) nor spoiled",
    _train(moments=(0.0, 4.0) * 3),
  ),
  Case(
    "spoilers of alternating sign, which undo each other",
    "named",
    "spoil by other moments",
    _train(moments=(4.0, -4.0) * 3),
  ),
  Case(
    "readouts along lines, whose echo is not at their start",
    "named",
    "pass the centre of k-space after 45 % of their time",
    _lines,
  ),
  Case(
    "readouts along lines, with the time of the echo",
    "right",
    "",
    functools.partial(_lines, echo="adc_centre"),
  ),
  Case(
    "the time of the echo beside a schedule of text",
    "refused",
    "--echo is for .seq files",
    lambda folder: _text(folder, echo="adc_centre"),
  ),
  Case(
    "two pulses without readout before the train",
    "refused",
    "2 of them without readout come before the train",
    _train(dummies=2),
  ),
  Case(
    "times by flags beside a file that has them",
    "refused",
    "the flag is for schedules that do not say it",
    lambda folder: _read(_Train().write(folder / "train.seq"), tr_ms=15.0),
  ),
  Case(
    "an exported model of a newer JAX",
    "refused",
    "--export_shape=SLICES,Y,X writes one that it runs",
    _exported,
  ),
  Case(
    "magnitudes for an exported model",
    "refused",
    "signals.npy holds real numbers (float32)",
    functools.partial(_exported, dtype=np.float32),
  ),
]
