"""Options that the paper does not state, with a value and its reason for each.

`paper.py` starts from this file and adds the numbers of Balsiger et al. 2018;
`demo.py`, `study.py` and `smoke.py` start from `paper.py`. Sections follow the
pipeline.
"""

import ml_collections

# A value that may be None: placeholder(int) accepts an int or None.
placeholder = ml_collections.config_dict.placeholder


def get_config() -> ml_collections.ConfigDict:
  """Every option that the paper leaves open."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  # Matrix products and activations of training, reconstruction and matching:
  # float32, tf32 or bfloat16; the latter two need an accelerator. Parameters,
  # statistics and sums are always float32.
  config.precision = "float32"
  # Subjects to leave out, one for each fold. None: each subject once.
  config.folds = placeholder(tuple)
  # Workdirs to borrow the subjects and the trained networks from.
  # None: simulate and train in this workdir.
  config.subjects_from = placeholder(str)
  config.models_from = placeholder(str)
  config.data = _data()
  config.sequence = _sequence()
  config.scan = _scan()
  config.reference = dict(
    refocusing_deg=180.0,  # nominal; B1 scales it
    noise_level=0.01,
    # Greatest T2 of the fit, ms: echoes up to 160 ms do not tell longer ones.
    # Errors of CSF in the paper, 175 to 229 ms, say that its references cannot
    # have reached seconds. None: that of `fit_t2`, 4000.
    t2_bound_ms=placeholder(float),
  )
  config.reference.t2_bound_ms = 1200.0
  config.generated_heads = _generated_heads()
  config.training = _training()
  config.spatiotemporal_plus = _spatiotemporal_plus()
  config.gomez = _gomez()
  config.dictionary = _dictionary()
  config.dictionary_fit = _dictionary_fit()
  # Used by --mode=benchmark: numbers of atoms, and about how many seconds the
  # repeats of each row take. A million atoms need 6 GB; all rows take about a
  # quarter of an hour on two cores.
  config.benchmark = dict(
    atoms=(1_000, 10_000, 100_000, 1_000_000), seconds=10.0
  )
  # Used by --mode=sweep; see study.py.
  config.questions = dict()
  # Used by --mode=design: the T1-T2 plane over which it shows Cramér-Rao
  # bounds.
  config.design = dict(
    t1_ms=(200.0, 5400.0),
    t2_ms=(20.0, 2460.0),
    step_percent=12.0,
    b1_known=True,
  )
  config.evaluation = _evaluation()
  return config


def _data() -> dict:
  """Subjects: simulated heads, of MNI152 or of maps, or files of real ones."""
  return dict(
    # Subject files written by `--mode=import`, used instead of simulated heads.
    # All need reference maps. They bring their own sequence, window and noise,
    # so those options are then ignored.
    files=(),
    # Folders with T1, T2 and PD of a head each, in NIfTI, which are scanned
    # instead of MNI152 heads (docs/simulation.md). `head`, `between_subjects`,
    # `within_tissue` and `lesions` are of MNI152 heads only.
    maps=(),
    # Of simulated scans, T. MNI152 heads have the T1 and T2 of this field; what
    # else changes with it, b1_deviation, b0 and the tissues' limits of T1 in
    # `evaluation`, are values of their own.
    field_strength_t=1.5,
    # Whether the reference maps of simulated heads are acquired, as `reference`
    # says. False takes the true ones, for models that are to know no errors of
    # a reference scan.
    acquired_maps=True,
    # Also keep the k-space as ISMRMRD, raw/subject-NN.mrd (1.6 GB each at the
    # paper's size), and the schedule, raw/train.txt.
    keep_raw=False,
    # Height of the middle slice in MNI space: the lateral ventricles.
    grid=dict(centre_z_mm=15.0),
    # How much heads and tissues differ between volunteers is not known for the
    # paper's scans. Ma 2013 measured a scatter of 5 and 6 % in the T1 and T2 of
    # white matter; Wright 2008 found deviations of 5 % in the T1 of white and
    # of 11 % in that of grey matter, most of them local.
    head=dict(
      sharpness=4.0,
      warp_mm=3.0,
      rotation_deg=3.0,
      scaling=0.03,
      deep_grey=True,
      partial_volume=True,
    ),
    between_subjects=0.03,
    within_tissue=0.04,
    local_variation=dict(wm=0.02, gm=0.1, csf=0.0),
    # Estimated for a head at 1.5 T; at 3 T it is two to three times as much.
    b1_deviation=0.1,
    # Offset of the main field: standard deviation of what the shim leaves, Hz
    # (estimated), the air of sinuses and ears, and the rate of decay R2' that
    # it causes in white and grey matter, 1/s (estimated: T2' of brain is a few
    # hundred ms at 1.5 T).
    b0=dict(shim_hz=8.0, air_cavities=True, r2_prime_per_s=3.0),
    # Standard deviation of the phase of the object, degrees (estimated).
    phase_deg=20.0,
    # The head moves from the reference scans to this one, and from slice to
    # slice: standard deviations along and about x, y and z, mm and degrees.
    # Afacan 2016: half a millimetre separates scans of good quality from bad
    # ones; within a scan it is less.
    motion=dict(
      between_scans_mm=0.5,
      between_scans_deg=0.5,
      between_slices_mm=0.2,
      between_slices_deg=0.2,
    ),
    # Spheres inside white matter. The paper's volunteers were healthy.
    lesions=dict(count=0, radius_mm=6.0, t1_ms=1200.0, t2_ms=200.0),
  )


def _sequence() -> dict:
  """The schedule of flip angles and TRs."""
  return dict(
    # A schedule of our own, `tailored` or `jiang_type`; used if path is None.
    # The paper's schedule (Shaik 2018) is not public.
    kind="tailored",
    # A text, MATLAB or Pulseq file with the schedule, of which the first
    # `n_frames` frames are used, and a text file of TRs if they are stored
    # separately. A file's sequence is gradient-spoiled, unless it is a text
    # file with the comment `# balanced`.
    path=placeholder(str),
    tr_path=placeholder(str),
    # Units of the file: ms, s or us, deg or rad. None is ms and deg, and values
    # that look like another unit are an error. Phases in rad beside angles in
    # deg need a column of the name rf_phase_rad.
    time_unit=placeholder(str),
    angle_unit=placeholder(str),
    # Where in a Pulseq readout the echo is: adc_start or adc_centre.
    echo="adc_start",
    # Used if the file does not state them.
    te_ms=2.0,
    inversion_time_ms=20.0,
  )


def _scan() -> dict:
  """The simulated acquisition in k-space."""
  return dict(
    # Arms are turned by 360° / 48 = 7.5° from frame to frame, so that one
    # window of 48 frames samples k-space fully. 1092 samples an arm, of 10 µs,
    # are those of a public reconstruction with the same window.
    spiral=dict(
      n_arms=48, samples_per_arm=1092, density_power=1.25, readout_ms=10.92
    ),
    # Time-bandwidth product of sinc pulses, those of the fast spin echo too; 0
    # is an ideal slice. 4 is a common value. And the share of the magnetisation
    # that the inversion turns: 0.96 for adiabatic pulses, Marques 2010.
    slice_time_bandwidth=4.0,
    inversion_efficiency=0.96,
    # How late the gradients along x and y are, µs (estimated: what a
    # calibration leaves of delays of some µs), and how the noise of
    # neighbouring coils correlates (estimated, after arrays for the head).
    gradient_delays_us=(1.0, 0.5),
    noise_correlation=0.2,
    # Whether coil sensitivities are estimated from the scan. False: known.
    estimated_sensitivities=True,
    # Standard deviation of a B1 map that is measured besides each scan, which
    # dictionary_fit then uses, and a network with `sees_b1`. None: no such map.
    # 0.02 is what good methods reach (estimated).
    b1_map_error=placeholder(float),
    # Dictionary matching then scatters by 6 % in the T1 of white matter, where
    # Ma 2013 found 5 %; see docs/simulation.md, Noise level.
    noise_level=0.03,
    # Error of true signals, which are interpolated in a temporal subspace.
    subspace_tolerance=1e-4,
  )


def _generated_heads() -> dict:
  """Further training subjects, which nobody's brain looks like.

  Random regions whose T1, T2 and PD are drawn apart, within the ranges of the
  dictionary, so that a network learns what a signal says and not only what
  three tissues look like. Networks whose `training.generated_heads` is True
  learn their true maps. They are never left out, and no result is of them.
  """
  return dict(
    count=0,
    # Smallest and largest distance of the middles of neighbouring regions.
    region_mm=(4.0, 30.0),
    # Least and greatest PD, relative to water.
    pd=(0.2, 1.1),
    # Relative standard deviation inside a region, of T1, T2 and PD apart.
    within_region=0.05,
    # Of each head, drawn between these: the greatest deviation of B1, and the
    # noise relative to `scan.noise_level`.
    b1_deviation=(0.0, 0.3),
    noise=(0.5, 2.0),
  )


def _training() -> dict:
  """Options of all networks; a network's own `training` overrides them.

  paper.py sets three that have other values too: `sampling` "tiles", `schedule`
  "cosine", and `loss` "likelihood", "weighted_likelihood" or
  "separate_likelihood". These need a network that also predicts standard
  deviations; under the last two the maps still learn by the squared error.
  """
  return dict(
    # Seed of initial weights, order and dropout. None: the experiment's seed.
    seed=placeholder(int),
    # Side of a tile in estimates, used if `sampling` is "tiles": squares of
    # neighbouring estimates, `batch` of them a step, that share the layers
    # which see one voxel at a time.
    tile=6,
    # Temporal components of the training subjects as input instead of all
    # windows. With a rank, normalisation per "frame" acts per "subject", so
    # that components keep their proportions. None: all windows.
    rank=placeholder(int),
    weight_decay=0.0,
    # Weights of PD, T1 and T2 in the loss.
    map_weights=(1.0, 1.0, 1.0),
    # Powers of PD, T1 and T2 that the network learns; 0 is the logarithm.
    map_powers=(1.0, 1.0, 1.0),
    # Whether `generated_heads`, if there are any, are among the training
    # subjects. Those of the paper's networks are heads.
    generated_heads=False,
    # Unit of a network's PD: that of the "references" that it learns, however
    # bright a scan is, or that of a scan's "signals", as a dictionary's. None
    # is "signals" if all training scans are simulated, which have no gain.
    pd_unit="references",
    # Mirror tiles at random.
    flips=False,
    # Share of tiles whose masks are altered at random, so that the mask of a
    # scan changes little; see `alter_masks`.
    altered_masks=0.0,
    # Loss weights: 0 weighs all voxels equally, 1 all values of T1.
    balance=0.0,
    # Standard deviation of noise added to the normalised signals.
    input_noise=0.0,
    # Signals on the device. 16 bits halve 8.9 GB; float16 rounds finer than
    # bfloat16 (error 5e-4), and its range suffices for unit variance.
    storage="float16",
    # Folds that one device vectorises over. None: one on a CPU, all otherwise.
    folds_at_once=placeholder(int),
    checkpoint_epochs=1,
    checkpoint_minutes=10.0,
    # Voxels whose errors every epoch reports; see Fold.watched.
    watched_voxels=1000,
  )


def _spatiotemporal_plus() -> dict:
  """Our network; docs/high_noise/results.md has the study of every choice."""
  return dict(
    network=dict(
      widths=(192, 96),
      depth=4,
      slices=3,
      n_outputs=6,
      # Atoms between which the network has a match to begin from: their step,
      # %, and their ranges, those of `dictionary`. 0: no match.
      match_step_percent=20.0,
      # Whether it needs a measured B1 map of each scan, which it then sees.
      sees_b1=False,
      match_t1_ms=(100.0, 5400.0),
      match_t2_ms=(10.0, 2460.0),
    ),
    training=dict(
      sampling="tiles",
      tile=16,
      batch=4,
      rank=32,
      schedule="cosine",
      loss="separate_likelihood",
      map_powers=(0.0, 0.0, 0.5),
      balance=0.4,
      flips=True,
      altered_masks=0.3,
      generated_heads=True,
      pd_unit=placeholder(str),
    ),
  )


def _gomez() -> ml_collections.ConfigDict:
  """Spatiotemporal dictionary matching, what the paper does not state."""
  gomez = ml_collections.ConfigDict()
  # Temporal components: ten, as in the public code of the authors' group.
  # None keeps all frames; only a configuration file can set it, not a flag.
  gomez.rank = placeholder(int)
  gomez.rank = 10
  # Simulated heads are aligned by the affine transform that made them. False
  # uses the scanner's coordinates.
  gomez.align = True
  # Added to the position of every training scan, to study misalignment.
  gomez.shift_mm = (0.0, 0.0, 0.0)
  return gomez


def _dictionary() -> dict:
  """Dictionary matching, which the paper does not compare with."""
  return dict(
    # Up to the longest T1 and T2 of CSF at 1.5 T in Ma 2013. Atoms beyond fit
    # no tissue of a head, only noise.
    t1_ms=(100.0, 5400.0),
    t2_ms=(10.0, 2460.0),
    step_percent=3.0,
    b1=(1.0,),
    # Whether atoms are those of an ideal slice, though the sequence states the
    # profile of its pulses.
    ideal_slice=False,
    # "exhaustive" scores every atom. "groups" skips atoms that a bound excludes
    # and finds the same ones in float32; faster from some 2,000 atoms on (CPU).
    search="exhaustive",
    svd_rank=25,  # of dictionary_svd, as in McGivney 2014
  )


def _dictionary_fit() -> dict:
  """Matching off the grid, between the atoms of `dictionary`'s ranges."""
  return dict(
    # Of the atoms at which the fit begins. Steps of 8 and of 25 % end at the
    # same errors, on five trains.
    step_percent=20.0,
    rank=25,
    # Of interpolated fingerprints, relative to their norms: noise is larger.
    largest_error=1e-4,
    # "none": B1 is 1; "free": it is fitted, too, which few sequences allow;
    # "map": it is that of the scan. None: by the scan's map if it has one, else
    # 1.
    b1=placeholder(str),
    # Factors on the flip angles of a fit, and of a map.
    b1_range=(0.7, 1.3),
  )


def _evaluation() -> dict:
  """Tissues by limits of T1; the paper takes them from Ma 2013."""
  # T1 at 1.5 T in Ma 2013: WM 608-756, GM 998-1304, CSF 4103-5400 ms. The
  # WM-GM limit is half-way between their ranges, and the outer limits are as
  # far out again; CSF begins half-way between GM and CSF.
  thresholds_ms = dict(
    wm=(487.0, 877.0), gm=(877.0, 1425.0), csf=(2704.0, float("inf"))
  )
  # Each of these gives a further table, to show what the limits change.
  other_thresholds_ms = dict(
    # The ranges of Ma 2013, which leave out voxels of mixed tissue.
    literature=dict(
      wm=(608.0, 756.0), gm=(998.0, 1304.0), csf=(4103.0, 5400.0)
    ),
    # Limits that include as many mixed voxels as possible.
    touching=dict(
      wm=(300.0, 877.0), gm=(877.0, 2704.0), csf=(2704.0, float("inf"))
    ),
  )
  return dict(
    thresholds_ms=thresholds_ms, other_thresholds_ms=other_thresholds_ms
  )
