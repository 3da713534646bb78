"""The spatiotemporal network and its training step in PyTorch, for `train.py`.

There are two forms. `conv` has the paper's convolutions with channels last.
`linear` has matrix products instead: 1 × 1 layers of [25 · batch, 2T], spatial
layers of [batch, 25 · features] and [batch, 9 · features].
"""

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
  """Convolution or product, dropout, batch normalisation, ReLU."""

  def __init__(self, n_in, n_out, size, *, form, dropout):
    super().__init__()
    if form == "conv":
      self.product = nn.Conv2d(n_in, n_out, size)
      norm = nn.BatchNorm2d
    else:
      self.product = nn.Linear(size * size * n_in, n_out)
      norm = nn.BatchNorm1d
    self.dropout = nn.Dropout(dropout)
    self.norm = norm(n_out, momentum=0.01, eps=1e-3)

  def forward(self, x):
    """Output of the block."""
    return torch.relu(self.norm(self.dropout(self.product(x))))


class Network(nn.Module):
  """Network from patches [batch, 5, 5, 2T] to maps [batch, 3]."""

  def __init__(self, n_channels, *, form, dropout):
    super().__init__()
    self.form = form
    options = {"form": form, "dropout": dropout}
    self.temporal_0 = Block(n_channels, 512, 1, **options)
    self.temporal_1 = Block(512, 256, 1, **options)
    self.spatial_5x5 = Block(256, 128, 5, **options)
    self.spatial_3x3 = Block(256, 128, 3, **options)
    last = nn.Conv2d(256, 3, 1) if form == "conv" else nn.Linear(256, 3)
    self.maps = last

  def forward(self, x):
    """Maps scaled to [0, 1]."""
    if self.form == "conv":
      x = x.permute(0, 3, 1, 2)  # channels last in memory
      x = self.temporal_1(self.temporal_0(x))
      wide = self.spatial_5x5(x)
      narrow = self.spatial_3x3(x[:, :, 1:-1, 1:-1])
      return self.maps(torch.cat([wide, narrow], 1))[:, :, 0, 0]
    n = len(x)
    x = self.temporal_1(self.temporal_0(x.reshape(-1, x.shape[-1])))
    x = x.reshape(n, 5, 5, -1)
    wide = self.spatial_5x5(x.reshape(n, -1))
    narrow = self.spatial_3x3(x[:, 1:-1, 1:-1].reshape(n, -1))
    return self.maps(torch.cat([wide, narrow], -1))


def copy_parameters(network: Network, params) -> None:
  """Copies the parameters of our network.

  Args:
    network: the PyTorch network.
    params: parameters of the Flax network.
  """
  norms = {
    name: f"BatchNorm_{i}"
    for i, name in enumerate(
      ("temporal_0", "temporal_1", "spatial_5x5", "spatial_3x3")
    )
  }

  def fill(tensor, values):
    values = torch.from_numpy(np.array(values))
    tensor.data.copy_(values.reshape(tensor.shape))

  for name in (*norms, "maps"):
    layer = getattr(network, name)
    product = layer if name == "maps" else layer.product
    kernel = np.asarray(params[name]["kernel"])  # [y, x, in, out]
    if network.form == "conv":
      fill(product.weight, kernel.transpose(3, 2, 0, 1))
    else:
      fill(product.weight, kernel.reshape(-1, kernel.shape[-1]).T)
    fill(product.bias, params[name]["bias"])
    if name != "maps":
      norm = params[norms[name]]
      fill(layer.norm.weight, norm["scale"])
      fill(layer.norm.bias, norm["bias"])


def make_step(
  signals: np.ndarray,
  maps: np.ndarray,
  params,
  *,
  form: str,
  dropout: float,
  compiled: bool,
  bfloat16: bool,
  device: str,
):
  """Makes a training step.

  Args:
    signals: voxel table, [row, 2T].
    maps: targets, [row, 3].
    params: initial parameters of the Flax network.
    form: `conv` or `linear`.
    dropout: dropout rate.
    compiled: whether torch.compile compiles forward pass and loss.
    bfloat16: whether products run in bfloat16 (autocast).
    device: `cpu` or `cuda`.

  Returns:
    Function of the rows of patches, [batch, 5, 5], that makes one step and
    returns the loss.
  """
  table = torch.tensor(signals).to(device)
  targets = torch.tensor(maps).to(device)
  network = Network(signals.shape[1], form=form, dropout=dropout)
  copy_parameters(network, params)
  network.to(device)
  if form == "conv":
    network.to(memory_format=torch.channels_last)
  optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

  def loss_of(rows):
    x = table.index_select(0, rows.reshape(-1)).reshape(*rows.shape, -1)
    with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
      estimates = network(x)
    return torch.mean((estimates.float() - targets[rows[:, 2, 2]]) ** 2)

  loss_of = torch.compile(loss_of) if compiled else loss_of

  def step(rows):
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(torch.from_numpy(rows).to(device))
    loss.backward()
    optimizer.step()
    return loss.item()

  return step
