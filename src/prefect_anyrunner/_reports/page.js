"use strict";
(() => {
  const LANES = 40, LANE = 18, PAGE = 100, BIN = 3, NAMES = 190;
  const NUMBERS = ["start", "took", "runs", "not completed", "busy", "from", "to"];
  const LEGEND = "Green: runs at work. Red: runs that ended without completing. Click a line, or move to it with " +
    "the arrow keys and press Enter, to see only its runs.";
  const rows = JSON.parse(document.getElementById("rows").textContent);
  const count = rows.task.length;
  const at = id => document.getElementById(id);
  const COMPLETED = rows.statuses.indexOf("completed");
  if (!count) return;

  // --- words -------------------------------------------------------------------------------------------------------
  const ids = atob(rows.ids);
  const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
  const idOf = row => {
    let text = "";
    for (let place = 16 * row; place < 16 * row + 16; place++) text += hex[ids.charCodeAt(place)];
    return text.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };
  const labelOf = row => rows.tasks[rows.task[row]] + rows.label[row];
  const whyOf = row => rows.why[row] || ["", "", ""];
  const parts = (whole, size, big, small) => `${Math.floor(whole / size)} ${big} ${whole % size} ${small}`;
  const seconds = ms => ms < 0 ? "" : ms < 1000 ? `${ms} ms` : ms < 59995 ? `${(ms / 1000).toFixed(2)} s`
    : ms < 3599500 ? parts(Math.round(ms / 1000), 60, "min", "s") : parts(Math.round(ms / 60000), 60, "h", "min");
  const counted = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
  const made = (name, text, kind) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };

  // --- filters -----------------------------------------------------------------------------------------------------
  const options = (select, first, words, used) => {
    select.append(new Option(first, ""));
    words.forEach((word, number) => { if (used.has(number)) select.append(new Option(word || "not known", number)); });
  };
  options(at("status"), "all", rows.statuses, new Set(rows.status));
  if (rows.status.some(status => status !== COMPLETED)) at("status").add(new Option("not completed", "bad"), 1);
  options(at("task"), "all", rows.tasks, new Set(rows.task));
  options(at("worker"), "all", rows.workers, new Set(rows.worker));
  const byWorker = rows.workers.some(Boolean);
  at("worker").parentElement.hidden = !byWorker;
  const laneWords = byWorker ? rows.workers : rows.tasks, laneOf = byWorker ? rows.worker : rows.task;
  const laneFilter = byWorker ? at("worker") : at("task");

  let found = [], page = 0;
  const filter = () => {
    const status = at("status").value, task = at("task").value, worker = at("worker").value;
    const words = at("text").value.toLowerCase().split(/\s+/).filter(Boolean);
    found = [];
    for (let row = 0; row < count; row++) {
      if (status === "bad" ? rows.status[row] === COMPLETED : status && rows.status[row] !== +status) continue;
      if (task && rows.task[row] !== +task || worker && rows.worker[row] !== +worker) continue;
      if (words.length) {
        const text = `${labelOf(row)} ${rows.names[rows.name[row]]} ${whyOf(row).join(" ")}`.toLowerCase();
        if (!words.every(word => text.includes(word))) continue;
      }
      found.push(row);
    }
    const order = at("order").value, big = Number.MAX_SAFE_INTEGER;
    const start = row => rows.start[row] < 0 ? big : rows.start[row];
    if (order === "start") found.sort((one, other) => start(one) - start(other));
    if (order === "long") found.sort((one, other) => rows.took[other] - rows.took[one]);
    const bad = found.reduce((sum, row) => sum + (rows.status[row] !== COMPLETED), 0);
    at("found").textContent = `${counted(found.length, "task run")}, ${bad.toLocaleString("en")} of them not completed`;
    page = 0;
    table();
    bins();
    repaint();
  };

  // --- table -------------------------------------------------------------------------------------------------------
  const headed = names => {
    const element = made("table"), line = element.createTHead().insertRow();
    names.forEach(name => {
      const head = made("th", name, NUMBERS.includes(name) ? "number" : "");
      head.scope = "col";
      line.append(head);
    });
    return element;
  };
  const table = () => {
    const element = headed(["run", "status", "start", "took", ...(byWorker ? ["worker"] : []), "inputs and error"]);
    const body = element.createTBody();
    for (const row of found.slice(page * PAGE, (page + 1) * PAGE)) {
      const line = body.insertRow(), [inputs, kind, text] = whyOf(row), name = rows.names[rows.name[row]];
      const run = line.insertCell();
      const link = made(rows.pages ? "a" : "span", labelOf(row));
      if (rows.pages) link.href = rows.pages + idOf(row);
      run.append(link);
      if (name) run.append(" ", made("span", name, "aside"));
      const status = rows.statuses[rows.status[row]];
      line.insertCell().append(made("b", status));
      line.className = status;
      line.append(made("td", seconds(rows.start[row]), "number"), made("td", seconds(rows.took[row]), "number"));
      if (byWorker) line.append(made("td", rows.workers[rows.worker[row]]));
      const said = made("td", undefined, "said");
      if (inputs) said.append(made("code", inputs), " ");
      said.append(kind && kind !== status && text ? `${kind}: ${text}` : text || "");
      line.append(said);
    }
    at("table").replaceChildren(element);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    at("turn").hidden = pages === 1;
    at("place").textContent = `page ${page + 1} of ${pages.toLocaleString("en")}`;
    at("back").disabled = page === 0;
    at("on").disabled = page + 1 >= pages;
  };
  const turn = by => {
    page += by;
    table();
    if (at(by < 0 ? "back" : "on").disabled) at(by < 0 ? "on" : "back").focus(); // else the focus would be lost
  };
  at("back").addEventListener("click", () => turn(-1));
  at("on").addEventListener("click", () => turn(1));

  // --- timeline ----------------------------------------------------------------------------------------------------
  let end = 1;
  for (let row = 0; row < count; row++) end = Math.max(end, rows.start[row] + Math.max(0, rows.took[row]));
  const canvas = at("lanes");
  let lanes = [], number = 1, width = 1, cursor = null;
  const bins = () => {
    at("timeline").hidden = false; // because what is hidden has no width
    width = Math.max(1, (canvas.clientWidth || 1000) - NAMES);
    number = Math.max(20, Math.floor(width / BIN));
    const first = new Map();
    for (const row of found) {
      if (rows.start[row] < 0) continue;
      const lane = laneOf[row];
      first.set(lane, Math.min(first.has(lane) ? first.get(lane) : Infinity, rows.start[row]));
    }
    const chosen = [...first.keys()].sort((one, other) => first.get(one) - first.get(other));
    const rest = chosen.length > LANES ? chosen.slice(LANES - 1) : [];
    const place = new Map();
    lanes = chosen.slice(0, chosen.length - rest.length).map((lane, index) => {
      place.set(lane, index);
      return { lane, name: laneWords[lane] || "not known" };
    });
    if (rest.length) {
      rest.forEach(lane => place.set(lane, lanes.length));
      lanes.push({ lane: null, name: `and ${rest.length} more` });
    }
    for (const lane of lanes) {
      Object.assign(lane, { busy: new Float64Array(number), all: new Uint32Array(number), bad: new Uint32Array(number),
        runs: 0, failed: 0, time: 0, from: Infinity, to: 0 });
    }
    const size = end / number;
    for (const row of found) {
      const start = rows.start[row];
      if (start < 0) continue;
      const lane = lanes[place.get(laneOf[row])], took = Math.max(0, rows.took[row]), stop = start + took;
      const bad = rows.status[row] !== COMPLETED;
      lane.runs++; lane.failed += bad; lane.time += took;
      lane.from = Math.min(lane.from, start); lane.to = Math.max(lane.to, stop);
      const left = Math.min(number - 1, Math.floor(start / size)), right = Math.min(number - 1, Math.floor(stop / size));
      for (let bin = left; bin <= right; bin++) {
        lane.busy[bin] += Math.max(0, Math.min(stop, (bin + 1) * size) - Math.max(start, bin * size)) / size;
        lane.all[bin]++;
      }
      if (bad) lane.bad[right]++;
    }
    at("timeline").hidden = !lanes.length;
    at("by-lane").hidden = !lanes.length;
    const element = headed([byWorker ? "worker" : "task", "runs", "not completed", "busy", "from", "to"]);
    const body = element.createTBody();
    for (const lane of lanes) {
      const line = body.insertRow();
      line.append(made("td", lane.name), made("td", lane.runs.toLocaleString("en"), "number"),
        made("td", lane.failed.toLocaleString("en"), "number"));
      for (const time of [lane.time, lane.from, lane.to]) line.append(made("td", seconds(time), "number"));
    }
    at("lane-table").replaceChildren(element);
    canvas.setAttribute("aria-label", `Timeline of ${counted(lanes.length, byWorker ? "worker" : "task")} over ` +
      `${seconds(end)}. The arrow keys move in it, Enter filters. The same is in a table below.`);
  };
  const sheet = made("canvas"); // lanes without cursor, because painting them takes longer than the pointer takes to move
  const paint = () => {
    if (!lanes.length) return;
    const style = getComputedStyle(document.body), color = name => style.getPropertyValue(`--${name}`).trim();
    const scale = devicePixelRatio || 1, height = lanes.length * LANE + 22;
    canvas.style.height = `${height}px`;
    canvas.width = sheet.width = (width + NAMES) * scale;
    canvas.height = sheet.height = height * scale;
    const pen = sheet.getContext("2d");
    pen.scale(scale, scale);
    pen.font = "12px system-ui, 'Liberation Sans', sans-serif";
    pen.textBaseline = "middle";
    const step = width / number;
    const bar = (bin, top, high, least) => { // whole pixels, because others show as stripes
      const left = Math.floor(bin * step);
      pen.fillRect(NAMES + left, top, Math.max(least, Math.floor((bin + 1) * step) - left), high);
    };
    lanes.forEach((lane, index) => {
      const top = index * LANE;
      pen.fillStyle = color("soft");
      let name = lane.name;
      while (name.length > 4 && pen.measureText(name).width > NAMES - 14) name = `${name.slice(0, -2)}…`;
      pen.fillText(name, 0, top + LANE / 2);
      pen.fillStyle = color("box");
      pen.fillRect(NAMES, top + 1, width, LANE - 2);
      const most = lane.busy.reduce((most, busy) => Math.max(most, busy), 1);
      pen.fillStyle = color("completed");
      for (let bin = 0; bin < number; bin++) {
        if (!lane.all[bin]) continue;
        pen.globalAlpha = 0.25 + 0.75 * Math.min(1, lane.busy[bin] / most);
        bar(bin, top + 1, LANE - 2, 1);
      }
      pen.globalAlpha = 1;
      pen.fillStyle = color("failed");
      for (let bin = 0; bin < number; bin++) {
        if (lane.bad[bin]) bar(bin, top + LANE / 2, LANE / 2 - 1, 2);
      }
    });
    pen.fillStyle = color("soft");
    const ticks = Math.max(1, Math.min(5, Math.floor(width / 90))); // so that their texts have room
    for (let tick = 0; tick <= ticks; tick++) {
      pen.textAlign = tick === 0 ? "left" : tick === ticks ? "right" : "center";
      pen.fillText(tick ? seconds(Math.round(end * tick / ticks)) : "0", NAMES + width * tick / ticks, lanes.length * LANE + 12);
    }
  };
  const draw = () => {
    const pen = canvas.getContext("2d"), scale = canvas.width / (width + NAMES), step = width / number;
    pen.resetTransform();
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(sheet, 0, 0);
    pen.scale(scale, scale);
    if (cursor) {
      pen.strokeStyle = getComputedStyle(document.body).getPropertyValue("--link").trim();
      pen.lineWidth = 2;
      pen.strokeRect(NAMES + cursor.bin * step - 1, cursor.lane * LANE, Math.max(4, step) + 2, LANE);
    }
  };
  const show = to => {
    cursor = to && { lane: Math.max(0, Math.min(lanes.length - 1, to.lane)), bin: Math.max(0, Math.min(number - 1, to.bin)) };
    draw();
    if (!cursor || !lanes.length) { at("under").textContent = LEGEND; return; }
    const lane = lanes[cursor.lane], size = end / number, bin = cursor.bin;
    at("under").textContent = `${lane.name}, ${seconds(Math.round(bin * size)) || "0 ms"} to ` +
      `${seconds(Math.round((bin + 1) * size))}: ${counted(lane.all[bin], "run")}` +
      (lane.bad[bin] ? `, ${lane.bad[bin].toLocaleString("en")} ended without completing` : "");
  };
  const repaint = () => { paint(); show(cursor); };
  const under = event => {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left - NAMES;
    return x < 0 ? null : { lane: Math.floor((event.clientY - box.top) / LANE), bin: Math.floor(x / (width / number)) };
  };
  const only = lane => {
    if (lane === undefined || lane.lane === null) return;
    laneFilter.value = laneFilter.value === String(lane.lane) ? "" : String(lane.lane);
    filter();
    if (cursor) show({ lane: lanes.findIndex(each => each.lane === lane.lane), bin: cursor.bin });
  };
  canvas.addEventListener("mousemove", event => show(under(event)));
  canvas.addEventListener("mouseleave", () => show(null));
  canvas.addEventListener("click", event => {
    only(lanes[Math.floor((event.clientY - canvas.getBoundingClientRect().top) / LANE)]);
  });
  canvas.addEventListener("keydown", event => {
    const from = cursor || { lane: 0, bin: -1 };
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "Enter" && cursor) only(lanes[cursor.lane]);
    else if (event.key === "Escape") show(null);
    else if (moves[event.key]) show({ lane: from.lane + moves[event.key][0], bin: from.bin + moves[event.key][1] });
    else return;
    event.preventDefault();
  });

  // --- start -------------------------------------------------------------------------------------------------------
  const form = at("filters");
  let later = 0;
  form.hidden = false;
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("input", () => { clearTimeout(later); later = setTimeout(filter, 120); });
  form.addEventListener("reset", () => setTimeout(filter));
  addEventListener("resize", () => { bins(); repaint(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  filter();
})();
