"""Public schedules of other groups, read as they were published."""

import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence.files import load_sequence
from mrf_jax.sequence.pulseq_events import read_events


def test_jiang_fisp_schedule(validation_data):
  folder = validation_data / "jiang2015_fisp"
  angles, trs = folder / "Jiang_FA_FISP.txt", folder / "Jiang_TR_FISP.txt"
  sequence = load_sequence(angles, tr_path=trs)
  assert sequence.n_frames == 1038
  # The five lobes of METHODS: peaks and their frames.
  for frame, peak in ((97, 35), (307, 43), (518, 70), (726, 45), (937, 27)):
    lobe = sequence.flip_angles_deg[frame - 60 : frame + 60]
    assert lobe.max() == pytest.approx(peak, abs=0.7)
  assert sequence.tr_ms.min() == pytest.approx(11.7, abs=0.1)
  assert sequence.tr_ms.max() == pytest.approx(14.3, abs=0.1)
  np.testing.assert_allclose(sequence.rf_phases_deg, 0)
  with pytest.raises(UserError, match="1038 frames, 1040 are needed"):
    load_sequence(angles, tr_path=trs, n_frames=1040)


def test_pulseq_file_plays_its_schedule(validation_data):
  folder = validation_data / "openmrf"
  pulses = read_events(folder / "test_mrf.seq").pulses
  assert len(pulses) == 1001
  assert pulses[0].use == "inversion"
  sequence = load_sequence(folder / "test_mrf.seq")
  listed = load_sequence(
    folder / "yun/fa.txt", tr_path=folder / "yun/tr.txt", te_ms=0.0
  )
  assert sequence.n_frames == listed.n_frames == 1000
  scale = (sequence.flip_angles_deg @ listed.flip_angles_deg) / (
    listed.flip_angles_deg @ listed.flip_angles_deg
  )
  np.testing.assert_allclose(
    sequence.flip_angles_deg, scale * listed.flip_angles_deg, atol=1e-3
  )
  assert scale == pytest.approx(1, abs=0.01)
  # The raster of the scanner is 10 µs.
  np.testing.assert_allclose(
    sequence.tr_ms[:-1], listed.tr_ms[:-1], atol=0.02 + 1e-9
  )
  assert 10 < sequence.inversion_time_ms < 25
  assert np.all((sequence.te_ms > 0) & (sequence.te_ms < 5))


def test_cao_schedule(validation_data):
  folder = validation_data / "openmrf/cao"
  sequence = load_sequence(folder / "fa.txt", tr_path=folder / "tr.txt")
  assert sequence.n_frames == 500
  np.testing.assert_allclose(sequence.tr_ms, 12)


def test_koma_schedule_from_matlab(validation_data):
  sequence = load_sequence(
    validation_data / "koma/MRFinput.mat", inversion_time_ms=50.0
  )
  assert sequence.n_frames == 1000
  assert not sequence.has_constant_phase
  # Phases and echo times are stored in eight bits.
  assert set(np.unique(sequence.rf_phases_deg)) <= {0.0, 180.0}
  assert sequence.flip_angles_deg.max() > 40
  assert np.all(sequence.te_ms < sequence.tr_ms)
