"""Configuration of the site: pages, examples and API reference by Sphinx.

python -m sphinx -W --keep-going -c docs . runs/site

The source folder is the root of the repository, so that README.md and the pages
are read as they are and their links are the same as on GitHub.
"""

import pathlib
import re
import sys

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))

import mrf_jax  # noqa: E402

project = "mrf_jax"
release = mrf_jax.__version__
copyright = "the authors of mrf_jax, Apache-2.0"

extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.autosummary",
  "sphinx.ext.mathjax",
  "sphinx.ext.napoleon",
  "sphinx_copybutton",
  "sphinx_gallery.gen_gallery",
]
root_doc = "README"
include_patterns = [
  "*.md", "docs/*.md", "docs/*/*.md", "docs/gallery/*.rst",
]  # fmt: skip
# Folders that hold no page, so that they are not searched; and texts that
# commands put into results.md and reliability.md.
exclude_patterns = [
  "v", ".venv*", "runs", "tests", "mrf_jax", "findings", ".*",
  "**/results_notes.md", "docs/reliability_notes.md",
]  # fmt: skip

# Most blocks are commands or what they print.
highlight_language = "none"
# Names of headings as on GitHub.
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
# README.html is the first page; this leads there.
html_extra_path = ["static/index.html"]
html_copy_source = False

autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

copybutton_prompt_text = "$ "
# `python docs/run_commands.py` writes output below commands; it is not copied.
copybutton_line_continuation_character = "\\"

# Runs examples/*.py that have changed since the last build.
sphinx_gallery_conf = {
  "examples_dirs": str(_ROOT / "examples"),
  "gallery_dirs": "docs/gallery",
  "filename_pattern": r"\.py$",
  "within_subsection_order": "FileNameSortKey",
  "ignore_repr_types": r"matplotlib",
  # Names in the scripts lead to the API reference.
  "doc_module": ("mrf_jax",),
  "reference_url": {"mrf_jax": None},
  "abort_on_example_error": True,
  "write_computation_times": False,
}

# The side bar: what a reader needs first, and short titles of long ones.
_CONTENTS = {
  "Start": (
    "A scan of your own </docs/your-own-data>",
    "/docs/demo",
    "/docs/pipeline",
    "/docs/commands",
  ),
  "How it works": (
    "/docs/simulation",
    "/docs/methods",
    "Training </docs/training>",
    "/docs/physics",
  ),
  "Python": ("/docs/python", "/docs/gallery/index", "/docs/api/index"),
  "Results": (
    "Studies </docs/study>",
    "Results of the study </docs/results>",
    "Causes of error </docs/ablation/results>",
    "A study at high noise </docs/high_noise/results>",
    "Heads nobody here made </docs/worlds>",
    "/docs/speed",
    "/docs/benchmarks",
  ),
  "Trust": (
    "Reliability </docs/reliability>",
    "Goodness of fit </docs/fit>",
    "Doubtful inputs </docs/wrong_inputs>",
    "Files from others </SECURITY>",
  ),
  "Project": ("Contributing </CONTRIBUTING>", "/CHANGELOG"),
}
_SCRIPTS = re.compile(r"\((\.\./)?examples/README\.md\)")


def _change_source(app, docname: str, source: list[str]) -> None:
  """Adds the side bar, whose text GitHub would show, and leads to pictures."""
  if docname == root_doc:
    for caption, pages in _CONTENTS.items():
      lines = ["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages]
      source[0] += "\n" + "\n".join([*lines, "```", ""])
  # The scripts are on GitHub, and on the site with what they show.
  source[0] = _SCRIPTS.sub("(/docs/gallery/index.rst)", source[0])


def _mark_code(app, what, name, obj, options, lines: list[str]) -> None:
  """Makes links of public names in `backquotes` and code of all others."""

  def role(match: re.Match) -> str:
    text = match[1]
    if text is None:
      return match[0]
    if text in mrf_jax.__all__:
      return f":py:obj:`~mrf_jax.{text}`"
    return f"``{text}``"

  # Roles, such as :math:`x`, and ``code`` stay.
  pattern = r":\w+:`[^`]+`|``.+?``|`([^`]+)`"
  lines[:] = re.sub(pattern, role, "\n".join(lines)).split("\n")


def setup(app) -> None:
  """Connects the functions above."""
  app.connect("source-read", _change_source)
  # Before napoleon, which makes fields of the sections.
  app.connect("autodoc-process-docstring", _mark_code, priority=400)
