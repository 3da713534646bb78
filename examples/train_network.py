"""Training a network on arrays of your own
===========================================

A network learns the maps of some scans from their signals, and estimates those
of another scan. All that it needs are NumPy arrays: signals, a mask, reference
maps, and the pulse sequence of the scans.

The arrays of this example are those of simulated heads.
"""

# %%
# Arrays
# ------
# Put your own in their place. ``simulate_head`` makes a head, its spiral scan
# and its reference maps, which have noise and errors of their own.
import pathlib

import matplotlib.pyplot as plt
import numpy as np
from cmcrameri import cm

import mrf_jax

FOLDER = pathlib.Path("runs/examples")
FRAMES, WINDOW, STRIDE = 720, 48, 8
HEADS, MATRIX, SLICES, COILS = 3, 64, 3, 2
WIDTHS, RANK, EPOCHS = (96, 48), 16, 20
FOLDER.mkdir(parents=True, exist_ok=True)

sequence = mrf_jax.tailored(FRAMES)
acquisition = mrf_jax.Acquisition(sequence, window=WINDOW, stride=STRIDE)
for number in range(HEADS):
  head = mrf_jax.simulate_head(
    acquisition, seed=number, matrix=MATRIX, n_slices=SLICES, n_coils=COILS
  )
  np.savez(
    FOLDER / f"head-{number}.npz",
    signals=head.signals,
    mask=head.mask,
    affine=head.affine,
    pd=head.maps.pd,
    t1_ms=head.maps.t1_ms,
    t2_ms=head.maps.t2_ms,
  )

# %%
# From arrays to a subject
# ------------------------
# - ``mask`` [slice, y, x] says which voxels are kept;
# - ``signals`` [voxel, image] are complex and in the order of ``images[mask]``.
#   Signals of single frames become images by ``mrf_jax.sliding_window``;
# - ``maps`` are the references, [voxel], times in ms;
# - ``affine`` takes voxel (x, y, slice) to mm, as in a NIfTI file.


def load(number):
  """The subject of a file of arrays."""
  arrays = np.load(FOLDER / f"head-{number}.npz")
  return mrf_jax.Subject(
    subject=f"head {number}",
    mask=arrays["mask"],
    signals=arrays["signals"],
    affine=arrays["affine"],
    acquisition=acquisition,
    field_strength_t=1.5,
    provenance="simulated heads of an example",
    maps=mrf_jax.Maps(arrays["pd"], arrays["t1_ms"], arrays["t2_ms"]),
  )


subjects = [load(number) for number in range(HEADS)]
print(subjects[0])

# %%
# Training
# --------
# ``SpatiotemporalPlus`` sees temporal components of each voxel and of its
# neighbours, here with half of its features and half of its depth. The last
# head is left out. ``train`` takes any Flax module that has ``reach`` and
# ``slices``, and all fields of ``TrainingOptions``.
network = mrf_jax.SpatiotemporalPlus(widths=WIDTHS, depth=2)
curve = []
model = mrf_jax.train(
  network,
  subjects[:-1],
  epochs=EPOCHS,
  rank=RANK,
  on_epoch=lambda epoch, values: curve.append(values["mae_t1_ms"]),
)
print(model)

# %%
# The left-out head
# -----------------
# The model keeps what a reconstruction needs: how signals are normalised, the
# range of the maps, and the sequence, so that it refuses other scans.
# ``reconstruct_with_deviations`` also returns predicted standard deviations.
mrf_jax.save_model(model, FOLDER / "model")
model = mrf_jax.load_model(FOLDER / "model")
left_out = subjects[-1]
maps = mrf_jax.reconstruct(model, left_out)

# %%
# A dictionary is the method to beat, and the mean of the training maps what any
# method must beat.
dictionary = mrf_jax.build_dictionary(
  sequence,
  np.geomspace(100, 5400, 60),
  np.geomspace(10, 2460, 60),
  window=WINDOW,
  stride=STRIDE,
  rank=min(25, acquisition.n_windows),
)
matched = mrf_jax.match(dictionary, left_out.signals)
errors = {}
for name in ("t1_ms", "t2_ms"):
  reference = getattr(left_out.maps, name)
  seen = np.concatenate([getattr(s.maps, name) for s in subjects[:-1]])
  for method, estimate in (
    ("network", getattr(maps, name)),
    ("dictionary", getattr(matched, name)),
    ("training mean", seen.mean()),
  ):
    errors[method, name] = np.abs(estimate - reference).mean()
for method in ("network", "dictionary", "training mean"):
  print(
    f"{method:13}  mean absolute error: "
    f"T1 {errors[method, 't1_ms']:.0f} ms, T2 {errors[method, 't2_ms']:.1f} ms"
  )


# %%
# Maps of the middle slice: acquired, estimated by the network, and matched.


def picture(values):
  """Middle slice of a map, [y, x], without what is around the head."""
  volume = np.full(left_out.mask.shape, np.nan, np.float32)
  volume[left_out.mask] = values
  z = len(volume) // 2
  rows = np.flatnonzero(left_out.mask[z].any(1))
  columns = np.flatnonzero(left_out.mask[z].any(0))
  return volume[z, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


figure, axes = plt.subplots(2, 3, figsize=(8.5, 6.4), layout="constrained")
for row, (name, most, colours) in zip(
  axes, (("t1_ms", 2500, cm.lipari), ("t2_ms", 200, cm.navia)), strict=True
):
  for panel, title, source in zip(
    row,
    ("acquired reference", "network", "dictionary"),
    (left_out.maps, maps, matched),
    strict=True,
  ):
    image = panel.imshow(
      picture(getattr(source, name)),
      cmap=colours,
      vmin=0,
      vmax=most,
      origin="lower",
    )
    panel.set_axis_off()
    panel.text(0.02, 0.02, "L", transform=panel.transAxes)
    panel.text(0.98, 0.02, "R", transform=panel.transAxes, ha="right")
    error = errors.get((title, name))
    heading = title if error is None else f"{title}: error {error:.0f} ms"
    panel.set_title(heading, fontsize=10)
  label = {"t1_ms": "T1 (ms)", "t2_ms": "T2 (ms)"}[name]
  figure.colorbar(image, ax=row, label=label, extend="max")
figure.suptitle("Left-out simulated head, mean absolute errors of all slices")
figure.savefig(FOLDER / "train_network.png", dpi=100)

# %%
# The error of T1 in some of the training voxels after each epoch.
figure, panel = plt.subplots(figsize=(5, 3), layout="constrained")
panel.plot(range(1, EPOCHS + 1), curve, "o-", markersize=3)
panel.set(xlabel="epoch", ylabel="mean absolute error of T1 (ms)")
panel.set_ylim(bottom=0)
panel.xaxis.get_major_locator().set_params(integer=True)
panel.set_title("Training voxels (simulated)", fontsize=10)
figure.savefig(FOLDER / "train_network_curve.png", dpi=100)
