"use strict";
(async () => {
  const element = document.getElementById("viewer");
  if (!element) return;
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const chosen = (name) => element.querySelector(`[name=${name}]`);
  const methods = Object.keys(data.subjects[0].images).filter((m) => m !== "reference");
  // Width of a panel, in px, below which only one method is shown, and of the
  // viewer, below which its difference is shown in a line of its own.
  const leastPanel = 85;
  const leastRow = 560;
  fill(chosen("subject"), data.subjects.map((s) => s.name));
  fill(chosen("method"), methods);
  // `cross` is the voxel whose values are shown: column and row from the top left.
  const state = { volumes: {}, subject: null, cross: null };
  const panels = element.querySelector(".maps");
  const canvases = {};
  const bars = {};
  build();
  new ResizeObserver(fit).observe(element);
  for (const name of ["subject", "slice", "method"])
    chosen(name).addEventListener("input", () => (name === "subject" ? load() : draw()));
  for (const map of data.maps) chosen(`limit_${map}`).addEventListener("input", draw);
  panels.addEventListener("keydown", moveCross);
  fit();
  await load();

  function fill(select, names) {
    names.forEach((name, i) => select.add(new Option(name, i)));
  }

  function add(parent, tag, className, text = "") {
    const child = document.createElement(tag);
    child.className = className;
    child.textContent = text;
    parent.append(child);
    return child;
  }

  // Makes a row for each map: reference, methods and difference.
  function build() {
    for (const map of data.maps) {
      const row = add(panels, "div", "map");
      canvases[map] = {};
      addPanel(row, map, "reference", "reference");
      for (const method of methods) addPanel(row, map, method, method).classList.add("method");
      bars[map] = [add(row, "div", "bar")];
      addPanel(row, map, "difference", "difference");
      bars[map].push(add(row, "div", "bar of_difference"));
    }
  }

  function addPanel(row, map, column, name) {
    const panel = add(row, "div", "panel");
    panel.dataset.column = column;
    // Long names may break after an underscore.
    add(panel, "div", "name", name.replaceAll("_", "_\u200b"));
    const picture = add(panel, "div", "picture");
    const canvas = add(picture, "canvas", "");
    Object.assign(canvas.dataset, { map, column });
    canvas.setAttribute("role", "img");
    for (const event of ["pointermove", "pointerdown"])
      canvas.addEventListener(event, (e) => pointAt(canvas, e));
    for (const i of [0, 1]) add(picture, "span", "side");
    add(picture, "div", "cross").hidden = true;
    add(panel, "div", "value");
    canvases[map][column] = canvas;
    return panel;
  }

  function fit() {
    const width = element.clientWidth;
    const one = width / (methods.length + 3) < leastPanel;
    element.classList.toggle("one", one);
    element.classList.toggle("narrow", one && width < leastRow);
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
    Object.assign(state, { subject, volumes, cross: null });
    const slider = chosen("slice");
    slider.max = subject.n_slices - 1;
    slider.value = Math.floor(subject.n_slices / 2);
    for (const picture of panels.querySelectorAll(".picture"))
      picture.querySelectorAll(".side").forEach((side, i) => (side.textContent = subject.sides[i]));
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
    return part(method()).map((value, i) => value - reference[i]);
  }

  function method() {
    return methods[chosen("method").value];
  }

  // Ends of the colours of a map, and of its difference.
  function ends(map) {
    const share = chosen(`limit_${map}`).value / 100;
    const [low, high] = state.subject.windows[map];
    const far = state.subject.difference_limits[map] * share;
    return { map: [low, low + (high - low) * share], difference: [-far, far] };
  }

  function draw() {
    if (!state.subject) return;
    const slice = `${Number(chosen("slice").value) + 1} of ${state.subject.n_slices}`;
    say("slice", "slice_number", slice);
    for (const panel of panels.querySelectorAll(".panel")) {
      const { column } = panel.dataset;
      panel.classList.toggle("chosen", column === method());
      if (column === "difference") panel.querySelector(".name").textContent = `${method().replaceAll("_", "_\u200b")} − reference`;
    }
    for (const map of data.maps) {
      const limits = ends(map);
      const range = `${limits.map.map(short).join(" to ")} ${unit(map)}`;
      say(`limit_${map}`, `limit_${map}_value`, range);
      for (const [column, canvas] of Object.entries(canvases[map])) {
        const isDifference = column === "difference";
        const colours = data.colours[isDifference ? "difference" : map];
        paint(canvas, values(map, column), colours, ...limits[isDifference ? "difference" : "map"]);
        const what = isDifference ? `${method()} minus reference` : column;
        canvas.setAttribute("aria-label", `${data.labels[map]} of slice ${slice}, ${what}`);
      }
      drawBar(bars[map][0], data.colours[map], limits.map, data.labels[map]);
      drawBar(bars[map][1], data.colours.difference, limits.difference, `Δ ${data.labels[map]}`);
    }
    showCross();
  }

  // Writes the value of a slider beside it, and for a screen reader.
  function say(slider, output, text) {
    chosen(output).value = text;
    chosen(slider).setAttribute("aria-valuetext", text);
  }

  function unit(map) {
    return data.labels[map].split(/[()]/)[1];
  }

  // An end of colours, with three digits at most.
  function short(value) {
    return String(Number(value.toPrecision(3))).replace("-", "−");
  }

  function format(map, value) {
    return value.toFixed(data.decimals[map]).replace(/^-(?=[0.]*$)/, "").replace("-", "−");
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

  function drawBar(bar, colours, [low, high], label) {
    bar.textContent = "";
    add(bar, "span", "high", short(high));
    const stops = [0, 63, 127, 191, 255].map((i) => `rgb(${colours[i]})`);
    add(bar, "div", "").style.setProperty("--stops", stops.join(","));
    add(bar, "span", "low", short(low));
    add(bar, "span", "label", label);
  }

  function pointAt(canvas, event) {
    if (!state.subject) return;
    const box = canvas.getBoundingClientRect();
    const inside = (share, count) => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
    state.cross = [
      inside((event.clientX - box.left) / box.width, canvas.width),
      inside((event.clientY - box.top) / box.height, canvas.height),
    ];
    showCross(canvas.dataset.column);
  }

  // Arrow keys move the cross, with Shift by ten voxels.
  function moveCross(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (!step || !state.subject) return;
    event.preventDefault();
    const size = [state.subject.width, state.subject.height];
    const start = state.cross ?? size.map((n) => Math.floor(n / 2));
    const far = event.shiftKey ? 10 : 1;
    state.cross = state.cross ? start.map((x, i) => Math.min(size[i] - 1, Math.max(0, x + far * step[i]))) : start;
    showCross();
  }

  // Marks the voxel of the cross in all panels and writes its values below them.
  function showCross(column = "") {
    const { cross, subject } = state;
    for (const panel of panels.querySelectorAll(".panel")) {
      const mark = panel.querySelector(".cross");
      mark.hidden = !cross;
      const { map } = panel.querySelector("canvas").dataset;
      panel.querySelector(".value").textContent = cross ? valueAt(map, panel.dataset.column) : "";
      if (!cross) continue;
      mark.style.left = `${(100 * (cross[0] + 0.5)) / subject.width}%`;
      mark.style.top = `${(100 * (cross[1] + 0.5)) / subject.height}%`;
    }
    if (!cross) return;
    const shown = methods.includes(column) ? column : method();
    const parts = data.maps.map((map) => {
      const name = data.labels[map].split(" ")[0];
      return `${name} ${valueAt(map, shown)} ${unit(map)} (reference ${valueAt(map, "reference")})`;
    });
    const place = `column ${cross[0] + 1} of ${subject.width}, row ${cross[1] + 1} of ${subject.height}`;
    chosen("value").value = `${shown}, ${place}: ${parts.join(", ")}`;
  }

  function valueAt(map, column) {
    const [x, y] = state.cross;
    const value = values(map, column)[y * state.subject.width + x];
    return Number.isNaN(value) ? "–" : format(map, value);
  }
})();
