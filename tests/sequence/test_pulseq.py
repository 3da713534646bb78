"""Pulse sequences from Pulseq files, and damaged files."""

import re
import time

import numpy as np
import pypulseq
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence.files import load_sequence

# The sequences of this file have pulses and readouts only.
pytestmark = pytest.mark.filterwarnings("ignore:.* has no gradients")
SYSTEM = pypulseq.Opts(rf_dead_time=100e-6, rf_ringdown_time=0, adc_dead_time=0)
FLIPS = (10.0, 25.0, 40.0, 55.0)
TRS = (0.012, 0.013, 0.014, 0.015)


def excitation(flip_deg, phase_deg=0.0, *, duration=0.002, use="excitation"):
  return pypulseq.make_sinc_pulse(
    flip_angle=np.deg2rad(flip_deg),
    phase_offset=np.deg2rad(phase_deg),
    duration=duration,
    delay=SYSTEM.rf_dead_time,
    use=use,
    system=SYSTEM,
  )


def phase_rad(pulse):
  """Phase of a pulse at its centre."""
  shift = 2 * np.pi * pulse.freq_offset * pulse.center
  return np.angle(pulse.signal.sum()) + pulse.phase_offset + shift


@pytest.fixture
def path(tmp_path):
  return tmp_path / "schedule.seq"


def write(path, *, before=(), pulses=None, adc=True, version=None):
  """Writes a small sequence; each pulse of `before` comes 20 ms earlier.

  The receiver follows the pulses.
  """
  file = pypulseq.Sequence(system=SYSTEM)
  for pulse in before:
    file.add_block(pulse, pypulseq.make_delay(0.020))
  pulses = pulses or [
    excitation(flip, 30.0 * k) for k, flip in enumerate(FLIPS)
  ]
  for pulse, tr in zip(pulses, TRS, strict=False):
    if pulse is not None:
      file.add_block(pulse)
    readout = pypulseq.make_adc(
      num_samples=100,
      duration=0.004,
      delay=0.0005,
      phase_offset=0.0 if pulse is None else phase_rad(pulse),
      system=SYSTEM,
    )
    used = pypulseq.calc_duration(pulse) if pulse is not None else 0.0
    rest = pypulseq.make_delay(round(tr - used, 6))
    file.add_block(*([readout] if adc else []), rest)
  file.write(str(path), v141_compat=version == "1.4.1")
  return path


def unsigned(path, **changes):
  """Text of a small sequence, without its checksum."""
  return write(path, **changes).read_text().split("\n[SIGNATURE]")[0]


def block_pulse(flip_deg, use="excitation"):
  return pypulseq.make_block_pulse(
    flip_angle=np.deg2rad(flip_deg),
    duration=0.001,
    delay=SYSTEM.rf_dead_time,
    use=use,
    system=SYSTEM,
  )


def inversion(use="inversion"):
  return block_pulse(180, use)


def adiabatic():
  return pypulseq.make_adiabatic_pulse(
    "hypsec",
    duration=0.010,
    delay=SYSTEM.rf_dead_time,
    use="inversion",
    system=SYSTEM,
  )


def shifted(flip_deg, frequency_hz, *, use="excitation"):
  pulse = excitation(flip_deg, use=use)
  pulse.freq_offset = frequency_hz
  return pulse


# pypulseq divides by the amplitude of a pulse that has none.
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_zero_and_negative_angles(path):
  pulses = [excitation(flip) for flip in (0, 20, -30, 0)]
  sequence = load_sequence(write(path, pulses=pulses))
  np.testing.assert_allclose(
    sequence.flip_angles_deg, [0, 20, 30, 0], rtol=1e-3, atol=1e-6
  )
  np.testing.assert_array_equal(sequence.rf_phases_deg, [0, 0, 180, 0])


def test_equal_phases_are_constant(path):
  pulses = [excitation(20, phase) for phase in (180, -180, 540, 180)]
  sequence = load_sequence(write(path, pulses=pulses))
  assert sequence.has_constant_phase
  # In the 1 ms before the centre, 250 Hz turn the phase by 90°.
  pulses = [shifted(flip, 250.0) for flip in FLIPS]
  sequence = load_sequence(write(path, pulses=pulses))
  np.testing.assert_allclose(sequence.rf_phases_deg, 90, atol=0.01)


