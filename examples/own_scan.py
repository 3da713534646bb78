"""A scan of your own to maps
============================

From raw k-space and a file of flip angles to maps of T1, T2 and proton density
as NIfTI files.

The scan of this example is simulated, and written to files as a scanner would.
"""

# %%
# Two files
# ---------
# Your own files take the place of these two: k-space (ISMRMRD), or a complex
# series of images (NIfTI, MATLAB, NumPy), and the schedule of the pulse
# sequence (text, MATLAB, Pulseq).
import pathlib
import textwrap

import matplotlib.pyplot as plt
import numpy as np
from cmcrameri import cm

import mrf_jax

FOLDER = pathlib.Path("runs/examples")
FRAMES, WINDOW, STRIDE = 720, 48, 8
MATRIX, SLICES, COILS = 128, 1, 4
STEPS = 90
FOLDER.mkdir(parents=True, exist_ok=True)

scanned = mrf_jax.simulate_head(
  mrf_jax.Acquisition(mrf_jax.tailored(FRAMES), window=WINDOW, stride=STRIDE),
  matrix=MATRIX,
  n_slices=SLICES,
  n_coils=COILS,
  noise_level=0.1,
  raw_path=FOLDER / "scan.mrd",
)
mrf_jax.save_sequence(scanned.sequence, FOLDER / "schedule.txt")

# %%
# Reading the scan
# ----------------
# ``load_scan`` computes density compensation and coil sensitivities, averages
# 48 frames to an image, finds the head, and holds the signals against the
# sequence. What it had to assume is in the provenance; what cannot be right is
# an error of one line. Images need ``field_strength_t`` besides.
subject = mrf_jax.load_scan(
  FOLDER / "scan.mrd",
  schedule=FOLDER / "schedule.txt",
  window=WINDOW,
  stride=STRIDE,
)
print(subject)
print(textwrap.fill(subject.provenance, 80))

# %%
# Maps
# ----
# A dictionary needs no training. With a model that was trained on scans of this
# sequence, ``mrf_jax.reconstruct(mrf_jax.load_model(folder), subject)`` takes
# the place of the next two calls.
dictionary = mrf_jax.build_dictionary(
  subject.sequence,
  np.geomspace(100, 5400, STEPS),
  np.geomspace(10, 2460, STEPS),
  window=WINDOW,
  stride=STRIDE,
  rank=min(25, subject.n_windows),
)
maps = mrf_jax.match(dictionary, subject.signals)
mrf_jax.save_maps(maps, subject, FOLDER / "maps")
mrf_jax.save_subject(subject, FOLDER / "scan.h5")
print(*sorted(path.name for path in (FOLDER / "maps").iterdir()))

# %%
# The commands for the same, without Python (the second one needs a
# configuration for its dictionary)::
#
#   python launch.py --mode=import --scan=scan.mrd --schedule=schedule.txt \
#     --window=48 --stride=8 --output=scan.h5
#   python launch.py --mode=reconstruct --model=dictionary_fit \
#     --config=configs/demo.py --scan=scan.h5 --output=maps

# %%
# Left is left in these pictures, and the front of the head is up. Proton
# density is in the unit of the signals, and still as bright as the coils are.
z = SLICES // 2
rows = np.flatnonzero(subject.mask[z].any(1))
columns = np.flatnonzero(subject.mask[z].any(0))
figure, axes = plt.subplots(1, 3, figsize=(10, 4), layout="constrained")
for panel, values, title, most, colours in zip(
  axes,
  (maps.t1_ms, maps.t2_ms, maps.pd),
  ("T1 (ms)", "T2 (ms)", "proton density (signal)"),
  (2500, 200, np.percentile(maps.pd, 99)),
  (cm.lipari, cm.navia, "gray"),
  strict=True,
):
  volume = np.full(subject.mask.shape, np.nan, np.float32)
  volume[subject.mask] = values
  image = panel.imshow(
    volume[z, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1],
    cmap=colours,
    vmin=0,
    vmax=most,
    origin="lower",
  )
  panel.set_axis_off()
  panel.text(0.02, 0.02, "L", transform=panel.transAxes)
  panel.text(0.98, 0.02, "R", transform=panel.transAxes, ha="right")
  panel.set_title(title, fontsize=10)
  figure.colorbar(image, ax=panel, extend="max", shrink=0.8)
figure.suptitle("Maps of a simulated scan, matched from its raw data")
figure.savefig(FOLDER / "own_scan.png", dpi=100)
