"""What a configuration says of a network and of its training."""

import flax.linen as nn
import jax
import ml_collections
import numpy as np

from mrf_jax.checks import check_one_of
from mrf_jax.dataset.patches import patch_shape
from mrf_jax.errors import UserError
from mrf_jax.maps import MAP_NAMES
from mrf_jax.networks import NETWORKS
from mrf_jax.training.losses import LOSSES
from mrf_jax.training.options import TrainingOptions

_SAMPLINGS = ("patches", "tiles")


def make_network(config: ml_collections.ConfigDict, method: str) -> nn.Module:
  """Flax module of a network."""
  return NETWORKS[method](**config[method].network)


def training_options(
  config: ml_collections.ConfigDict, method: str
) -> TrainingOptions:
  """Options of the training of a network.

  The section `training` of the network takes precedence over that of all
  networks. Some of its keys do not reach the training as such: `sampling`
  decides the size of a tile, `rank` the signals, see `signal_rank`,
  `generated_heads` the subjects, and `pd_unit` the scale of PD.

  Raises:
    UserError: an option is not valid.
  """
  section = training_section(config, method)
  for name in ("rank", "generated_heads", "pd_unit"):
    section.pop(name, None)
  sampling = section.pop("sampling")
  check_one_of("training.sampling", sampling, _SAMPLINGS)
  if sampling == "patches":
    section["tile"] = 1
  if section["seed"] is None:
    section["seed"] = config.seed
  section["precision"] = config.precision
  return TrainingOptions(**section)


def signal_rank(config: ml_collections.ConfigDict, method: str) -> int | None:
  """Number of temporal components that a network sees; None: all windows."""
  return training_section(config, method)["rank"]


def standardised(config: ml_collections.ConfigDict, *, compressed: bool) -> str:
  """How signals are standardised, as `per` of `normalise_signals`.

  Temporal components are never standardised one by one: the noise of weak
  components would then have the same weight as the signal of strong ones.
  """
  per = config.preprocessing.normalise_signals_per
  return "subject" if compressed and per == "frame" else per


def trains_on_generated(config: ml_collections.ConfigDict, method: str) -> bool:
  """Whether generated heads are among the training subjects of a network."""
  return training_section(config, method).get("generated_heads", False)


def network_predicts_deviations(
  config: ml_collections.ConfigDict, method: str
) -> bool:
  """Whether a network predicts the standard deviations of its maps, too."""
  _, outputs_per_map = LOSSES[training_options(config, method).loss]
  return outputs_per_map == 2


def training_section(config: ml_collections.ConfigDict, method: str) -> dict:
  """Section `training` of all networks, with the values of this network."""
  return {**config.training, **config[method].training}


def check_outputs(
  module: nn.Module, method: str, *, n_channels: int, loss: str
) -> None:
  """Raises `UserError` unless a network has the outputs that its loss needs."""
  patch = jax.ShapeDtypeStruct(
    (1, *patch_shape(module.reach, module.slices), n_channels), np.float32
  )
  outputs, _ = jax.eval_shape(
    lambda x: module.init_with_output(jax.random.key(0), x, train=False), patch
  )
  n_needed = len(MAP_NAMES) * LOSSES[loss][1]
  if outputs.shape[-1] != n_needed:
    raise UserError(
      f"{method}: the network has {outputs.shape[-1]} outputs, the loss "
      f"{loss} needs {n_needed}"
    )
