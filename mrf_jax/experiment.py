"""The stages of an experiment in their order."""

import dataclasses
import functools
import pathlib
import shlex
import sys
from collections.abc import Sequence

import jax
import ml_collections
import numpy as np

from mrf_jax.benchmark.report import compare_benchmarks, load_benchmark
from mrf_jax.benchmark.run import (
  check_benchmark,
  run_benchmark,
  same_benchmark,
  write_files,
)
from mrf_jax.dataset.normalise import clip_outliers
from mrf_jax.dataset.subject import check_alike, reference_of, without_truth
from mrf_jax.design import evaluate_design, write_design
from mrf_jax.errors import UserError
from mrf_jax.evaluate import evaluate
from mrf_jax.evaluation.bound_figure import bound_figure
from mrf_jax.io import nifti
from mrf_jax.io.atomic import replacing, writing_to
from mrf_jax.maps import MAP_NAMES
from mrf_jax.methods import METHODS, TRAINING, Study, predicts_deviations
from mrf_jax.questions import ways
from mrf_jax.report.write import write_report
from mrf_jax.runtime import processes
from mrf_jax.settings import (
  check_methods,
  check_values,
  check_window,
  find_folds,
  make_train,
  phantom_options,
  with_files,
)
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.phantom import make_phantom
from mrf_jax.simulation.scan import mean_magnitude, true_signals
from mrf_jax.simulation.tissue import BRAIN_AT_1_5T
from mrf_jax.subjects import load_numbered, simulate_missing
from mrf_jax.training.metrics import join_logs
from mrf_jax.workdir.configuration import OF_SUBJECTS, config_differences
from mrf_jax.workdir.manifest import check_lent
from mrf_jax.workdir.stage_times import benchmark_file, save_times, times_file
from mrf_jax.workdir.workdir import Workdir

# Parts of a configuration that trained networks depend on, beside the scans:
# scans of another kind may be given to them.
_OF_MODELS = ("seed", "sequence", "preprocessing", "precision", "training")


def simulate(config: ml_collections.ConfigDict, root) -> None:
  """Makes the simulated subjects that the workdir does not hold yet.

  Args:
    config: the experiment's configuration.
    root: the workdir.
  """
  check_values(config)
  if config.data.files:
    raise UserError("data.files: these subjects are not simulated")
  simulate_missing(config, _open_workdir(config, root))
  processes.say(f"Subject files: {pathlib.Path(root) / 'data'}")


def crossval(config: ml_collections.ConfigDict, root) -> None:
  """From subjects to Table 1: simulate, leave one out, evaluate.

  What stands in the workdir already is not done again.

  Args:
    config: the experiment's configuration.
    root: the workdir.
  """
  config = with_files(config)
  check_methods(config)
  folds = find_folds(config)
  n_processes, n_folds = jax.process_count(), len(folds)
  if n_processes > n_folds:
    raise UserError(
      f"--num_processes is {n_processes}, more than the {n_folds} folds"
    )
  lent = _lent_models(config)
  workdir = _open_workdir(config, root)
  simulate_missing(config, workdir)

  load = functools.partial(load_numbered, workdir)
  full = [load(k, with_signals=False) for k in range(config.data.n_subjects)]
  check_alike(full, [workdir.subject(k) for k in range(len(full))])
  references = [
    clip_outliers(
      reference_of(subject, workdir.subject(k)),
      percentiles=config.preprocessing.clip_percentiles,
    )
    for k, subject in enumerate(full)
  ]
  hidden = [without_truth(subject) for subject in full]
  study = Study(
    config,
    workdir,
    hidden,
    lambda k: without_truth(load(k)),
    references,
    folds,
    lent or workdir,
  )
  missing = [m for m in config.methods if not _maps_stand(study, m)]
  if n_processes > 1:
    for method in filter(TRAINING.__contains__, missing):
      processes.say(f"Training {method} in {n_processes} processes ...")
      TRAINING[method](study)
    processes.barrier("training")
  if processes.is_first():
    join_logs(workdir.root / "metrics")
    for method in missing:
      processes.say(f"Estimating maps by {method} ...")
      _estimate(study, method)
    evaluate(dataclasses.replace(study, subjects=full))
  processes.barrier("end")


