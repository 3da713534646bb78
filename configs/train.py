"""A network for a sequence of one's own: simulated heads, no reference maps.

  python launch.py --mode=train --schedule=train.txt --output=models/mine

Ten heads are scanned with the schedule: six that MNI152 tissue maps make, of
which the last is kept out to tell the errors, and four of random regions, so
that the network knows more than three tissues. It learns their true maps.
"""

import ml_collections

from configs import demo


def get_config() -> ml_collections.ConfigDict:
  """The demo's heads and our network, of which one fold is trained."""
  config = demo.get_config()
  config.methods = ("spatiotemporal_plus", "dictionary_fit")
  config.folds = (config.data.n_subjects - 1,)
  config.generated_heads.count = 4
  config.data.acquired_maps = False
  config.spatiotemporal_plus.training.pd_unit = "signals"
  config.spatiotemporal_plus.training.epochs = 16
  return config
