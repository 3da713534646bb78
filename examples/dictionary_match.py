"""A dictionary and its match
=============================

A pulse sequence makes the signal of a tissue its fingerprint. A dictionary
holds the simulated fingerprints of many pairs of T1 and T2; the entry that is
most like a measured signal gives its T1, T2 and proton density (Ma et al.
2013).

All signals of this example are simulated.
"""

# %%
# The pulse sequence
# ------------------
# ``tailored`` is a schedule of ours. ``make_sequence`` makes one of your own
# flip angles and times, and ``load_sequence`` reads one from a text, MATLAB or
# Pulseq file.
import pathlib

import matplotlib.pyplot as plt
import numpy as np

import mrf_jax

FOLDER = pathlib.Path("runs/examples")
FRAMES = 720
STEP_PERCENT = 4.0
VOXELS = 4000
FOLDER.mkdir(parents=True, exist_ok=True)

sequence = mrf_jax.tailored(FRAMES)
print(sequence)

# %%
# Fingerprints
# ------------
# White matter, grey matter and cerebrospinal fluid (CSF) at 1.5 T. Echoes are
# those of an extended phase graph, as complex numbers of proton density one.
tissues = {
  "white matter": (685.0, 68.0),
  "grey matter": (1150.0, 88.0),
  "CSF": (4500.0, 2000.0),
}
t1_ms, t2_ms = np.array(list(tissues.values())).T
fingerprints = mrf_jax.simulate_fingerprints(sequence, t1_ms, t2_ms)

figure, (top, bottom) = plt.subplots(
  2, 1, figsize=(8, 5), sharex=True, layout="constrained"
)
top.plot(sequence.flip_angles_deg, color="black")
top.set(ylabel="flip angle (°)", ylim=(0, 80))
for name, signal in zip(tissues, np.asarray(fingerprints), strict=True):
  bottom.plot(signal.real, label=name)
bottom.set(xlabel="frame", ylabel="signal (PD 1)", xlim=(0, FRAMES))
bottom.legend(frameon=False, loc="lower right")
top.set_title("A pulse sequence and three fingerprints (simulated)")
figure.savefig(FOLDER / "dictionary_fingerprints.png", dpi=100)

# %%
# The dictionary
# --------------
# Axes are geometric: each value is a few per cent above the one before, because
# errors of T1 and T2 are relative ones. The scanner averages 48 frames for each
# image, so atoms are averaged by the same window. 25 temporal components
# (McGivney et al. 2014) hold nearly all of them and are matched faster.
WINDOW, STRIDE, RANK = 48, 8, 25


def axis(low_ms, high_ms):
  """Geometric axis in steps of STEP_PERCENT."""
  ratio = np.log(high_ms / low_ms) / np.log1p(STEP_PERCENT / 100)
  return np.geomspace(low_ms, high_ms, int(np.ceil(ratio)) + 1)


dictionary = mrf_jax.build_dictionary(
  sequence,
  axis(100, 5400),
  axis(10, 2460),
  window=WINDOW,
  stride=STRIDE,
  rank=RANK,
)
print(f"{dictionary.n_atoms:,} atoms of {dictionary.atoms.shape[1]} components")

# %%
# A match
# -------
# Voxels of random T1, T2 and proton density, with noise in every frame. The
# frames are averaged by the window of the dictionary; ``match`` refuses signals
# of single frames, and says how windows are made.
rng = np.random.default_rng(0)
true_t1_ms = np.exp(rng.uniform(np.log(300), np.log(4000), VOXELS))
true_t2_ms = np.exp(rng.uniform(np.log(30), np.log(300), VOXELS))
true_pd = rng.uniform(0.5, 1.0, VOXELS)
echoes = true_pd[:, None] * np.asarray(
  mrf_jax.simulate_fingerprints(sequence, true_t1_ms, true_t2_ms)
)
noise = rng.normal(scale=0.02, size=(2, *echoes.shape))
frames = echoes + noise[0] + 1j * noise[1]
try:
  mrf_jax.match(dictionary, frames)
except mrf_jax.UserError as error:
  print(error)

images = mrf_jax.sliding_window(frames, window=WINDOW, stride=STRIDE)
maps = mrf_jax.match(dictionary, images)

# %%
# Estimates lie around the line of no error, on the values of the dictionary.
# The next example says how small their spread can be.
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for panel, name, true, found, unit in zip(
  axes,
  ("T1", "T2", "PD"),
  (true_t1_ms, true_t2_ms, true_pd),
  (maps.t1_ms, maps.t2_ms, maps.pd),
  (" (ms)", " (ms)", ""),
  strict=True,
):
  error = np.median(np.abs(found / true - 1))
  panel.plot(true, found, ".", markersize=2, alpha=0.4)
  panel.plot([true.min(), true.max()], [true.min(), true.max()], "k--", lw=1)
  panel.set(xlabel=f"true {name}{unit}", ylabel=f"matched {name}{unit}")
  panel.set_title(f"{name}: median error {error:.1%}", fontsize=10)
  if unit:
    panel.set(xscale="log", yscale="log")
    ticks = [300, 1000, 3000] if name == "T1" else [30, 100, 300]
    panel.set_xticks(ticks, ticks)
    panel.set_yticks(ticks, ticks)
    panel.minorticks_off()
  print(f"{name}: median error {error:.1%}")
figure.suptitle(f"{VOXELS:,} simulated voxels, matched", fontsize=11)
figure.savefig(FOLDER / "dictionary_match.png", dpi=100)
