"use strict";
(async () => {
  const element = document.getElementById("viewer");
  if (!element) return;
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const chosen = (name) => element.querySelector(`[name=${name}]`);
  const methods = Object.keys(data.subjects[0].images).filter((m) => m !== "reference");
  fill(chosen("subject"), data.subjects.map((s) => s.name));
  fill(chosen("method"), methods);
  const state = { volumes: {}, subject: null };
  const canvases = build();
  for (const name of ["subject", "slice", "method"])
    chosen(name).addEventListener("input", () => (name === "subject" ? load() : draw()));
  for (const map of data.maps) chosen(`limit_${map}`).addEventListener("input", draw);
  await load();

  function fill(select, names) {
    names.forEach((name, i) => select.add(new Option(name, i)));
  }

  // Makes a row for each map, with reference, methods and difference as columns.
  function build() {
    const table = element.querySelector("table");
    const head = table.createTHead().insertRow();
    const columns = ["reference", ...methods, "bar", "difference", "difference_bar"];
    for (const column of columns) {
      const cell = document.createElement("th");
      if (column.endsWith("bar")) cell.className = "bar";
      cell.textContent = { bar: "", difference: "estimate − reference", difference_bar: "" }[column] ?? column;
      head.append(cell);
    }
    const cells = {};
    const body = table.createTBody();
    for (const map of data.maps) {
      const row = body.insertRow();
      cells[map] = {};
      for (const column of columns) {
        const cell = row.insertCell();
        if (column.endsWith("bar")) {
          cell.className = "bar";
          cells[map][column] = cell;
          continue;
        }
        const canvas = document.createElement("canvas");
        canvas.dataset.map = map;
        canvas.dataset.column = column;
        canvas.addEventListener("mousemove", (event) => showValue(canvas, event));
        cell.append(canvas);
        cells[map][column] = canvas;
      }
    }
    return cells;
  }

  async function load() {
    const subject = data.subjects[chosen("subject").value];
    element.dataset.ready = "no";
    const volumes = {};
    for (const [column, images] of Object.entries(subject.images)) {
      volumes[column] = {};
      for (const map of data.maps)
        volumes[column][map] = await decode(images[map], subject.scales[column][map]);
    }
    Object.assign(state, { subject, volumes });
    const slider = chosen("slice");
    slider.max = subject.n_slices - 1;
    slider.value = Math.floor(subject.n_slices / 2);
    draw();
    element.dataset.ready = "yes";
  }

  // Reads the values from two bytes each; outside the mask they are NaN.
  async function decode(uri, [low, step]) {
    const image = new Image();
    image.src = uri;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.width;
    canvas.height = image.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, image.width, image.height).data;
    const values = new Float32Array(image.width * image.height);
    for (let i = 0; i < values.length; i++)
      values[i] = pixels[4 * i + 2] > 127 ? low + step * (256 * pixels[4 * i] + pixels[4 * i + 1]) : NaN;
    return values;
  }

  function values(map, column) {
    const { subject, volumes } = state;
    const size = subject.height * subject.width;
    const start = chosen("slice").value * size;
    const part = (name) => volumes[name][map].subarray(start, start + size);
    if (column !== "difference") return part(column);
    const reference = part("reference");
    return part(methods[chosen("method").value]).map((value, i) => value - reference[i]);
  }

  function draw() {
    if (!state.subject) return;
    const number = Number(chosen("slice").value);
    element.querySelector("[name=slice_number]").value = `${number + 1} of ${state.subject.n_slices}`;
    for (const map of data.maps) {
      const share = chosen(`limit_${map}`).value / 100;
      const end = state.subject.limits[map] * share;
      const far = state.subject.difference_limits[map] * share;
      for (const [column, canvas] of Object.entries(canvases[map])) {
        if (column === "bar") drawBar(canvas, data.colours[map], 0, end, data.labels[map]);
        else if (column === "difference_bar") drawBar(canvas, data.colours.difference, -far, far, "");
        else if (column === "difference") paint(canvas, values(map, column), data.colours.difference, -far, far);
        else paint(canvas, values(map, column), data.colours[map], 0, end);
      }
    }
  }

  function paint(canvas, voxels, colours, low, high) {
    canvas.width = state.subject.width;
    canvas.height = state.subject.height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    voxels.forEach((value, i) => {
      const level = Math.round((255 * (value - low)) / (high - low));
      const colour = Number.isNaN(value) ? [0, 0, 0] : colours[Math.min(255, Math.max(0, level))];
      image.data.set([...colour, 255], 4 * i);
    });
    context.putImageData(image, 0, 0);
  }

  function drawBar(cell, colours, low, high, label) {
    const digits = high < 10 ? 2 : 0;
    const stops = [255, 191, 127, 63, 0].map((i) => `rgb(${colours[i]})`).join(",");
    cell.innerHTML = `${high.toFixed(digits)}<div style="width:12px;height:90px;background:linear-gradient(${stops})"></div>${low.toFixed(digits)}<br>${label}`;
  }

  function showValue(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
    const value = values(canvas.dataset.map, canvas.dataset.column)[y * canvas.width + x];
    const text = value === undefined || Number.isNaN(value) ? "–" : value.toPrecision(4);
    element.querySelector("[name=value]").value = `${canvas.dataset.column}, ${data.labels[canvas.dataset.map]}: ${text}`;
  }
})();
