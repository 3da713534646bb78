"""HTML report: its content, and its behaviour in a browser."""

import base64
import dataclasses
import html.parser
import io
import json
import os
import pathlib
import re
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from mrf_jax.maps import Maps
from mrf_jax.report.agreement import agreements, format_agreements
from mrf_jax.report.results import load_results
from mrf_jax.report.viewer import viewer_data
from mrf_jax.report.write import write_report


@pytest.fixture(scope="module")
def page(smoke, tmp_path_factory):
  """HTML report of the smoke experiment, outside its workdir."""
  folder = tmp_path_factory.mktemp("report")
  write_report(smoke, folder)
  return folder / "report.html"


@pytest.fixture(scope="module")
def results(smoke):
  return load_results(smoke)


def test_page_is_self_contained(page):
  links = []

  class Links(html.parser.HTMLParser):
    def handle_starttag(self, tag, attrs):
      links.extend(
        (tag, value) for name, value in attrs if name in ("src", "href")
      )

  text = page.read_text()
  Links().feed(text)
  assert sum(tag == "img" for tag, _ in links) > 3
  for tag, value in links:
    assert value.startswith(("#", "data:")), (tag, value[:80])
  # Every link of the contents has a target.
  for tag, value in links:
    if tag == "a":
      assert re.search(rf"id=['\"]{re.escape(value[1:])}['\"]", text), value
  assert not re.search(r"url\(|@import|https?://", text.split("<body>")[0])
  assert "Simulated data" in text


def test_pictures_have_captions_and_descriptions(page):
  text = page.read_text()
  pictures = re.findall(
    r'<figure class="wide">.*?<img alt="([^"]*)".*?'
    r"<figcaption>(.*?)</figcaption></figure>",
    text,
    re.DOTALL,
  )
  assert len(pictures) == text.count("<img ") > 3
  for description, caption in pictures:
    assert len(description) > 60 and len(caption) > 30
  assert "columns reference, spatiotemporal" in pictures[0][0]


def test_images_encode_the_maps(results):
  subject = viewer_data(results)["subjects"][1]
  left_out = results[1]
  for column in ("reference", "cohen"):
    maps = {"reference": left_out.reference, **left_out.estimates}[column]
    uri = subject["images"][column]["t1_ms"]
    png = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    pixels = np.asarray(Image.open(io.BytesIO(png))).astype(int)
    shape = (subject["n_slices"], subject["height"], subject["width"], 3)
    # Slices one below the other, each from the top down.
    pixels = pixels.reshape(shape)[:, ::-1]
    inside = pixels[..., 2] == 255
    assert np.count_nonzero(inside) == left_out.subject.n_voxels
    low, step = subject["scales"][column]["t1_ms"]
    levels = 256 * pixels[..., 0] + pixels[..., 1]
    np.testing.assert_allclose(
      low + step * levels[inside], maps.t1_ms, atol=step
    )


def test_stored_order_of_voxels_does_not_matter(results):
  """A scan stored from right to left, back to front, looks the same."""
  left_out = results[0]
  mask = left_out.subject.mask

  def turned(maps):
    volumes = np.zeros((*mask.shape, 3), np.float32)
    volumes[mask] = maps.stack()
    return Maps.unstack(volumes[:, ::-1, ::-1][mask[:, ::-1, ::-1]])

  flip = np.diag([-1.0, -1.0, 1.0, 1.0])
  flip[:2, 3] = mask.shape[2] - 1, mask.shape[1] - 1
  other = dataclasses.replace(
    left_out,
    subject=dataclasses.replace(
      left_out.subject,
      mask=mask[:, ::-1, ::-1],
      affine=left_out.subject.affine @ flip,
    ),
    reference=turned(left_out.reference),
    estimates={m: turned(maps) for m, maps in left_out.estimates.items()},
  )
  expected, found = viewer_data([left_out]), viewer_data([other])
  assert found["subjects"][0]["sides"] == ("L", "R")
  for key in ("images", "scales", "windows"):
    assert found["subjects"][0][key] == expected["subjects"][0][key]


def test_page_size_is_limited(results, monkeypatch):
  monkeypatch.setattr("mrf_jax.report.viewer._MOST_BYTES", 1000)
  assert len(viewer_data(results)["subjects"]) == 1


