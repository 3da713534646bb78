"""Options of a network: the fields of its Flax module."""

import dataclasses
from typing import Any

import flax.linen as nn


def module_options(network: nn.Module) -> dict[str, Any]:
  """Options of a network by their names, as its class takes them."""
  return {
    field.name: getattr(network, field.name)
    for field in dataclasses.fields(network)
    # Of every Flax module.
    if field.name not in ("parent", "name")
  }