def sweep(
  config: ml_collections.ConfigDict, root, *, questions: Sequence[str] = ()
) -> None:
  """Cross-validation of the changed configurations that questions name.

  Each has a workdir of its own, `questions/QUESTION/WAY`, and takes its
  subjects from this one where the change leaves them as they are, or from
  another way that it names, `subjects_from='questions/QUESTION/WAY'`.

  Args:
    config: the experiment's configuration.
    root: its workdir, whose subjects, and networks, are used.
    questions: which ones; none is all.
  """
  config = with_files(config)
  # Those that take subjects from another way last.
  found = sorted(
    ways(config, questions),
    key=lambda way: way.config.subjects_from is not None,
  )
  if not found:
    raise UserError("questions: the configuration has none")
  for way in found:
    check_methods(way.config)
  workdir = _open_workdir(config, root)
  simulate_missing(config, workdir)
  for number, way in enumerate(found, 1):
    processes.say(
      f"{number}/{len(found)} {way.question}, {way.name}: {way.changes}"
    )
    if way.config.models_from is not None:
      way.config.models_from = str(workdir.root)
    if way.config.subjects_from is not None:
      # Those of another way.
      way.config.subjects_from = str(workdir.root / way.config.subjects_from)
    elif not config_differences(
      config.to_dict(), way.config.to_dict(), parts=OF_SUBJECTS
    ):
      way.config.subjects_from = str(workdir.root)
    crossval(way.config, workdir.way(way.question, way.name))


def design(config: ml_collections.ConfigDict, root) -> None:
  """What the scan's sequence can tell at its noise: bounds, before scanning.

  Args:
    config: the experiment's configuration.
    root: the workdir; gets `design.md`, `design.csv` and `design.png`.
  """
  check_values(config)
  data, scan, options = config.data, config.scan, config.design
  sequence = make_train(config.sequence)
  check_window(scan, sequence)
  if not scan.noise_level > 0:
    raise UserError(
      f"scan.noise_level is {scan.noise_level}; a bound wants noise"
    )
  workdir = Workdir(root, config.to_dict())
  phantom = make_phantom(
    np.random.default_rng([config.seed, 0]),
    SliceGrid(**data.grid),
    **phantom_options(data),
  )
  middle = phantom.by_distance_from_the_middle()[0]
  signals = true_signals(phantom, sequence, middle)
  found = evaluate_design(
    sequence,
    noise_sd=scan.noise_level * mean_magnitude(signals),
    t1_ms=options.t1_ms,
    t2_ms=options.t2_ms,
    step_percent=options.step_percent,
    window=scan.window,
    stride=scan.stride,
    b1_known=options.b1_known,
  )
  b1 = "known" if options.b1_known else "estimated too"
  text = write_design(
    found,
    workdir.root / "design",
    title="Least standard deviations (Cramér-Rao bounds)",
    note=f"{sequence.n_frames} frames, window {scan.window}, stride "
    f"{scan.stride}, noise level {scan.noise_level:g} of the mean signal of a "
    f"simulated head, B1 {b1}; one fingerprint, any unbiased method.",
  )
  bound_figure(
    workdir.root / "design.png",
    t1_ms=found.t1_ms,
    t2_ms=found.t2_ms,
    relative_t1=found.grid.t1_ms / found.t1_ms[:, None],
    relative_t2=found.grid.t2_ms / found.t2_ms[None],
    tissues={name: row[:2] for name, row in BRAIN_AT_1_5T.items()},
    title=f"Cramér-Rao bounds, noise level {scan.noise_level:g}, PD 1",
  )
  print(text)
  processes.say(f"Design: {workdir.root / 'design.md'}, design.csv, design.png")


