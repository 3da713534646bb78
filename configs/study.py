"""The study: all methods on six heads of 2 mm voxels, and tests of each choice.

  python launch.py --config=configs/study.py --workdir=runs/study
  python launch.py --mode=sweep --config=configs/study.py --workdir=runs/study
  python launch.py --mode=report --workdir=runs/study --output=docs

The first command makes Table 1 from all six folds, in 1.4 hours on two cores.
The second runs the variants of every question below, most of them on one fold,
in about four hours; `--questions=noise,rank` runs some. The third writes
docs/results.md, which has the results to expect. Each command resumes where it
was stopped. One fold of one network, in less than ten minutes:

  python launch.py --config=configs/study.py --workdir=runs/fold \
    --config.folds="(0,)" --config.methods="('spatiotemporal_plus',)"

Nothing was tuned on these heads. Tuning used the six heads of the question
`development`, of another seed: the first alone was left out, or each of the
first three in turn.
"""

import ml_collections

from configs import paper

# Choices were made on these heads, which are not in the study. Those of our
# network used half of its epochs, on three folds or on the first alone.
_DEVELOPMENT = "questions/development/same"
_FIRST = f"seed=1 folds=(0,) subjects_from='{_DEVELOPMENT}'"
_HALF = "spatiotemporal_plus.training.epochs=20"
_ON_THREE = (
  f"seed=1 folds=(0,1,2) subjects_from='{_DEVELOPMENT}' "
  f"methods=('spatiotemporal_plus',) {_HALF}"
)
_ON_ONE = f"{_FIRST} methods=('spatiotemporal_plus',) {_HALF}"
_WITH_COHEN = f"{_FIRST} methods=('spatiotemporal_plus','cohen') {_HALF}"
_NETWORKS = "'spatiotemporal','spatiotemporal_plus','cohen','hoppe'"


def get_config() -> ml_collections.ConfigDict:
  """The paper's experiment on smaller heads, and the questions about it."""
  config = paper.get_config()
  # 2 × 2 × 3 mm = 12 mm³, against 5 in the paper and 21 in the demo. Four
  # slices have some 20,000 voxels of brain.
  config.data.grid.update(matrix=128, n_slices=4, slice_thickness_mm=3.0)
  config.scan.n_coils = 4
  config.scan.spiral.samples_per_arm = 512
  # At this size 16 bits are no faster than float32.
  config.training.update(
    schedule="cosine", storage="float32", checkpoint_epochs=5
  )
  # Four tiles of 12 × 12 estimates are about as many as 600 patches.
  config.spatiotemporal.training = dict(
    sampling="tiles", batch=4, tile=12, epochs=60, learning_rate=5e-3
  )
  # Dropout before batch normalisation biases a single pass without dropout, and
  # the mean of 16 passes with it takes 16 times as long; see `dropout`.
  config.spatiotemporal.network.dropout = 0.0
  config.spatiotemporal_plus.training.update(epochs=40, learning_rate=2e-3)
  config.cohen.training.update(epochs=12, batch=256, learning_rate=2e-3)
  config.hoppe.training = dict(epochs=2, batch=128, learning_rate=1e-3)
  config.questions = dict(
    **_our_network(), **_paper_networks(), **_whole_study()
  )
  return config


# A question has `base`, changes that all its variants share, and `ways`, the
# variants by name. A variant `same` changes nothing more; a question without it
# names in `against` the question whose `same` its variants are compared with. A
# question with `paired` gets tables of differences head by head; see
# mrf_jax/experiment/variants.py.


def _our_network() -> dict:
  """Questions about training, input and size of `spatiotemporal_plus`."""
  return dict(
    development=dict(base="seed=1 folds=(0,)", ways=dict(same="")),
    schedule=dict(
      base=_ON_THREE,
      ways=dict(
        same="",
        constant="spatiotemporal_plus.training.schedule='constant'",
      ),
    ),
    receptive_field=dict(
      base=_ON_THREE,
      against="schedule",
      ways={
        f"voxels_{2 * depth + 1}": f"spatiotemporal_plus.network.depth={depth}"
        for depth in (0, 1, 2, 3, 6)
      },
    ),
    seeds=dict(
      base=_WITH_COHEN,
      ways={f"seed_{k}": f"training.seed={k}" for k in range(1, 7)},
    ),
    loss=dict(
      base=_ON_ONE,
      ways=dict(
        same="",
        squared_error="spatiotemporal_plus.training.loss='squared_error' "
        "spatiotemporal_plus.network.n_outputs=3",
        likelihood="spatiotemporal_plus.training.loss='likelihood'",
        weighted_maps="spatiotemporal_plus.training.map_weights=(1.0,1.0,10.0)",
      ),
    ),
    scale=dict(
      base=_ON_ONE,
      against="loss",
      ways=dict(
        linear="spatiotemporal_plus.training.map_powers=(0.0,1.0,1.0)",
        logarithms="spatiotemporal_plus.training.map_powers=(0.0,0.0,0.0)",
      ),
    ),
    balance=dict(
      base=_ON_ONE,
      against="loss",
      ways=dict(
        voxels_alike="spatiotemporal_plus.training.balance=0.0",
        t1_alike="spatiotemporal_plus.training.balance=1.0",
      ),
    ),
    slices=dict(
      base=_ON_ONE,
      against="loss",
      ways=dict(one="spatiotemporal_plus.network.slices=1"),
    ),
    rank=dict(
      base=_ON_ONE,
      against="loss",
      ways={
        **{
          f"rank_{rank}": f"spatiotemporal_plus.training.rank={rank}"
          for rank in (8, 16, 64)
        },
        # All frames are standardised one by one, which leaves no match.
        "all_frames": "spatiotemporal_plus.training.rank=None "
        "spatiotemporal_plus.network.match_step_percent=0.0",
      },
    ),
    width=dict(
      base=_ON_ONE,
      against="loss",
      ways={
        f"width_{width}": "spatiotemporal_plus.network.widths="
        f"({2 * width},{width})"
        for width in (48, 128)
      },
    ),
  )


