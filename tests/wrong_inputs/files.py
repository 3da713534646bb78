"""Files that changed, models and scans that do not belong together."""

import collections
import contextlib
import dataclasses
import io
import json
import pathlib
import shutil

import numpy as np

from configs import smoke
from mrf_jax.dataset.identity import identify
from mrf_jax.dataset.normalise import MapRange
from mrf_jax.dataset.subject import Subject, load_subject, save_subject
from mrf_jax.experiment.borrowed import check_maps, check_models, record_models
from mrf_jax.experiment.settings import with_files
from mrf_jax.experiment.sources import study_scans
from mrf_jax.experiment.workdirs import open_workdir
from mrf_jax.importing.scan import align_phases
from mrf_jax.inference.bundle import load_model, save_model
from mrf_jax.inference.model import Model, reconstruct
from mrf_jax.inference.training_scans import scans_entry
from mrf_jax.io.atomic import replacing, write_text
from mrf_jax.maps import Maps
from mrf_jax.methods.study import Study
from mrf_jax.networks.cohen import Cohen
from mrf_jax.sequence.acquisition import Acquisition
from mrf_jax.sequence.schedules import tailored
from mrf_jax.signal.fingerprints import simulate_fingerprints
from mrf_jax.stages.finetune import finetune_files
from mrf_jax.stages.reconstruct import reconstruct_files
from mrf_jax.stages.verify import verify
from mrf_jax.workdir.commits import mixed_maps
from mrf_jax.workdir.lock import release
from mrf_jax.workdir.manifest import record_files
from mrf_jax.workdir.workdir import SOURCES, Workdir
from tests.dataset.examples import make_subject, random_maps
from tests.fit.examples import make_scan, with_signals
from tests.fit.examples import scan as sound_scan
from tests.networks.examples import random_variables
from tests.wrong_inputs.cases import OUTPUT, Case, Seen

_ACQUISITION = Acquisition(tailored(96), window=48, stride=8)
_MASK = np.zeros((2, 12, 12), bool)
_MASK[:, 2:10, 2:10] = True
_FROM = "imported from a scanner"


def _scan(seed: int, **fields) -> Subject:
  """A scan of random signals, which a scanner might have made."""
  fields = {"provenance": _FROM, "subject": f"head {seed}", **fields}
  return make_subject(fields.pop("mask", _MASK), _ACQUISITION, seed, **fields)


def _again(scan: Subject) -> Subject:
  """The same measurement, imported with another mask, gain and phase."""
  mask = scan.mask & (np.arange(12) < 8)
  kept = mask[scan.mask]
  assert scan.maps is not None and scan.signals is not None
  return dataclasses.replace(
    scan,
    subject="someone",
    mask=mask,
    signals=scan.signals[kept] * np.complex64(300j),
    maps=Maps.unstack(scan.maps.stack()[kept] * np.float32(1.01)),
  )


def _scaled_pd(scan: Subject, factor: float) -> Subject:
  assert scan.maps is not None
  maps = dataclasses.replace(scan.maps, pd=scan.maps.pd * np.float32(factor))
  return dataclasses.replace(scan, maps=maps)


def _save(folder: pathlib.Path, *scans: Subject) -> list[pathlib.Path]:
  """Subject files `a.h5`, `b.h5` …"""
  folder.mkdir(exist_ok=True)
  paths = [folder / f"{'abcdef'[k]}.h5" for k in range(len(scans))]
  for path, scan in zip(paths, scans, strict=True):
    save_subject(scan, path)
  return paths


def _config(files, **changes):
  config = smoke.get_config()
  config.methods = ("gomez",)
  config.data.files = tuple(map(str, files))
  config.update(changes)
  return with_files(config)


def _open(files, root: pathlib.Path, **changes) -> Workdir:
  """What a cross-validation does before it computes."""
  return open_workdir(_config(files, **changes), root)


def _run(files, root: pathlib.Path, **changes) -> Workdir:
  """A workdir as a run has left it, with a map."""
  workdir = _open(files, root, **changes)
  path = workdir.map_file("gomez", 0, "t1_ms")
  path.parent.mkdir(parents=True)
  with replacing(path) as temporary:
    temporary.write_text("a map")
  return workdir


# Leave-one-out on files, and the results that are there already.


def _imported_anew(folder, change) -> Seen:
  """A run, a file that is imported anew, and the same run once more."""
  files = _save(folder / "in", _scan(0), _scan(1))
  _run(files, folder / "run")
  save_subject(change(load_subject(files[1])), files[1])
  _open(files, folder / "run")
  return Seen("old maps are used", right=False)