def test_inversion_by_shape(path):
  """In files that do not give the uses of pulses."""
  old = {"version": "1.4.1"}
  sequence = load_sequence(write(path, before=[adiabatic()], **old))
  assert sequence.n_frames == 4
  # 20 ms from block to block; the centres are at 5.1 and 1.1 ms in them.
  assert sequence.inversion_time_ms == pytest.approx(16.0, abs=1e-2)
  # A hard inversion may have the very shape of the excitations.
  hard = [block_pulse(flip) for flip in FLIPS]
  path = write(path, before=[inversion()], pulses=hard, **old)
  sequence = load_sequence(path)
  np.testing.assert_allclose(sequence.flip_angles_deg, FLIPS, rtol=1e-3)
  assert sequence.inversion_time_ms == pytest.approx(20.0, abs=1e-2)
  assert load_sequence(write(path, **old)).inversion_time_ms is None
  # Another excitation before the first is not an inversion.
  odd = [excitation(40, duration=0.004), *(excitation(x) for x in FLIPS[1:])]
  for changes in ({"pulses": odd}, {"before": odd[:1]}):
    with pytest.raises(UserError, match=r"another kind than pulse 0 of 40\.0°"):
      load_sequence(write(path, **changes, **old))


def test_pulses_after_the_last_frame(path):
  """Pulses after the last frame that is needed are not checked."""
  pulses = [excitation(10), excitation(20), inversion(), excitation(30)]
  write(path, pulses=pulses)
  sequence = load_sequence(path, n_frames=2)
  np.testing.assert_allclose(sequence.flip_angles_deg, [10, 20], rtol=1e-3)
  with pytest.raises(UserError, match=r"RF pulse 2 of 180.0° \(inversion\)"):
    load_sequence(path, n_frames=3)


@pytest.mark.parametrize("keyword", ["tr_path", "time_unit", "variables"])
def test_keywords_of_other_formats(path, keyword):
  value = {"tr_path": path, "time_unit": "ms", "variables": {}}[keyword]
  write(path)
  with pytest.raises(UserError, match=f"{keyword} is .* not for .seq files"):
    load_sequence(path, **{keyword: value})


@pytest.mark.parametrize("inverted", [False, True])
def test_angles_phases_and_times(path, inverted):
  before = [inversion()] if inverted else []
  sequence = load_sequence(write(path, before=before))
  np.testing.assert_allclose(sequence.flip_angles_deg, FLIPS, rtol=1e-3)
  np.testing.assert_allclose(sequence.rf_phases_deg, [0, 30, 60, 90], atol=1e-3)
  np.testing.assert_allclose(sequence.tr_ms, [12, 13, 14, 14], atol=1e-3)
  # From the middle of the pulse: 1 ms of it and 0.5 ms to the readout.
  np.testing.assert_allclose(sequence.te_ms, 1.5, atol=2e-2)
  # 20 ms from block to block; the centres are at 0.6 and 1.1 ms in them.
  expected = pytest.approx(20.5, abs=1e-2) if inverted else None
  assert sequence.inversion_time_ms == expected


def test_echo_in_the_readout_centre(path):
  late = load_sequence(write(path), echo="adc_centre")
  np.testing.assert_allclose(late.te_ms, 3.5, atol=2e-2)
  with pytest.raises(UserError, match="'middle' is not one of adc_start"):
    load_sequence(path, echo="middle")


def test_saturation_is_not_an_inversion(path):
  sequence = load_sequence(write(path, before=[inversion("saturation")]))
  assert sequence.saturation_time_ms == pytest.approx(20.5, abs=1e-2)
  assert sequence.inversion_time_ms is None


