"""Table of how well the maps of each method fit the signals."""

import pandas as pd

from mrf_jax.evaluation.markdown import markdown_table

FIT_NOTE = (
  "Unexplained: norm of what the echoes of the estimated T1 and T2, by theory, "
  "leave of a fingerprint, relative to its norm, median over voxels, mean over "
  "subjects; noise leaves most of it. Doubtful: share of voxels whose T1 or T2 "
  "differ from a quick match of the signals, averaged over 5 mm, by more than "
  "49 % or a factor of e, or whose match scatters; of all subjects, and of the "
  "worst."
)


def format_fit(rows: pd.DataFrame) -> str:
  """Fit of each method in Markdown; columns as of `fit_table`."""
  body = []
  for method, own in rows.groupby("method", sort=False):
    body.append(
      [
        str(method),
        f"{own.residual.mean():.3f}",
        f"{own.doubtful.mean():.2%}",
        f"{own.doubtful.max():.2%}",
      ]
    )
  heads = ["method", "unexplained", "doubtful", "doubtful, worst subject"]
  return markdown_table(heads, body)