def _other_name(folder) -> Seen:
  _imported_anew(
    folder,
    lambda scan: dataclasses.replace(
      scan, subject="another name", provenance="imported on another day"
    ),
  )
  return Seen("old maps are used: they are of this scan", right=True)


def _verified(folder) -> Seen:
  files = _save(folder / "in", _scan(0), _scan(1))
  _run(files, folder / "run")
  save_subject(_scan(2), files[1])
  with contextlib.redirect_stdout(io.StringIO()):
    verify(folder / "run")
  return Seen("nothing is said", right=False)


def _moved(folder) -> Seen:
  """The folder of files and workdir is moved, and the run goes on there."""
  files = _save(folder / "in", _scan(0), _scan(1))
  _run(files, folder / "in/run")
  # As the end of the first run does.
  release(folder / "in/run")
  shutil.move(folder / "in", folder / "moved")
  moved = [folder / "moved" / file.name for file in files]
  workdir = _open(moved, folder / "moved/run")
  own = all(workdir.subject(k) == path for k, path in enumerate(moved))
  text = workdir.map_file("gomez", 0, "t1_ms").read_text()
  verify(folder / "moved/run")
  return Seen("it goes on with the maps", right=own and text == "a map")


def _reordered(folder) -> Seen:
  files = _save(folder / "in", _scan(0), _scan(1))
  _run(files, folder / "run")
  _open(files[::-1], folder / "run")
  return Seen("maps of one subject are those of another", right=False)


def _subjects_from(folder) -> Seen:
  """Another workdir's subject was made again, by that workdir's own run."""
  config = _config([], methods=("gomez",))
  lender = folder / "lender"
  Workdir(lender, config.to_dict())
  for k in range(2):
    save_subject(_scan(k), lender / f"data/subject-{k:02d}.h5")
  _run([], folder / "run", subjects_from=str(lender))
  save_subject(_scan(5), lender / "data/subject-01.h5")
  _open([], folder / "run", subjects_from=str(lender))
  return Seen("old maps are used", right=False)


def _unrecorded(folder) -> Seen:
  """A workdir of an earlier version; a file of it is newer than its maps."""
  files = _save(folder / "in", _scan(0), _scan(1))
  _run(files, folder / "run")
  (folder / "run" / SOURCES).unlink()
  save_subject(_scan(2), files[1])
  said = io.StringIO()
  with contextlib.redirect_stderr(said):
    _open(files, folder / "run")
  return Seen("the results are used", False, (*said.getvalue().splitlines(),))


def _two_commits(folder) -> Seen:
  for commit, method in (("a" * 40, "gomez"), ("b" * 40, "dictionary")):
    environment = {"git_commit": commit, "versions": {}, "devices": []}
    (folder / "maps" / method).mkdir(parents=True)
    record_files(folder, environment)
    write_text("a map", folder / "maps" / method / "subject-00_t1.nii.gz")
  said = mixed_maps(folder, ("gomez", "dictionary"))
  return Seen("one table of both", False, (said,) if said else ())


# Scans that cannot be in one leave-one-out.


def _together(folder, *scans: Subject) -> Seen:
  _open(_save(folder / "in", *scans), folder / OUTPUT)
  return Seen("the scans are used together", right=True)


def _heads_of(field_t: float, other_t: float):
  return lambda folder: _together(
    folder,
    _scan(0, field_strength_t=field_t),
    _scan(1, field_strength_t=other_t),
  )


def _pd_times(factor: float):
  return lambda folder: _together(
    folder, _scan(0), _scaled_pd(_scan(1), factor)
  )


# Models, and the scans that they were trained on.


def _bundle(folder, name: str, scans, *, field_t=1.5, **training) -> str:
  """A small network with random weights, trained as it says."""
  network = Cohen(widths=(4,))
  acquisition = scans[0].acquisition if scans else _ACQUISITION
  model = Model(
    method="cohen",
    network=network,
    variables=random_variables(network, n_channels=2 * acquisition.n_windows),
    map_range=MapRange(np.array([0.2, 100, 10]), np.array([1.1, 4000, 900])),
    normalise_signals_per="frame",
    acquisition=acquisition,
    field_strength_t=field_t,
  )
  names = scans_entry([identify(scan) for scan in scans]) if scans else {}
  save_model(
    model,
    folder / name,
    config=smoke.get_config().to_dict(),
    training={"seconds": 1.0, "left_out": 0, **names, **training},
  )
  return str(folder / name)