def test_first_frames_only(path):
  sequence = load_sequence(write(path, before=[inversion()]), n_frames=2)
  assert sequence.n_frames == 2
  assert sequence.inversion_time_ms is not None
  with pytest.raises(UserError, match="4 frames, 5 are needed"):
    load_sequence(path, n_frames=5)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"pulses": [None] * 4}, "no RF pulses"),
    (
      {"pulses": [excitation(10), excitation(20), inversion("excitation")]},
      r"RF pulse 2 of 180.0° \(excitation\) is of another kind than pulse 0 of",
    ),
    (
      {"pulses": [excitation(10), excitation(170, use="refocusing")]},
      r"RF pulse 1 of 170.\d° \(refocusing\) is of another kind",
    ),
    (
      {"before": [inversion(), inversion()]},
      r"RF pulse 0 of 180.0° \(inversion\) is before the first",
    ),
    (
      {"before": [inversion("preparation")] * 3},
      r"\(preparation\) is before the first excitation, as 2 others are",
    ),
    ({"adc": False}, "no ADC follows RF pulse 0 of 10"),
    ({"pulses": [excitation(10)]}, "one excitation alone has no TR"),
    ({"pulses": [inversion()]}, "no excitation"),
    (
      {"pulses": [shifted(10, 0.0), shifted(10, 800.0)]},
      "RF pulse 1 of 10.0° .* of another kind than pulse 0",
    ),
    (
      {"before": [shifted(110, -440.0, use="saturation")]},
      "RF pulse 0 of 110.0° saturates -440 Hz off resonance",
    ),
  ],
)
def test_impossible_sequences_are_named(path, changes, message):
  write(path, **changes)
  with pytest.raises(UserError, match=message) as caught:
    load_sequence(path)
  assert str(path) in str(caught.value)


def test_damaged_files_are_named(path):
  text = write(path).read_text()
  shapes = text.index("[SHAPES]")
  for content in ("", "nonsense\n", text[:300], text[: shapes + 200]):
    path.write_text(content)
    with pytest.raises(UserError, match=r"schedule\.seq"):
      load_sequence(path)
  with pytest.raises(UserError, match="no such file"):
    load_sequence(path.with_name("missing.seq"))


def test_a_signature_must_fit(path):
  text = write(path).read_text()
  unsigned, signature, _ = text.partition("\n[SIGNATURE]")
  assert signature
  flips = load_sequence(path).flip_angles_deg
  # Editors remove the last line end, and systems have different ones; without
  # a signature no change can be seen.
  for same in (unsigned, text.rstrip("\n"), text.replace("\n", "\r\n")):
    path.write_bytes(same.encode())
    np.testing.assert_array_equal(load_sequence(path).flip_angles_deg, flips)
  number = text.index("\n[RF]\n") + 300
  digit = next(i for i in range(number, len(text)) if text[i].isdigit())
  other = str((int(text[digit]) + 1) % 10)
  for changed, words in (
    (
      text[:digit] + other + text[digit + 1 :],
      r"signature does not fit.*\[SIGNATURE\]",
    ),
    (text[: text.index("Hash")], "signature does not fit"),
    (text[: text.index("md5") + 2], "cut short in a line"),
    (unsigned.rstrip()[:-1], "cut short in a line"),
  ):
    path.write_text(changed)
    with pytest.raises(UserError, match=words):
      load_sequence(path)


@pytest.mark.parametrize(
  ("old", "new", "words"),
  [
    ("major 1", "major 2", "of Pulseq version 2; only version 1"),
    ("major 1", "major " + "1" * 5000, "version 1{9}; only version 1"),
    ("\n[ADC]", "\n[RF]", r"it has \[RF\] twice"),
  ],
)
def test_texts_that_are_not_pulseq(path, old, new, words):
  text = unsigned(path)
  assert old in text
  path.write_text(text.replace(old, new, 1))
  with pytest.raises(UserError, match=words):
    load_sequence(path)


@pytest.mark.parametrize("word", ["num_samples", "Num_Uncompressed", "1"])
@pytest.mark.parametrize("size", ["1000001", "150000000", "9" * 5000, "-3"])
@pytest.mark.parametrize("version", ["1.4.1", "1.5.0"])
def test_shapes_that_are_too_long(path, word, size, version):
  """Any number of equal samples takes three lines of a file."""
  text = unsigned(path, version=version)
  shape = f"shape_id 1\n{word} {size}\n0\n0\n{int(size[:9]) - 2}\n\n"
  path.write_text(text.split("[SHAPES]")[0] + f"[SHAPES]\n\n{shape}")
  words = rf"shape of {size[:20]} samples; at most"
  with pytest.raises(UserError, match=words):
    load_sequence(path)


