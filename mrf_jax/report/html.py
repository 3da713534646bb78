"""Report as one self-contained HTML file, which needs no connection."""

import html
import json
import pathlib
import re
import string
from collections.abc import Sequence

import markdown

from mrf_jax.evaluation.markdown import tissue_heading
from mrf_jax.evaluation.tissues import PAPER_TISSUES
from mrf_jax.maps import MAP_NAMES
from mrf_jax.report.agreement import agreement_figure
from mrf_jax.report.record import csv_lines
from mrf_jax.report.results import LeftOut
from mrf_jax.report.viewer import data_uri, viewer_data

_HERE = pathlib.Path(__file__).parent
_VIEWER = """
<figure>
<div id="viewer">
<div class="controls">
<label>subject <select name="subject"></select></label>
<label>slice <input type="range" name="slice" min="0" max="0" value="0">
<output name="slice_number"></output></label>
<label>method <select name="method"></select></label>
$limits
</div>
<output name="value">Point at a voxel, or focus the maps and press an arrow key,
to read values.</output>
<div class="maps" tabindex="0" role="application" aria-label="Maps: arrow keys
move the cross by one voxel, with Shift by ten"></div>
<noscript>The maps need JavaScript.</noscript>
</div>
<figcaption>$caption</figcaption>
</figure>
"""
_LIMIT = (
  '<label>colours of {short} <input type="range" name="limit_{name}" min="10" '
  'max="300" value="100"> <output name="limit_{name}_value"></output></label>'
)
_VIEWER_CAPTION = (
  "PD, T1 and T2 of a left-out subject, with the method chosen above in the "
  "difference. The letters at the edges are the sides of the body, such as L "
  "and R for left and right. Fluid is beyond the ends of the colour bars, "
  "so that white and grey matter can be told apart."
)
# What surrounds content that may be wider than the page; the keyboard scrolls
# it when it has the focus.
_SCROLL = '<div class="scroll" tabindex="0" role="group" aria-label="{}">'


def report_html(
  page: str,
  results: Sequence[LeftOut],
  *,
  pictures: pathlib.Path,
  timing: pathlib.Path,
  config: dict,
  environment: dict,
) -> str:
  """Writes the page in Markdown with pictures, maps and scripts inside.

  Its links to pictures are relative to the folder `pictures`. Without results,
  the page has neither slices nor scatter plots.
  """
  simulated = bool(results) and all(r.subject.is_simulated for r in results)
  sections = [_markdown(_embedded(page, pictures))]
  if results:
    sections += [
      "<h2 id='slices'>Slice by slice</h2>",
      _viewer(),
      "<h2 id='agreement'>Estimates and references</h2>",
      "<p>All left-out subjects. Bias and spread are in a table above.</p>",
      *(_agreement(results, method) for method in results[0].estimates),
    ]
  sections += [
    "<h2 id='timing'>Timing</h2>",
    _timing(timing),
    "<h2 id='provenance'>Provenance</h2>",
    _details("Machine and code", environment),
    _details("Configuration", config),
  ]
  body = "\n".join(sections)
  title = re.search(r"<h1[^>]*>(.*?)</h1>", body)
  body = _with_contents(body, simulated=simulated)
  template = string.Template((_HERE / "page.html").read_text())
  data = json.dumps(viewer_data(results) if results else {})
  return template.substitute(
    title=title[1] if title else "Results",
    body=body,
    # A closing tag ends a script, even inside a string.
    data=data.replace("</", "<\\/"),
    script=(_HERE / "viewer.js").read_text(),
  )


