"""Every stage of the experiment in seconds, for tests: two tiny heads.

python launch.py --config=configs/smoke.py --workdir=runs/smoke

The maps mean nothing; what counts is that every method runs.
"""

import ml_collections

from configs import paper


def get_config() -> ml_collections.ConfigDict:
  """The paper's experiment at the smallest size that shows a brain."""
  config = paper.get_config()
  config.methods = (*config.methods, "dictionary_fit")
  config.data.n_subjects = 2
  config.generated_heads.count = 0
  config.data.grid.update(matrix=32, n_slices=2)
  config.sequence.n_frames = 96
  config.scan.n_coils = 2
  config.scan.spiral.samples_per_arm = 64
  config.scan.stride = 8
  config.training.update(epochs=2, batch=32, watched_voxels=50)
  config.spatiotemporal.network.update(widths=(32, 16), branch_width=8)
  config.spatiotemporal.training = dict(sampling="tiles", batch=8, tile=4)
  config.spatiotemporal_plus.network.update(widths=(16, 8), depth=2)
  config.spatiotemporal_plus.training.update(batch=4, tile=6, rank=5)
  config.cohen.network.widths = (16, 16)
  # Small kernels, since there are (96 - 48) // 8 + 1 = 7 windows only.
  config.hoppe.network.update(
    features=(8, 8, 8, 8),
    kernels=(3, 2, 2, 1),
    strides=(1, 1, 1, 1),
    dense=(16,),
  )
  config.gomez.update(window=(5, 5, 3), rank=5)
  config.benchmark.update(atoms=(100, 1000), seconds=0.0)
  config.dictionary.update(step_percent=30.0, svd_rank=5)
  config.dictionary_fit.rank = 5
  return config