def _flags(**given):
  return collections.defaultdict(lambda: None, given)


def _reconstruct(folder, bundles: list[str], scan: Subject, **given) -> Seen:
  """The table and the sentences that the reconstruction of a scan prints."""
  (path,) = _save(folder / "in", scan)
  said = io.StringIO()
  with contextlib.redirect_stdout(said):
    reconstruct_files(
      _flags(
        model=bundles,
        scan=str(path),
        output=str(folder / OUTPUT),
        # Random signals fit no sequence.
        **{"misfit": "ignore", **given},
      )
    )
  record = json.loads((folder / OUTPUT / "reconstruction.json").read_text())
  lines = [*record["assumed"], *record["about_errors"]]
  (brain,) = [x for x in said.getvalue().splitlines() if "| brain" in x]
  if not all(line in said.getvalue() for line in lines):
    lines = []
  return Seen(f"errors are printed: {brain}", not lines, tuple(lines))


def _seen(folder, scan: Subject, *trained: list[Subject]) -> Seen:
  bundles = [
    _bundle(folder, f"fold-{k}", scans) for k, scans in enumerate(trained)
  ]
  seen = _reconstruct(folder, bundles, scan)
  marked = "(seen in training)" in seen.result
  told = any("seen in training" in sentence for sentence in seen.said)
  return seen if marked == told else Seen("the table has no mark", False)


def _from_python(folder) -> Seen:
  model = load_model(_bundle(folder, "fold-0", [_scan(0)]))
  reconstruct(model, _scan(1, field_strength_t=3.0))
  return Seen("maps", right=False)


def _of_phase(scan: Subject, turn: complex = 1.0) -> Subject:
  """The scan with all of its fingerprints turned to one phase."""
  signals = align_phases(scan.signals + np.complex64(10.0))
  return dataclasses.replace(scan, signals=signals * np.complex64(turn))


def _learned(
  folder, phases: list[complex], own: complex, *, noise: float = 0.03
) -> Seen:
  """A sound scan of one phase, for a network that learned other ones."""
  trained = [
    dataclasses.replace(
      with_signals(sound, phase * sound.signals),
      subject=f"other {k}",
      maps=None,
    )
    for k, phase in enumerate(phases)
    for sound in [make_scan(noise=noise + 0.01 * k)]
  ]
  bundle = _bundle(folder, "fold-0", trained)
  scan = with_signals(sound_scan(), own * sound_scan().signals)
  seen = _reconstruct(folder, [bundle], scan, misfit="refuse")
  said = [sentence for sentence in seen.said if "phase" in sentence]
  return Seen(seen.result, not said, tuple(said))


def _finetune(folder, bundle: str, *scans: Subject) -> Seen:
  files = _save(folder / "in", *scans)
  finetune_files(
    _flags(
      model=[bundle],
      subjects=[str(file) for file in files],
      output=str(folder / OUTPUT),
      epochs=1,
    )
  )
  return Seen("a network", right=False)


def _finetuned(folder) -> Seen:
  """The new bundle knows the scans of its source, too."""
  bundle = _bundle(folder, "fold-0", [_scan(0)])
  with contextlib.redirect_stdout(io.StringIO()):
    _finetune(folder, bundle, _scan(1))
  (folder / OUTPUT).rename(folder / "further")
  return _reconstruct(folder, [str(folder / "further")], _scan(0))


def _borrowed(folder, training: list[Subject]) -> Study:
  """A study of two files with a model of another workdir for its fold 0."""
  files = _save(folder / "in", _scan(0), _scan(1))
  config = _config(files, methods=("cohen",), folds=(0,))
  lender = Workdir(folder / "lender", config.to_dict())
  _bundle(lender.root / "models/cohen", "fold-0", training)
  workdir = open_workdir(config, folder / "run")
  return Study(
    config=config,
    workdir=workdir,
    subjects=[],
    load=lambda k: load_subject(files[k]),
    references=[],
    folds=(0,),
    models=lender,
    scans=study_scans(workdir, 2),
  )


def _lent(folder, *training: Subject) -> Seen:
  study = _borrowed(folder, [*training])
  files = study.config.data.files
  said = check_models(study.config, study.models, study.scans, files)
  return Seen("the models are used", not said, tuple(said))


def _trained_again(folder) -> Seen:
  """Maps by models of another workdir, which trains them again."""
  study = _borrowed(folder, [_scan(1)])
  record_models(study, "cohen")
  _bundle(study.models.root / "models/cohen", "fold-0", [_scan(1)], epochs=7)
  check_maps(study, ["cohen"])
  return Seen("maps by the models before", right=False)