def test_many_long_shapes(path):
  """Two shapes of a million samples in turn, in a file of some kilobytes."""
  head = write(path).read_text().partition("[BLOCKS]\n")[0]
  blocks = "".join(f"{k} 200000 {1 + k % 2} 0 0 0 0 0\n" for k in range(1, 61))
  pulses = "".join(f"{k} 100 {k} 3 0 1000 100 0 0 0 0 e\n" for k in (1, 2))
  # A sample, then steps of zero.
  samples = ("1\n0\n0\n999997", "1\n0\n0\n999996\n-1", "0\n0\n999998")
  shapes = "".join(
    f"shape_id {k}\nnum_samples 1000000\n{text}\n\n"
    for k, text in enumerate(samples, 1)
  )
  path.write_text(
    f"{head}[BLOCKS]\n{blocks}\n[RF]\n{pulses}\n[SHAPES]\n\n{shapes}"
  )
  # Each is decoded once, however often it is played.
  with pytest.raises(UserError, match="another kind than pulse 0"):
    load_sequence(path)


def test_too_many_long_shapes(path):
  head = write(path).read_text().partition("[BLOCKS]\n")[0]
  numbers = range(1, 23)
  blocks = "".join(f"{k} 200000 {k} 0 0 0 0 0\n" for k in numbers)
  pulses = "".join(f"{k} 100 {k} 1 0 1000 100 0 0 0 0 e\n" for k in numbers)
  shapes = "".join(
    f"shape_id {k}\nnum_samples 1000000\n0.{k}\n0\n0\n999997\n\n"
    for k in numbers
  )
  path.write_text(
    f"{head}[BLOCKS]\n{blocks}\n[RF]\n{pulses}\n[SHAPES]\n\n{shapes}"
  )
  with pytest.raises(UserError, match="shapes of more than 20,000,000 samples"):
    load_sequence(path)


def gradient_train(path, areas, *, axis="z"):
  """Writes a train whose repetitions have gradients of some areas, cycles/m."""
  file = pypulseq.Sequence(system=SYSTEM)
  for flip, of_frame in zip(FLIPS, areas, strict=True):
    file.add_block(excitation(flip))
    readout = pypulseq.make_adc(100, duration=0.004, delay=5e-4, system=SYSTEM)
    file.add_block(readout, pypulseq.make_delay(0.005))
    for area in of_frame:
      file.add_block(
        pypulseq.make_trapezoid(axis, area=area, duration=2e-3, system=SYSTEM)
      )
  file.write(str(path))
  return path


def test_balanced_by_its_gradients(path):
  areas = 4 * [(500.0, -500.0)]
  assert load_sequence(gradient_train(path, areas)).balanced
  assert not load_sequence(gradient_train(path, 4 * [(1000.0, 500.0)])).balanced
  # What follows the last pulse changes no echo.
  areas[-1] = (500.0,)
  assert load_sequence(gradient_train(path, areas)).balanced
  areas[1] = (500.0, -200.0)
  with pytest.warns(UserWarning, match=r"by 0 \(frame 0\) to 0.3 cycles"):
    assert not load_sequence(gradient_train(path, areas)).balanced


@pytest.mark.parametrize("z", ["1 0 0 0", "0 0 0 1"])
def test_turned_gradients(path, z):
  """A turn by 180° about z (Pulseq 1.5.1) undoes what would rewind x."""
  text = gradient_train(path, 4 * [(1000.0, -1000.0)], axis="x").read_text()
  text = text.split("\n[SIGNATURE]")[0]
  # Every fourth block has the second gradient of a frame.
  text = re.sub(r"(?m)^( *(?:4|8|12|16) 200 .*) 0$", r"\1 1", text)
  extension = f"[EXTENSIONS]\n1 1 1 0\n\nextension ROTATIONS 1\n1 {z}\n\n"
  mark = "# Sequence Shapes"
  path.write_text(text.replace(mark, extension + mark) + "\n")
  assert load_sequence(path).balanced == (z == "1 0 0 0")


def test_letters_of_another_encoding(path):
  text = unsigned(path).replace("[DEFINITIONS]", "[DEFINITIONS]\nName Schädel")
  path.write_bytes(text.encode("latin-1"))
  np.testing.assert_allclose(load_sequence(path).flip_angles_deg, FLIPS, 1e-3)


def test_many_sections_are_an_error(path):
  sections = "".join(f"[S{k}]\n" for k in range(100_000))
  path.write_text(f"{unsigned(path)}\n{sections}")
  begin = time.process_time()
  with pytest.raises(UserError, match=r"schedule\.seq: not a readable Pulseq"):
    load_sequence(path)
  assert time.process_time() - begin < 10
