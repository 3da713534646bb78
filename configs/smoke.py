"""Seconds, for tests: two tiny heads, every stage of the experiment.

python launch.py --config=configs/smoke.py --workdir=runs/smoke
"""

import ml_collections

from configs import paper


def get_config() -> ml_collections.ConfigDict:
  """The paper's configuration at the smallest size that shows a brain."""
  config = paper.get_config()
  config.data.n_subjects = 2
  config.data.grid.update(matrix=32, n_slices=2)
  config.sequence.n_frames = 96
  config.scan.n_coils = 2
  config.scan.spiral.samples_per_arm = 64
  config.scan.stride = 8
  config.spatiotemporal.update(widths=(32, 16), branch_width=8)
  config.training.update(epochs=2, batch=8, tile=4)
  config.dictionary.step_percent = 30.0
  return config