def _markdown(text: str) -> str:
  """HTML of Markdown, with tables that scroll if wider than the page.

  An image and the line in italics after it become a figure and its caption.
  """
  body = markdown.markdown(text, extensions=["tables", "fenced_code", "toc"])
  body = re.sub(
    r'<p><img alt="([^"]*)" src="([^"]*)" /></p>\s*<p><em>(.*?)</em></p>',
    lambda found: _figure(*found.groups()),
    body,
  )
  heading = ""

  def scrolling(found):
    nonlocal heading
    if found[1]:
      heading = re.sub("<[^>]*>", "", found[1])
      return found[0]
    return _SCROLL.format(f"Table of {html.escape(heading)}") + "<table>"

  body = re.sub(r"<h[1-3][^>]*>(.*?)</h[1-3]>|<table>", scrolling, body)
  return body.replace("</table>", "</table></div>")


def _figure(alt: str, source: str, caption: str) -> str:
  """A picture that scrolls on narrow screens, and its caption, in HTML."""
  return (
    f'<figure class="wide">{_SCROLL.format("Picture, which may scroll")}'
    f'<img alt="{alt}" src="{source}"></div>'
    f"<figcaption>{caption}</figcaption></figure>"
  )


def _embedded(page: str, folder: pathlib.Path) -> str:
  """The Markdown page with its pictures inside, without missing ones."""

  def picture(match):
    path = folder / match[2]
    if not path.is_file():
      return ""
    return f"![{match[1]}]({data_uri(path.read_bytes())})"

  return re.sub(r"!\[([^\]]*)\]\(([^)]+\.png)\)", picture, page)


def _with_contents(body: str, *, simulated: bool) -> str:
  """Adds links to the sections below the first heading."""
  links = re.findall(r"<h2 id=['\"]([^'\"]+)['\"]>(.*?)</h2>", body)
  contents = "".join(f'<a href="#{name}">{text}</a>' for name, text in links)
  label = '<p class="simulated">Simulated data</p>' if simulated else ""
  return body.replace(
    "</h1>", f'</h1>{label}<nav aria-label="Contents">{contents}</nav>', 1
  )


def _viewer() -> str:
  """Controls of the viewer, with a slider for the colours of each map."""
  limits = "\n".join(
    _LIMIT.format(name=name, short=name.removesuffix("_ms").upper())
    for name in MAP_NAMES
  )
  return string.Template(_VIEWER).substitute(
    limits=limits, caption=_VIEWER_CAPTION
  )


def _agreement(results: Sequence[LeftOut], method: str) -> str:
  """Scatter and Bland–Altman plots of a method."""
  png = agreement_figure(results, method, title=method)
  tissues = ", ".join(map(tissue_heading, PAPER_TISSUES))
  alt = (
    f"{method}, a row of plots for each of {tissues}, columns PD, T1 and T2: "
    "estimates over references around the line of identity, and differences "
    "over means around their bias"
  )
  caption = (
    f"{method}: the darker, the more voxels. Red are the line of identity, and "
    "in the Bland–Altman plots (Δ) the bias and, dashed, the limits that "
    "include 95 % of normal differences."
  )
  return _figure(alt, data_uri(png), caption)


def _timing(path: pathlib.Path) -> str:
  """Table of the columns of `timing.csv` that are not empty."""
  rows = csv_lines(path)
  if not rows:
    return "<p>Not measured.</p>"
  columns = [name for name in rows[0] if any(row[name] for row in rows)]
  lines = [[_number(row[name]) for name in columns] for row in rows]
  return (
    _SCROLL.format("Table of Timing")
    + "<table><thead><tr>"
    + "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    + "</tr></thead><tbody>"
    + "".join(
      "<tr>" + "".join(f"<td>{html.escape(x)}</td>" for x in line) + "</tr>"
      for line in lines
    )
    + "</tbody></table></div>"
  )


def _number(text: str) -> str:
  """Text of a number with few digits; other text unchanged."""
  try:
    value = float(text)
  except ValueError:
    return text
  return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _details(title: str, content: dict) -> str:
  """JSON in a part of the page that opens at a click."""
  text = html.escape(json.dumps(content, indent=1, sort_keys=True))
  return (
    f"<details><summary>{title}</summary>"
    f'<pre tabindex="0">{text}</pre></details>'
  )