# Proton density of a dictionary.


def _other_gain(folder) -> Seen:
  """The fingerprints of the reference maps, in a unit of the scanner's own."""
  maps = random_maps(int(_MASK.sum()))
  echoes = simulate_fingerprints(tailored(96), maps.t1_ms, maps.t2_ms)
  echoes = np.asarray(echoes)
  images = [echoes[:, k : k + 48].mean(1) for k in range(0, 49, 8)]
  signals = 7e4 * maps.pd[:, None] * np.stack(images, 1)
  scan = _scan(0, signals=signals.astype(np.complex64), maps=maps)
  config = smoke.get_config()
  config.dictionary.update(step_percent=10.0)
  seen = _reconstruct(folder, ["dictionary"], scan, config=config)
  mae = float(seen.result.split("|")[3])
  return Seen(seen.result, right=mae < 0.1, said=seen.said if mae < 0.1 else ())


def _cases_of_results() -> list[Case]:
  """Results in a workdir, and the files that they are from."""
  again = "a subject file of leave-one-out is imported anew"
  other = "is not the scan that the results"
  return [
    Case(
      f"{again}: other signals",
      "refused",
      other,
      lambda folder: _imported_anew(
        folder,
        lambda scan: dataclasses.replace(scan, signals=scan.signals[::-1]),
      ),
    ),
    Case(
      f"{again}: another mask",
      "refused",
      "mask, maps",
      lambda folder: _imported_anew(folder, _again),
    ),
    Case(
      f"{again}: other reference maps",
      "refused",
      "(other maps)",
      lambda folder: _imported_anew(folder, lambda s: _scaled_pd(s, 1.1)),
    ),
    Case(
      f"{again}: another place in the scanner",
      "refused",
      "(other affine)",
      lambda folder: _imported_anew(
        folder,
        lambda s: dataclasses.replace(s, affine=np.diag([-2.0, 2, 5, 1])),
      ),
    ),
    Case(f"{again}: only its name and origin differ", "right", "", _other_name),
    Case(f"{again}: --mode=verify", "refused", "of the scans that", _verified),
    Case("a workdir and its subject files are moved", "right", "", _moved),
    Case("subject files in another order", "refused", other, _reordered),
    Case(
      "a subject of subjects_from is made anew",
      "refused",
      other,
      _subjects_from,
    ),
    Case(
      "a file newer than the maps of a workdir that names no scans",
      "named",
      "is newer than results",
      _unrecorded,
    ),
    Case("maps of two commits", "named", "2 versions", _two_commits),
  ]


def _cases_of_scans() -> list[Case]:
  """Scans in one leave-one-out."""
  return [
    Case(
      "one scan in two files",
      "refused",
      "b.h5: is the same scan as in/a.h5",
      lambda f: _together(f, _scan(0), _scan(0, subject="someone")),
    ),
    Case(
      "one scan in two files, with another mask, gain and phase",
      "refused",
      "b.h5: is the same scan as in/a.h5",
      lambda f: _together(f, _scan(0), _again(_scan(0))),
    ),
    Case(
      "two scans of one subject, by its name",
      "refused",
      "is of subject 'head 0', as in/a.h5 is",
      lambda f: _together(f, _scan(0), _scan(1, subject="head 0")),
    ),
    Case(
      "two subjects", "right", "", lambda f: _together(f, _scan(0), _scan(1))
    ),
    Case("PD of one file in per cent", "refused", "--pd", _pd_times(100.0)),
    Case("PD of one file 1.5 times larger", "right", "", _pd_times(1.5)),
    Case("scans at 1.5 and 3 T", "refused", "at 3 T, but", _heads_of(1.5, 3.0)),
    Case("scans at 2.89 and 3 T", "right", "", _heads_of(2.89, 3.0)),
    Case(
      "--mode=finetune on one scan in two files",
      "refused",
      "is the same scan as",
      lambda f: _finetune(
        f, _bundle(f, "m", [_scan(3)]), _scan(0), _again(_scan(0))
      ),
    ),
    Case(
      "--mode=finetune on scans at 1.5 and 3 T",
      "refused",
      "at 3 T, but",
      lambda f: _finetune(
        f,
        _bundle(f, "m", [_scan(3)]),
        _scan(0),
        _scan(1, field_strength_t=3.0),
      ),
    ),
    Case(
      "--mode=finetune on scans whose PD is in per cent, the model's is not",
      "refused",
      "in the training of",
      lambda f: _finetune(
        f, _bundle(f, "m", [_scan(3)]), _scaled_pd(_scan(0), 100.0)
      ),
    ),
  ]


