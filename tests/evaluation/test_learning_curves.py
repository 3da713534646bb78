"""Learning curves: colours of training and left-out subjects."""

import numpy as np
from matplotlib.image import imread

from mrf_jax.evaluation.learning_curves import learning_curves


def records(epochs=5, **changes):
  return [
    {
      "method": method,
      "fold": fold,
      "epoch": epoch,
      "training_loss": 1 / epoch + fold,
      "training_mae_t1_ms": 300 / epoch,
      "left_out_mae_t1_ms": 400 / epoch,
    }
    | changes
    for method in ("spatiotemporal", "cohen")
    for fold in (0, 1)
    for epoch in range(1, epochs + 1)
  ]


def draw(path, *arguments, **changes):
  learning_curves(path, records(*arguments, **changes), title="simulated")
  return imread(path)[..., :3]


def coloured(image, channel):
  """Pixels that are much stronger in one colour."""
  others = np.delete(image, channel, -1).max(-1)
  return np.count_nonzero(image[..., channel] > others + 0.15)


def test_curves_of_training_and_left_out(tmp_path):
  image = draw(tmp_path / "curves.png")
  assert coloured(image, 0) > 100
  assert coloured(image, 2) > 100
  assert image.shape[1] > image.shape[0] > 400


def test_one_epoch_is_a_point(tmp_path):
  image = draw(tmp_path / "curves.png", 1)
  assert coloured(image, 0) > 20


def test_negative_loss_is_drawn(tmp_path):
  """The loss of a likelihood may be negative."""
  empty = draw(tmp_path / "none.png", training_loss=np.nan)
  below = draw(tmp_path / "below.png", training_loss=-2.0)
  assert coloured(below, 2) > coloured(empty, 2) + 100


def test_likelihood_is_drawn_instead_of_what_rises(tmp_path):
  rising = {"training_loss": -0.01, "loss": "weighted_likelihood"}
  before = draw(tmp_path / "a.png", **rising)
  both = {"training_likelihood": -2.0, "left_out_likelihood": -1.0}
  after = draw(tmp_path / "b.png", **rising, **both)
  panel = np.s_[:, : before.shape[1] // 4]
  assert coloured(before[panel], 0) < 20  # the left-out subject's
  assert coloured(after[panel], 0) > 100


def test_panel_names_the_loss(tmp_path):
  """Records of older versions do not name their loss."""
  before = draw(tmp_path / "a.png")
  named = draw(tmp_path / "b.png", loss="likelihood")
  changed = np.argwhere(np.any(before != named, -1))
  # In the panels of the loss, the first column of four.
  assert len(changed) and changed[:, 1].max() < 0.27 * before.shape[1]
