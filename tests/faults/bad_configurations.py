"""What makes no configuration: values and programs."""


def bad_flags() -> dict[str, tuple[str, ...]]:
  """Values of a configuration that make no experiment."""
  found = {}
  for name, values in (
    ("seed", ("one", "1.5")),
    ("data.n_subjects", ("0", "1", "-2", "many")),
    ("data.grid.matrix", ("0", "-8")),
    ("data.grid.n_slices", ("0", "-1")),
    ("data.grid.centre_z_mm", ("300.0", "nan")),
    ("data.grid.slice_thickness_mm", ("0.0", "-5.0", "nan")),
    ("sequence.n_frames", ("0", "-5")),
    ("scan.window", ("0", "97", "-1")),
    ("scan.stride", ("0", "-1")),
    ("scan.noise_level", ("-1.0", "nan", "inf")),
    ("scan.n_coils", ("0", "-2")),
    ("training.epochs", ("0", "-1")),
    ("training.batch", ("0", "-1")),
    ("training.learning_rate", ("nan", "-1.0", "0.0")),
    ("training.rank", ("0", "99")),
    ("training.loss", ("sum",)),
    ("training.schedule", ("never",)),
    ("training.sampling", ("lines",)),
    ("training.storage", ("int8",)),
    ("precision", ("int8",)),
    ("preprocessing.normalise_signals_per", ("map",)),
    ("preprocessing.normalise_signals_by", ("map",)),
    ("dictionary.svd_rank", ("0", "99")),
    ("dictionary.step_percent", ("0.0", "-5.0", "nan")),
    ("gomez.window", ("(4,5,3)", "(0,1,1)", "(5,5)")),
    ("gomez.rank", ("0", "99")),
    ("generated_heads.count", ("-1",)),
    ("methods", ("('magic',)", "()")),
    ("folds", ("(7,)", "(-1,)", "(0,0)")),
    ("subjects_from", ("nowhere",)),
    ("models_from", ("nowhere",)),
    ("nothing", ("1",)),
  ):
    for value in values:
      found[f"{name}={value}"] = (
        "--config=configs/smoke.py",
        "--workdir={out}",
        f"--config.{name}={value}",
      )
  return found


def bad_programs() -> dict[str, str]:
  """Configuration files that are no configurations."""
  head = "import ml_collections\n\n\ndef get_config():\n"
  return {
    "an empty file": "",
    "a wrong word": head + "  retrun 3\n",
    "a mistake": head + "  return 1 / 0\n",
    "no such import": "import no_such_package\n",
    "nothing returned": head + "  pass\n",
    "a number returned": head + "  return 3\n",
    "half a configuration": head + "  return ml_collections.ConfigDict()\n",
    "bytes": "\0\1\2",
  }
