import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.sequence import load_sequence


def test_jiang_fisp_schedule(validation_data):
  folder = validation_data / "jiang2015_fisp"
  angles, trs = folder / "Jiang_FA_FISP.txt", folder / "Jiang_TR_FISP.txt"
  train = load_sequence(angles, tr_path=trs)
  assert train.n_frames == 1038
  # The five lobes of METHODS: peaks and their frames.
  for frame, peak in ((97, 35), (307, 43), (518, 70), (726, 45), (937, 27)):
    lobe = train.flip_angles_deg[frame - 60 : frame + 60]
    assert lobe.max() == pytest.approx(peak, abs=0.7)
  assert train.tr_ms.min() == pytest.approx(11.7, abs=0.1)
  assert train.tr_ms.max() == pytest.approx(14.3, abs=0.1)
  np.testing.assert_allclose(train.rf_phases_deg, 0)
  with pytest.raises(UserError, match="1038 frames, 1040 are wanted"):
    load_sequence(angles, tr_path=trs, n_frames=1040)