def test_bias_and_spread(results):
  rows = {
    (r.method, r.tissue, r.map, r.subject): r
    for r in agreements(results).itertuples()
  }
  left_out = results[1]
  mask = left_out.tissues["gm"]
  estimate, reference = left_out.estimates["hoppe"], left_out.reference
  difference = (estimate.t2_ms - reference.t2_ms)[mask]
  row = rows["hoppe", "gm", "t2_ms", 1]
  assert row.bias == pytest.approx(difference.mean(dtype=float), rel=1e-5)
  assert row.deviation == pytest.approx(difference.std(dtype=float), rel=1e-5)
  assert row.n_voxels == mask.sum()
  text = format_agreements(agreements(results))
  both = [rows["hoppe", "gm", "t2_ms", k].bias for k in range(2)]
  cell = f"{np.mean(both):+.1f} ± {np.std(both, ddof=1):.1f}"
  (line,) = [x for x in text.splitlines() if x.startswith("| GM | hoppe")]
  assert cell in line


def test_report_without_maps(smoke, tmp_path):
  """A workdir whose maps were deleted has a report without a viewer."""
  workdir = tmp_path / "run"
  shutil.copytree(smoke, workdir)
  shutil.rmtree(workdir / "maps")
  write_report(workdir, tmp_path / "out")
  text = (tmp_path / "out/report.html").read_text()
  assert 'id="viewer"' not in text
  assert "Table 1" in text
  record = json.loads((tmp_path / "out/results.json").read_text())
  assert record["agreement"] == []


@pytest.fixture(scope="module")
def browser():
  """Headless Chromium; skips the test if it is not installed."""
  selenium = pytest.importorskip("selenium.webdriver")
  binary = shutil.which("chromium") or shutil.which("google-chrome")
  driver = shutil.which("chromedriver")
  if not binary or not driver:
    pytest.skip("no Chromium with chromedriver is installed")
  options = selenium.ChromeOptions()
  options.binary_location = binary
  for argument in ("--headless=new", "--disable-gpu"):
    options.add_argument(argument)
  if os.geteuid() == 0:
    options.add_argument("--no-sandbox")
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  service = selenium.ChromeService(driver)
  opened = selenium.Chrome(options=options, service=service)
  yield opened
  opened.quit()