def _paper_networks() -> dict:
  """Questions about the networks of the paper, on the development heads."""
  return dict(
    normalisation=dict(
      base=f"{_FIRST} methods=('spatiotemporal','spatiotemporal_plus','cohen')",
      against="development",
      ways=dict(
        by_scan="preprocessing.normalise_signals_by='scan' "
        "spatiotemporal_plus.network.match_step_percent=0.0",
        subject="preprocessing.normalise_signals_per='subject'",
        voxel="preprocessing.normalise_signals_per='voxel' "
        "spatiotemporal_plus.network.match_step_percent=0.0",
      ),
    ),
    dropout=dict(
      base=f"{_FIRST} methods=('spatiotemporal',)",
      against="development",
      ways=dict(rate_20_percent="spatiotemporal.network.dropout=0.2"),
    ),
    sampling=dict(
      base=f"{_FIRST} methods=('spatiotemporal',)",
      against="development",
      ways=dict(
        patches="spatiotemporal.training.sampling='patches' "
        # These take about as many seconds as the tiles.
        "spatiotemporal.training.batch=600 spatiotemporal.training.epochs=4",
      ),
    ),
    steps=dict(
      base=f"{_FIRST} methods=({_NETWORKS})",
      against="development",
      ways=dict(
        half="spatiotemporal.training.epochs=30 "
        "spatiotemporal_plus.training.epochs=20 cohen.training.epochs=6 "
        "hoppe.training.epochs=1",
        double="spatiotemporal.training.epochs=120 "
        "spatiotemporal_plus.training.epochs=80 cohen.training.epochs=24 "
        "hoppe.training.epochs=4",
      ),
    ),
    baselines=dict(
      base=f"{_FIRST} methods=('spatiotemporal','cohen','hoppe')",
      against="development",
      ways=dict(logarithms="training.map_powers=(1.0,0.0,0.0)"),
    ),
  )


def _whole_study() -> dict:
  """Questions about the study's own heads, which chose nothing."""
  half, double, eight = (
    f"scan.noise_level={0.03 * factor:g}" for factor in (0.5, 2.0, 8.0)
  )
  return dict(
    balance_here=dict(
      base="folds=(0,) methods=('spatiotemporal','spatiotemporal_plus')",
      against="noise",
      ways=dict(
        voxels_alike="methods=('spatiotemporal_plus',) "
        "spatiotemporal_plus.training.balance=0.0",
      ),
    ),
    noise=dict(
      base="folds=(0,)",
      ways=dict(
        half=half, same="models_from='here'", double=double, eightfold=eight
      ),
    ),
    misalignment=dict(
      base="methods=('gomez',)",
      ways=dict(
        unaligned="gomez.align=False",
        x_10_mm="gomez.shift_mm=(10.0,0.0,0.0)",
        x_20_mm="gomez.shift_mm=(20.0,0.0,0.0)",
        z_6_mm="gomez.shift_mm=(0.0,0.0,6.0)",
      ),
    ),
    generalisation=dict(
      base=f"models_from='here' methods=({_NETWORKS},'dictionary_svd')",
      ways=dict(
        same="",
        half_the_noise=half,
        twice_the_noise=double,
        b1_30_percent="data.b1_deviation=0.3",
        b1_0_percent="data.b1_deviation=0.0",
        slices_of_5_mm="data.grid.slice_thickness_mm=5.0",
        lesions="data.lesions.count=8",
      ),
    ),
    other_train=dict(
      base="methods=('spatiotemporal','spatiotemporal_plus','cohen',"
      "'dictionary_svd') folds=(0,)",
      against="noise",
      ways=dict(jiang_type="sequence.kind='jiang_type'"),
    ),
  )
