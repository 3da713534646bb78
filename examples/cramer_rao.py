"""What a sequence can tell
===========================

The Cramér-Rao bound is the least standard deviation that an unbiased estimate
from one fingerprint can have. It depends on the sequence, the tissue and the
noise alone, so that sequences can be compared before anything is scanned.

All signals of this example are simulated.
"""

# %%
# Three sequences
# ---------------
# A schedule of four blocks, one of five lobes in the manner of Jiang et al.
# 2015, and the same number of equal pulses, all after an inversion.
import pathlib

import matplotlib.pyplot as plt
import numpy as np

import mrf_jax

FOLDER = pathlib.Path("runs/examples")
FRAMES = 720
SIDE = 24
VOXELS = 2000
FOLDER.mkdir(parents=True, exist_ok=True)

sequences = {
  "four blocks": mrf_jax.tailored(FRAMES),
  "five lobes": mrf_jax.jiang_type(FRAMES),
  "equal pulses": mrf_jax.make_sequence(
    np.full(FRAMES, 30.0), tr_ms=14.0, te_ms=2.0, inversion_time_ms=20.0
  ),
}
tissues = {"white matter": (685.0, 68.0), "grey matter": (1150.0, 88.0)}
t1_ms, t2_ms = np.array(list(tissues.values())).T

# %%
# Bounds of white and grey matter
# -------------------------------
# ``noise_sd`` is the standard deviation of the noise on the real part of a
# frame, in units of a signal of proton density one. If B1 is not known, it has
# to be estimated as well, and T1 and T2 become less certain.
NOISE_SD = 0.01
bounds = {
  (name, known): mrf_jax.cramer_rao_bounds(
    sequence, t1_ms, t2_ms, noise_sd=NOISE_SD, b1_known=known
  )
  for name, sequence in sequences.items()
  for known in (True, False)
}
for (name, known), sd in bounds.items():
  words = "known" if known else "unknown"
  for tissue, sd_t1, sd_t2 in zip(tissues, sd.t1_ms, sd.t2_ms, strict=True):
    print(
      f"{name:13} B1 {words:8} {tissue}: T1 ± {sd_t1:.1f}, T2 ± {sd_t2:.1f} ms"
    )

# %%
# Does an estimate reach the bound?
# ---------------------------------
# The match of a fine dictionary is the estimate of highest likelihood. Many
# voxels of white matter with different noise should scatter as much as the
# bound says.
sequence = sequences["four blocks"]
true_t1_ms, true_t2_ms = tissues["white matter"]
dictionary = mrf_jax.build_dictionary(
  sequence,
  true_t1_ms * np.linspace(0.96, 1.04, 121),
  true_t2_ms * np.linspace(0.94, 1.06, 121),
  rank=10,
)
echo = np.asarray(
  mrf_jax.simulate_fingerprints(sequence, [true_t1_ms], [true_t2_ms])
)
noise = np.random.default_rng(0).normal(
  scale=NOISE_SD, size=(2, VOXELS, FRAMES)
)
maps = mrf_jax.match(dictionary, echo + noise[0] + 1j * noise[1])
bound = bounds["four blocks", True]
print(f"T1 scatters by {np.std(maps.t1_ms):.2f}, bound {bound.t1_ms[0]:.2f} ms")
print(f"T2 scatters by {np.std(maps.t2_ms):.2f}, bound {bound.t2_ms[0]:.2f} ms")

# %%
# The whole plane of T1 and T2
# ----------------------------
# The bound of T2 relative to T2, for the first two sequences. White and grey
# matter are marked. Where B1 is unknown, equal pulses tell T2 best: what is
# best for one question may not be for another.
t1_axis = np.geomspace(200, 5000, SIDE)
t2_axis = np.geomspace(20, 2000, SIDE)
t1_grid, t2_grid = np.meshgrid(t1_axis, t2_axis)
inside = t2_grid <= t1_grid

figure, axes = plt.subplots(
  1, 3, figsize=(11, 3.6), layout="constrained", width_ratios=(1, 1, 1.2)
)
for panel, name in zip(axes, ("four blocks", "five lobes"), strict=False):
  percent = np.full(t1_grid.shape, np.nan)
  sd = mrf_jax.cramer_rao_bounds(
    sequences[name], t1_grid[inside], t2_grid[inside], noise_sd=NOISE_SD
  )
  percent[inside] = 100 * sd.t2_ms / t2_grid[inside]
  image = panel.pcolormesh(
    t1_axis, t2_axis, percent, norm="log", vmin=0.5, vmax=10, cmap="viridis"
  )
  panel.plot(t1_ms, t2_ms, "o", color="white", markeredgecolor="black")
  panel.set(xscale="log", yscale="log", xlabel="T1 (ms)", ylabel="T2 (ms)")
  panel.set_xticks([300, 1000, 3000], [300, 1000, 3000])
  panel.set_yticks([30, 100, 300, 1000], [30, 100, 300, 1000])
  panel.minorticks_off()
  panel.set_title(f"{name}: bound of T2 (%)", fontsize=10)
bar = figure.colorbar(image, ax=axes[:2], extend="both")
bar.set_ticks([0.5, 1, 2, 5, 10], labels=["0.5", "1", "2", "5", "10"])
bar.minorticks_off()

bars = axes[2]
places = np.arange(len(sequences))
for shift, (known, label) in enumerate(((True, "known"), (False, "unknown"))):
  heights = [bounds[name, known].t2_ms[0] for name in sequences]
  bars.bar(places + 0.4 * shift, heights, width=0.38, label=f"B1 {label}")
bars.set_xticks(places + 0.2, list(sequences), fontsize=9)
bars.set_ylabel("ms")
bars.margins(y=0.3)
bars.set_title("white matter: bound of T2", fontsize=10)
bars.legend(frameon=False, ncols=2, loc="upper center")
figure.suptitle(
  f"Cramér-Rao bounds at noise of {NOISE_SD:g} per frame (simulated)"
)
figure.savefig(FOLDER / "cramer_rao.png", dpi=100)
