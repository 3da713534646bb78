"""Which cause of error matters: each switched off, and each alone.

  python launch.py --config=configs/ablation.py --workdir=runs/why
  python launch.py --mode=sweep --config=configs/ablation.py --workdir=runs/why
  python launch.py --mode=report --workdir=runs/why --output=docs/ablation

The first command cross-validates all methods on six heads of the demo's size,
with all causes; the second simulates and cross-validates every variant, in two
hours on two cores. Both resume where they were stopped. The third writes a
table for each method: the change of its errors by each cause, with confidence
intervals.

`no_CAUSE` is the scan without one cause; `only_CAUSE` is an ideal scan with
that cause alone. Undersampling by the spiral is in all of them.
"""

import ml_collections

from configs import demo

# What switches each cause off.
OFF = dict(
  noise="scan.noise_level=0.0",
  b1="data.b1_deviation=0.0",
  partial_volume="data.head.partial_volume=False",
  main_field="data.b0.shim_hz=0.0 data.b0.air_cavities=False "
  "data.b0.r2_prime_per_s=0.0",
  pulses="scan.slice_time_bandwidth=0.0 scan.inversion_efficiency=1.0",
  motion=" ".join(
    f"data.motion.between_{what}=0.0"
    for what in ("scans_mm", "scans_deg", "slices_mm", "slices_deg")
  ),
  coils="data.phase_deg=0.0 scan.noise_correlation=0.0 "
  "scan.estimated_sensitivities=False",
  gradients="scan.gradient_delays_us=(0.0,0.0)",
  references="reference.noise_level=0.0 reference.t2_bound_ms=None",
)


def get_config() -> ml_collections.ConfigDict:
  """The demo with fewer slices, and a question about its causes of error."""
  config = demo.get_config()
  config.data.grid.n_slices = 4
  # Their noise and B1 are their own, whatever cause is switched off.
  config.generated_heads.count = 0
  config.methods = (
    "spatiotemporal",
    "spatiotemporal_plus",
    "cohen",
    "hoppe",
    "gomez",
    "dictionary",
  )
  without = {f"no_{cause}": change for cause, change in OFF.items()}
  alone = {
    f"only_{cause}": " ".join(
      change for other, change in OFF.items() if other != cause
    )
    for cause in OFF
  }
  config.questions = dict(
    causes=dict(
      base="",
      paired=dict(same=(*without, "ideal_slice_assumed"), ideal=(*alone,)),
      ways=dict(
        same="models_from='here'",
        ideal=" ".join(OFF.values()),
        **without,
        **alone,
        # The dictionary does not know the profile of the pulses.
        ideal_slice_assumed="dictionary.ideal_slice=True "
        "methods=('dictionary',)",
      ),
    ),
  )
  return config
