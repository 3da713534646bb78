"""The method `gomez` in a study: folds, alignment and bases."""

import dataclasses

import ml_collections
import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.methods.gomez import gomez
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from tests.dataset.examples import make_subject
from tests.methods.examples import study_of

OPTIONS = dict(
  window=(5, 5, 3),
  patch=(3, 3, 3),
  n_neighbours=1,
  alpha=0.5,
  n_iterations=2,
  rank=6,
  align=True,
  shift_mm=(0.0, 0.0, 0.0),
)


def subject(seed, **change):
  mask = np.zeros((3, 14, 12), bool)
  mask[:, 2:12, 2:10] = True
  acquisition = Acquisition(tailored(20), window=10, stride=2)
  fields = {"head_to_atlas": np.eye(4), **change}
  return make_subject(mask, acquisition, seed, **fields)


def study(subjects, **change):
  config = ml_collections.ConfigDict({"gomez": {**OPTIONS, **change}})
  return study_of(subjects, config, folds=tuple(range(len(subjects))))


def test_a_twin_gives_its_maps():
  twins = [subject(0), subject(1), subject(0)]
  estimates = gomez(study(twins))
  np.testing.assert_allclose(
    estimates.maps[0].stack(), twins[0].maps.stack(), rtol=1e-4, atol=1e-3
  )
  stages = [time.stage for time in estimates.times]
  assert stages == ["compress", "reconstruct"]


def test_full_rank_equals_all_windows():
  subjects = [subject(k) for k in range(3)]
  compressed = gomez(study(subjects, rank=6)).maps
  whole = gomez(study(subjects, rank=None)).maps
  for a, b in zip(compressed, whole, strict=True):
    assert np.mean(np.isclose(a.t1_ms, b.t1_ms, rtol=1e-3)) > 0.99


@pytest.mark.parametrize("align", [True, False])
def test_the_known_affine_undoes_a_displacement(align):
  """The twin's head lies 8 mm (four voxels) further along x."""
  moved = np.eye(4)
  moved[0, 3] = -8.0
  affine = np.diag([2.0, 2.0, 5.0, 1.0])
  affine[0, 3] = 8.0
  twin = subject(0, affine=affine, head_to_atlas=moved)
  first = subject(0)
  maps = gomez(study([first, subject(1), twin], align=align)).maps
  is_close = np.isclose(maps[0].t1_ms, first.maps.t1_ms, rtol=1e-3)
  assert (is_close.mean() > 0.99) == align


def test_left_out_maps_change_nothing():
  subjects = [subject(k) for k in range(3)]
  before = gomez(study(subjects)).maps
  subjects[0] = dataclasses.replace(subjects[0], maps=subject(7).maps)
  after = gomez(study(subjects)).maps
  np.testing.assert_array_equal(before[0].stack(), after[0].stack())


def test_one_subject_has_no_atlas():
  with pytest.raises(UserError, match="leave-one-out"):
    gomez(study([subject(0)]))
