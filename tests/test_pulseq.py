import numpy as np
import pypulseq
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence_files import load_sequence

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


def write(path, *, flips=FLIPS, before=(), pulses=None, adc=True):
  """A small train; `before` are pulses 20 ms in front of it each."""
  file = pypulseq.Sequence(system=SYSTEM)
  for pulse in before:
    file.add_block(pulse, pypulseq.make_delay(0.020))
  pulses = pulses or [
    excitation(flip, 30.0 * k) for k, flip in enumerate(flips)
  ]
  for pulse, tr in zip(pulses, TRS, strict=False):
    if pulse is not None:
      file.add_block(pulse)
    readout = pypulseq.make_adc(
      num_samples=100, duration=0.004, delay=0.0005, system=SYSTEM
    )
    used = pypulseq.calc_duration(pulse) if pulse is not None else 0.0
    rest = pypulseq.make_delay(round(tr - used, 6))
    file.add_block(*([readout] if adc else []), rest)
  file.write(str(path))
  return path


def inversion(use="inversion"):
  return pypulseq.make_block_pulse(
    flip_angle=np.pi,
    duration=0.001,
    delay=SYSTEM.rf_dead_time,
    use=use,
    system=SYSTEM,
  )


@pytest.mark.parametrize("inverted", [False, True])
def test_angles_phases_and_times(tmp_path, inverted):
  before = [inversion()] if inverted else []
  train = load_sequence(write(tmp_path / "train.seq", before=before))
  np.testing.assert_allclose(train.flip_angles_deg, FLIPS, rtol=1e-3)
  np.testing.assert_allclose(train.rf_phases_deg, [0, 30, 60, 90], atol=1e-3)
  np.testing.assert_allclose(train.tr_ms, [12, 13, 14, 14], atol=1e-3)
  # From the middle of the pulse: 1 ms of it and 0.5 ms to the readout.
  np.testing.assert_allclose(train.te_ms, 1.5, atol=2e-2)
  if inverted:
    # 20 ms from block to block; the pulses' middles lie 0.6 and 1.1 ms in.
    assert train.inversion_time_ms == pytest.approx(20.5, abs=1e-2)
  else:
    assert train.inversion_time_ms is None


def test_the_echo_may_lie_in_the_middle_of_the_readout(tmp_path):
  path = write(tmp_path / "train.seq")
  late = load_sequence(path, echo="adc_centre")
  np.testing.assert_allclose(late.te_ms, 3.5, atol=2e-2)
  with pytest.raises(UserError, match="'middle' is not one of adc_start"):
    load_sequence(path, echo="middle")


def test_a_saturation_is_told_from_an_inversion(tmp_path):
  train = load_sequence(
    write(tmp_path / "train.seq", before=[inversion("saturation")])
  )
  assert train.saturation_time_ms == pytest.approx(20.5, abs=1e-2)
  assert train.inversion_time_ms is None


def test_first_frames_only(tmp_path):
  path = write(tmp_path / "train.seq", before=[inversion()])
  train = load_sequence(path, n_frames=2)
  assert train.n_frames == 2
  assert train.inversion_time_ms is not None
  with pytest.raises(UserError, match="4 frames, 5 are wanted"):
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
      {
        "pulses": [
          excitation(10),
          excitation(20),
          excitation(170, use="refocusing"),
        ]
      },
      r"RF pulse 2 of 170.\d° \(refocusing\) is of another kind",
    ),
    (
      {"before": [inversion(), inversion()]},
      r"RF pulse 0 of 180.0° \(inversion\) stands before the train",
    ),
    (
      {"before": [inversion("preparation")]},
      r"RF pulse 0 of 180.0° \(preparation\) stands before the train",
    ),
    ({"adc": False}, "no ADC follows RF pulse 0 of 10"),
    ({"pulses": [excitation(10)]}, "one excitation alone has no TR"),
  ],
)
def test_trains_that_are_none_are_refused(tmp_path, changes, message):
  path = write(tmp_path / "train.seq", **changes)
  with pytest.raises(UserError, match=message) as caught:
    load_sequence(path)
  assert str(path) in str(caught.value)


# pypulseq leaves a file open that it cannot read.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_damaged_files_are_named(tmp_path):
  path = write(tmp_path / "train.seq")
  text = path.read_text()
  shapes = text.index("[SHAPES]")
  for content in ("", "nonsense\n", text[:300], text[: shapes + 200]):
    path.write_text(content)
    with pytest.raises(UserError, match=r"train\.seq"):
      load_sequence(path)
  with pytest.raises(UserError, match="no such file"):
    load_sequence(tmp_path / "missing.seq")