def _cases_of_models() -> list[Case]:
  """Models and the scans that they were trained on."""
  mark = "seen in training"
  return [
    Case(
      "a scan that the model was trained on",
      "named",
      mark,
      lambda f: _seen(f, _scan(0), [_scan(0), _scan(1)]),
    ),
    Case(
      "the same with another mask, gain and phase",
      "named",
      mark,
      lambda f: _seen(f, _again(_scan(0)), [_scan(0), _scan(1)]),
    ),
    Case(
      "an ensemble, one model of which was trained on the scan",
      "named",
      mark,
      lambda f: _seen(f, _scan(0), [_scan(1)], [_scan(0)]),
    ),
    Case(
      "a scan that a bundle before --mode=finetune was trained on",
      "named",
      mark,
      _finetuned,
    ),
    Case(
      "a scan that was left out",
      "right",
      "",
      lambda f: _seen(f, _scan(2), [_scan(0), _scan(1)]),
    ),
    Case(
      "a bundle of an earlier version, which names no scans",
      "named",
      "does not name all scans",
      lambda f: _seen(f, _scan(2), []),
    ),
    Case(
      "another scan of a subject that the model was trained on",
      "named",
      "another scan of a subject of this name",
      lambda f: _seen(f, _scan(2, subject="head 0"), [_scan(0)]),
    ),
    Case(
      "a scan at 3 T for a model of 1.5 T",
      "refused",
      "in/a.h5: is of 3 T",
      lambda f: _seen(f, _scan(2, field_strength_t=3.0), [_scan(0)]),
    ),
    Case(
      "the same for a bundle of an earlier version, of simulated heads",
      "refused",
      "in/a.h5: is of 3 T",
      lambda f: _reconstruct(
        f,
        [_bundle(f, "m", [], field_t=None)],
        _scan(2, field_strength_t=3.0),
      ),
    ),
    Case("the same from Python", "refused", "is of 3 T", _from_python),
    Case(
      "phases turned by 90° against those of the training",
      "named",
      "are turned by 90°",
      lambda f: _seen(f, _of_phase(_scan(2), 1j), [_of_phase(_scan(0))]),
    ),
    Case(
      "phases turned by 180° against those of the training, a scan that fits",
      "refused",
      "turned by 180°: --align_phases",
      lambda f: _learned(f, [1], -1),
    ),
    Case(
      "phases of the sequence, for a network trained on scans turned by 90°",
      "refused",
      "turned by 90° against them",
      lambda f: _learned(f, [1j], 1),
    ),
    Case(
      "phases turned by 90°, for a network trained on such scans",
      "right",
      "",
      lambda f: _learned(f, [1j], 1j),
    ),
    Case(
      "phases turned by 180°, for a network trained on scans full of noise",
      "refused",
      "turned by 180°: --align_phases",
      lambda f: _learned(f, [1], -1, noise=1.0),
    ),
    Case(
      "phases turned by 20° against those of the training",
      "right",
      "",
      lambda f: _learned(f, [1j], 1j * np.exp(1j * np.pi / 9)),
    ),
    Case(
      "models_from: the model was trained on the left-out scan",
      "refused",
      "which it is to be tested on",
      lambda f: _lent(f, _scan(0), _scan(1)),
    ),
    Case(
      "models_from: the model was trained on another scan of the left-out "
      "subject",
      "refused",
      "was trained on a scan of subject 'head 0'",
      lambda f: _lent(f, _scan(1), _scan(2, subject="head 0")),
    ),
    Case(
      "models_from: the model was trained on other subjects",
      "named",
      "trained on other scans",
      lambda f: _lent(f, _scan(2), _scan(3)),
    ),
    Case(
      "models_from: the model was trained on the other subjects of the study",
      "right",
      "",
      lambda f: _lent(f, _scan(1)),
    ),
    Case(
      "models_from: the models were trained again after maps were made",
      "refused",
      "other models than those",
      _trained_again,
    ),
    Case(
      "a dictionary's PD of a scan whose signals have a unit of their own",
      "named",
      "one gain for each scan",
      _other_gain,
    ),
  ]


CASES: list[Case] = [
  *_cases_of_results(),
  *_cases_of_scans(),
  *_cases_of_models(),
]