def opened_page(browser, page, *, width=1250, scheme="light"):
  browser.execute_cdp_cmd(
    "Emulation.setDeviceMetricsOverride",
    {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
  )
  feature = {"name": "prefers-color-scheme", "value": scheme}
  browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
  browser.get(page.as_uri())
  viewer = browser.find_element("id", "viewer")
  until = time.monotonic() + 60
  while viewer.get_attribute("data-ready") != "yes":
    assert time.monotonic() < until, browser.get_log("browser")
    time.sleep(0.1)
  return viewer


def pixels(browser, column, name="t1_ms"):
  """Content of a panel as a data URI."""
  return browser.execute_script(
    "return document.querySelector("
    f"'canvas[data-map={name}][data-column={column}]').toDataURL()"
  )


def test_slider_changes_the_slice(browser, page):
  viewer = opened_page(browser, page)
  slider = viewer.find_element("name", "slice")
  number = viewer.find_element("name", "slice_number")
  # Of two slices the upper one is in the middle.
  assert number.get_attribute("value") == "2 of 2"
  before = {c: pixels(browser, c) for c in ("reference", "cohen", "difference")}
  slider.send_keys("\ue012")  # arrow to the left
  assert number.get_attribute("value") == "1 of 2"
  for column, image in before.items():
    assert pixels(browser, column) != image
  slider.send_keys("\ue014")  # and back
  for column, image in before.items():
    assert pixels(browser, column) == image
  assert not browser.get_log("browser")


def test_controls_change_the_panels(browser, page):
  viewer = opened_page(browser, page)
  before = {c: pixels(browser, c) for c in ("reference", "difference")}
  viewer.find_element("name", "method").send_keys("hoppe")
  assert pixels(browser, "difference") != before["difference"]
  assert pixels(browser, "reference") == before["reference"]
  viewer.find_element("name", "limit_t1_ms").send_keys("\ue012")
  darker = pixels(browser, "reference")
  assert darker != before["reference"]
  viewer.find_element("name", "limit_t1_ms").send_keys("\ue014")
  assert pixels(browser, "reference") == before["reference"]
  viewer.find_element("name", "subject").send_keys("subject 1")
  until = time.monotonic() + 30
  while viewer.get_attribute("data-ready") != "yes":
    assert time.monotonic() < until
  assert pixels(browser, "reference") != before["reference"]
  assert not browser.get_log("browser")


@pytest.mark.parametrize("width", [390, 1366])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_has_no_serious_barriers(browser, page, width, scheme):
  """By the rules of axe, on a telephone and a desk, by day and night."""
  axe = pytest.importorskip("axe_core_python")
  opened_page(browser, page, width=width, scheme=scheme)
  path = pathlib.Path(axe.__file__).with_name("axe.min.js")
  browser.execute_script(path.read_text())
  report = browser.execute_async_script("axe.run().then(arguments[0])")
  assert len(report["passes"]) > 20
  found = [
    (rule["id"], rule["nodes"][0]["html"][:200])
    for rule in report["violations"]
    if rule["impact"] in ("serious", "critical")
  ]
  assert not found
  light = browser.execute_script(
    "return getComputedStyle(document.body).backgroundColor"
  )
  assert (light == "rgb(255, 255, 255)") == (scheme == "light")


def shown_columns(browser):
  """Columns of the first row of maps that are visible."""
  return browser.execute_script(
    "return [...document.querySelectorAll('.map:first-child .panel')]"
    ".filter((x) => x.offsetWidth).map((x) => x.dataset.column)"
  )


def test_narrow_page_shows_one_method(browser, page):
  viewer = opened_page(browser, page, width=390)
  wide = "return document.documentElement.scrollWidth"
  assert browser.execute_script(wide) <= 390
  first, second, *_ = [
    option.text
    for option in viewer.find_elements("css selector", "option")
    if not option.text.startswith("subject")
  ]
  assert shown_columns(browser) == ["reference", first, "difference"]
  viewer.find_element("name", "method").send_keys(second)
  assert shown_columns(browser) == ["reference", second, "difference"]
  assert len(shown_columns(browser)) < 5
  opened_page(browser, page, width=1250)
  assert len(shown_columns(browser)) > 5


def test_sides_of_the_body_are_marked(browser, page):
  opened_page(browser, page)
  sides = browser.execute_script(
    "return [...document.querySelectorAll('.side')].map((x) => x.textContent)"
  )
  assert sides == ["L", "R"] * (len(sides) // 2) and sides


def test_arrow_keys_show_values(browser, page, results):
  viewer = opened_page(browser, page)
  maps = viewer.find_element("class name", "maps")
  subject = viewer_data(results)["subjects"][0]
  maps.send_keys("\ue014")  # puts the cross into the middle
  value = viewer.find_element("name", "value")
  x, y = (subject[size] // 2 for size in ("width", "height"))
  assert f"column {x + 1} of {subject['width']}, row {y + 1}" in value.text
  maps.send_keys("\ue014\ue013\ue013")  # right, up, up
  assert f"column {x + 2} of {subject['width']}, row {y - 1}" in value.text
  for _ in range(subject["width"]):
    maps.send_keys("\ue008\ue012\ue000")  # shift and left
  assert f"column 1 of {subject['width']}" in value.text
  assert "reference –" in value.text
  assert not browser.get_log("browser")


def test_colours_are_said_in_units(browser, page, results):
  viewer = opened_page(browser, page)
  low, high = viewer_data(results)["subjects"][0]["windows"]["t1_ms"]
  slider = viewer.find_element("name", "limit_t1_ms")
  assert slider.get_attribute("aria-valuetext") == f"{low:g} to {high:g} ms"
  slider.send_keys("\ue014")
  end = float(f"{low + 1.01 * (high - low):.3g}")
  assert slider.get_attribute("aria-valuetext") == f"{low:g} to {end:g} ms"


def test_pointer_shows_the_value(browser, page, results):
  opened_page(browser, page)
  left_out, subject = results[0], viewer_data(results)["subjects"][0]
  mask = left_out.subject.mask
  volume = np.full(mask.shape, np.nan)
  volume[mask] = left_out.estimates["cohen"].t1_ms
  inside = np.argwhere(mask[1])
  y, x = inside[len(inside) // 2]
  rows, columns = (np.flatnonzero(mask.any((0, axis))) for axis in (2, 1))
  across = x - max(columns[0] - 2, 0)
  down = subject["height"] - 1 - (y - max(rows[0] - 2, 0))
  browser.execute_script(
    """
    const canvas = document.querySelector(
      'canvas[data-map=t1_ms][data-column=cohen]');
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new PointerEvent('pointermove', {
      clientX: box.left + box.width * (arguments[0] + 0.5) / canvas.width,
      clientY: box.top + box.height * (arguments[1] + 0.5) / canvas.height}));
    """,
    int(across),
    int(down),
  )
  text = browser.find_element("name", "value").get_attribute("value")
  assert text.startswith(f"cohen, column {across + 1} of")
  shown = re.search(r"T1 ([\d.]+) ms", text)
  assert float(shown[1]) == pytest.approx(volume[1, y, x], abs=0.1)
  below = browser.execute_script(
    "return document.querySelectorAll('.map')[1]"
    ".querySelector('[data-column=cohen] .value').textContent"
  )
  assert below == shown[1]
