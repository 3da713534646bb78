"""Adam, its learning rate at each step and its weight decay."""

from typing import TYPE_CHECKING

import jax

from mrf_jax.training.options import TrainingOptions

if TYPE_CHECKING:
  import optax


def learning_rates(
  options: TrainingOptions, *, n_steps: int
) -> "optax.Schedule":
  """Learning rate as a function of the step."""
  import optax

  if options.schedule == "cosine":
    return optax.cosine_decay_schedule(options.learning_rate, n_steps)
  return optax.constant_schedule(options.learning_rate)


def make_optimizer(
  options: TrainingOptions, *, n_steps: int
) -> "optax.GradientTransformation":
  """Adam, with weight decay of the kernels apart from the gradient.

  W ← W − r (A(g) + λ W), with learning rate r, Adam's step A(g) and weight
  decay λ (Loshchilov 2019). Biases and the scales of batch normalisation, which
  have one axis, do not decay.
  """
  import optax

  rates = learning_rates(options, n_steps=n_steps)
  if not options.weight_decay:
    return optax.adam(rates)
  return optax.adamw(
    rates,
    weight_decay=options.weight_decay,
    mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
  )