def benchmark(config: ml_collections.ConfigDict, root) -> None:
  """The timing comparison: every stage of every method, on one scan.

  Args:
    config: the experiment's configuration.
    root: the workdir; gets `benchmark.json`, `timing.csv`, `timing.md` and
      `timing.png`.
  """
  check_methods(config)
  if jax.process_count() > 1:
    raise UserError("benchmark: is for one process, not for several")
  sequence = make_train(config.sequence)
  check_benchmark(config, sequence)
  workdir = Workdir(root, config.to_dict())
  path = benchmark_file(workdir.root)
  stands = path.exists() and load_benchmark(path)
  if stands and same_benchmark(config, stands):
    processes.say(f"{path} stands already; remove it to measure again")
    text = write_files(workdir.root, stands, config.methods)
  else:
    processes.say("Timing every stage on one simulated scan ...")
    text = run_benchmark(
      config,
      workdir.root,
      sequence,
      phantom=phantom_options(config.data),
      command="python " + shlex.join(sys.argv),
    )
  print(text)
  processes.say(
    f"Timing: {workdir.root / 'timing.md'}, timing.csv, timing.png, {path.name}"
  )


def report(compare: list[str], root, output=None) -> None:
  """Tables from results that stand: a study's, or machines beside each other.

  Args:
    compare: `benchmark.json` files of `--mode=benchmark`; none is a study.
    root: workdir of the study, or where `comparison.md` goes; None prints the
      latter only.
    output: folder of the study's report; None is the workdir itself.
  """
  if not compare:
    if root is None:
      raise UserError(
        "--workdir is missing: a study's, or --compare: benchmark.json files"
      )
    folder = pathlib.Path(output or root)
    write_report(root, folder)
    processes.say(
      f"Report: {folder / 'report.html'}, results.md, results.json, results/"
    )
    return
  text = compare_benchmarks(compare)
  print(text)
  if root:
    with (
      writing_to(root) as folder,
      replacing(folder / "comparison.md") as path,
    ):
      path.write_text(text)


def _open_workdir(config, root) -> Workdir:
  """The workdir of all processes; the first one makes it."""
  subjects = None
  if config.subjects_from is not None:
    subjects = Workdir.existing(config.subjects_from)
    check_lent(subjects.root, "data")
    subjects.refuse_other(config.to_dict(), parts=OF_SUBJECTS)
  if not processes.is_first():
    processes.barrier("workdir")
    return Workdir(root, config.to_dict(), join=True, subjects=subjects)
  workdir = Workdir(root, config.to_dict(), subjects=subjects)
  # Here, since nobody else writes there yet.
  join_logs(workdir.root / "metrics")
  processes.barrier("workdir")
  return workdir


def _lent_models(config) -> Workdir | None:
  """Another workdir whose trained networks are used, or None."""
  if config.models_from is None:
    return None
  models = Workdir.existing(config.models_from)
  check_lent(models.root, "models")
  models.refuse_other(
    config.to_dict(), parts=(*_OF_MODELS, *set(config.methods) & {*TRAINING})
  )
  return models


def _maps_stand(study: Study, method: str) -> bool:
  workdir = study.workdir
  files = [
    workdir.map_file(method, k, name, deviation=deviation)
    for deviation in {False, predicts_deviations(study.config, method)}
    for k in study.folds
    for name in MAP_NAMES
  ]
  files.append(times_file(workdir.root, method))
  if method in TRAINING and study.models is workdir:
    files += [workdir.model(method, k) for k in study.folds]
  return all(file.exists() for file in files)


def _estimate(study: Study, method: str) -> None:
  """Runs a method and writes its maps and times."""
  found = METHODS[method](study)
  for deviation, all_maps in ((False, found.maps), (True, found.deviations)):
    for k, maps in zip(study.folds, all_maps or (), strict=False):
      subject = study.subjects[k]
      for name in MAP_NAMES:
        path = study.workdir.map_file(method, k, name, deviation=deviation)
        path.parent.mkdir(parents=True, exist_ok=True)
        nifti.save_map(path, getattr(maps, name), subject.mask, subject.affine)
  save_times(list(found.times), times_file(study.workdir.root, method))
