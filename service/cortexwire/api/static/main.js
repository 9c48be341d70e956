// The page: takes frames as they come, and draws the newest state when the browser is ready for a picture.

import { ask } from "./api.js";
import { Controls } from "./controls.js";
import { CursorPlane } from "./cursor.js";
import { Electrodes } from "./electrodes.js";
import { History } from "./history.js";
import { Journal } from "./journal.js";
import { judge } from "./judge.js";
import { agreement, knownName } from "./known.js";
import { Lanes } from "./lanes.js";
import { Latency, wholeLimit } from "./latency.js";
import { Live } from "./live.js";
import { readPalette } from "./palette.js";
import { put, showModel, showRecorder, showStream } from "./panels.js";
import { Summary } from "./summary.js";
import { startTheme } from "./theme.js";
import { BLOCKED, duration, number } from "./words.js";

const TEXT_MS = 200;
const STUCK_MS = 1500;
const SLOW_MS = 1000;

const id = (name) => document.getElementById(name);
const ids = (...names) => Object.fromEntries(names.map((name) => [name, id(name)]));

startTheme();
const history = new History();
const summary = new Summary(document);
const journal = new Journal(id("journal"), async () => (await ask("/v1/state")).told);
const lanes = new Lanes(
  {
    vx: id("lane-vx"),
    vy: id("lane-vy"),
    raster: id("lane-raster"),
    validity: id("lane-validity"),
    latency: id("lane-latency"),
  },
  history,
);
const plane = new CursorPlane(id("plane"), history);
const latency = new Latency(id("histogram"), {
  ...ids("p50", "p99", "max"),
  lines: id("budget-lines"),
  none: id("budget-none"),
});
const electrodes = new Electrodes(
  {
    canvas: id("array"),
    outline: id("outline"),
    electrode: id("electrode"),
    values: id("electrode-values"),
    flags: id("array-flags"),
    low: id("ramp-low"),
    high: id("ramp-high"),
  },
  (channel) => controls.mask(channel),
);
const controls = new Controls(
  document,
  () => ({ head: frame?.head ?? null, electrodes: electrodes.list, n: history.nChannels }),
  () => id("array").focus(),
);
const live = new Live(
  take,
  () => judged(),
  (problem) => controls.dialogs.askToken(problem),
);
controls.dialogs.onToken = () => live.connect();

const model = {
  ...ids("bundle", "hash", "overlay", "candidate", "divergence"),
  back: id("bundle-back"),
  candidateName: id("candidate-name"),
  candidateHash: id("candidate-hash"),
  candidatePhase: id("candidate-phase"),
  candidateWhy: id("candidate-why"),
  candidateBins: id("candidate-bins"),
};
const recorder = {
  state: id("recorder-state"),
  folder: id("recorder-folder"),
  size: id("recorder-size"),
  lost: id("recorder-lost"),
  note: id("recorder-note"),
};

let frame = null;
let freshAt = 0;
let palette = readPalette();
let due = false;
let pictureAt = 0;
let textAt = 0;
let slowAt = 0;
let gauge = null; // frames and outputs since the last time that their rates were told
let outputs = NaN;
// What this page has done, for whoever measures it.
const stats = { frames: 0, pictures: 0, drawMs: 0, longestDrawMs: 0, firstPictureMs: 0, fps: 0 };
window.cortexwire = { stats };

function take(next) {
  if (next.head.electrodes) electrodes.describe(next.head.electrodes);
  const generation = history.generation;
  history.take(next);
  if (history.generation !== generation) latency.clear();
  journal.take(next);
  latency.take(next.arrays.latency_us);
  stats.frames += 1;
  if (gauge) {
    gauge.frames += 1;
    gauge.outputs += next.arrays.bins?.length ?? 0;
  }
  if (!next.head.stale) freshAt = Date.now();
  if (!frame) pictureAt = performance.now();
  frame = next;
  draw();
}

// Frames that come faster than pictures are drawn fall together into one picture.
function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(picture);
}

function picture() {
  due = false;
  if (!frame) return;
  const began = performance.now();
  const { head } = frame;
  const limit = wholeLimit(head.budgets);
  lanes.draw(palette, limit?.limitUs ?? NaN);
  plane.draw(palette, (head.engine.bin_ms || 20) / 1000);
  if (began - textAt > TEXT_MS) {
    textAt = began;
    texts(head, limit);
  }
  pictureAt = performance.now();
  const took = pictureAt - began;
  stats.pictures += 1;
  stats.drawMs += took;
  stats.longestDrawMs = Math.max(stats.longestDrawMs, took);
  if (!stats.firstPictureMs) {
    stats.firstPictureMs = performance.now();
    performance.mark("cortexwire-first-picture");
  }
}

function texts(head, limit) {
  electrodes.draw(palette, frame);
  showStream(id("stream"), head);
  showModel(model, head);
  showRecorder(recorder, head.recorder, head.t_ns);
  const unit = head.engine.unit || "";
  put(id("velocity-scale"), lanes.scale ? `±${lanes.scale} ${unit}` : "");
  put(id("plane-scale"), `±${plane.half} ${unit.replace(/\/s$/, "")}`);
  put(id("known-name"), knownName(history));
  document.documentElement.classList.toggle("knows-nothing", !knownName(history));
  document.documentElement.classList.toggle("is-disarmed", !head.engine.armed);
  put(id("arming"), head.engine.armed ? "Disarm…" : "Arm…");
  id("release").hidden = !head.engine.neutral;
  // No output of a disarmed engine is marked as blocked, and what is in shadow may not take over for the same reason.
  const unconfirmed = head.engine.blocked || newestFlags() & BLOCKED || head.candidate?.phase === "shadow";
  id("confirm-array").hidden = !unconfirmed;
  put(id("recording"), head.recorder?.state === "recording" ? "Stop…" : "Start…");
  id("activate").disabled = head.candidate?.phase !== "ready";
  put(
    id("limit-words"),
    limit ? `line: ${limit.stage.replace("_to_", " → ")} ${limit.percentile} ≤ ${duration(limit.limitUs)}` : "",
  );
  if (performance.now() - slowAt > SLOW_MS) slowly(head);
}

function slowly(head) {
  const now = performance.now();
  slowAt = now;
  if (gauge) {
    const seconds = (now - gauge.at) / 1000;
    stats.fps = gauge.frames / seconds;
    outputs = gauge.outputs / seconds;
    put(id("fps"), `${stats.fps.toFixed(0)} frames/s`);
  }
  gauge = { at: now, frames: 0, outputs: 0 };
  latency.draw(palette, wholeLimit(head.budgets));
  latency.tell(head);
  const r = agreement(history, 500);
  put(id("agreement"), Number.isFinite(r) ? `r = ${number(r, 2)}` : "");
  const { bins, valid, partial, stale, late, safe } = lanes.tally(lanes.bins);
  const share = (n) => `${bins ? number((100 * n) / bins, n && n < bins ? 1 : 0) : 0} %`;
  put(
    id("tally"),
    `valid ${share(valid)} · partial ${share(partial)} · stale ${share(stale)} · late ${late} · deadline missed ${safe}`,
  );
  ticks(head.engine.bin_ms || 20);
}

// The time axis: a mark every two seconds, where they fall for this width.
function ticks(binMs) {
  const width = lanes.raster.surface.width;
  const { pixels, bins } = { pixels: Math.max(1, Math.floor(width / 500)), bins: lanes.bins };
  const key = `${width} ${binMs}`;
  const element = id("ticks");
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  const marks = [];
  for (let s = 0; s * 1000 < bins * binMs * 0.98; s += 2) {
    const mark = document.createElement("span");
    mark.textContent = s ? `−${s} s` : "now";
    mark.style.right = `${(100 * ((s * 1000) / binMs) * pixels) / width}%`;
    marks.push(mark);
  }
  element.replaceChildren(...marks);
}

// Frames come and no picture is made of them, while somebody looks: drawing has failed, and what is shown is old.
function stuck() {
  return live.link === "live" && Boolean(frame) && !document.hidden && performance.now() - pictureAt > STUCK_MS;
}

function newestFlags() {
  return history.has(history.newest) ? history.flags[history.slot(history.newest)] : 0;
}

function judged() {
  id("ask-token").hidden = live.link !== "refused";
  summary.show(
    judge({
      head: frame?.head ?? null,
      link: stuck() ? "stuck" : live.link,
      freshAt,
      now: Date.now(),
      tally: lanes.tally(Math.round(1000 / (frame?.head.engine.bin_ms || 20))),
      outputs,
      newestFlags: newestFlags(),
      lost: journal.recent(),
    }),
  );
}

document.addEventListener("themechange", () => {
  palette = readPalette();
  draw();
});
for (const input of document.querySelectorAll("[name=figure]")) {
  input.addEventListener("change", () => {
    electrodes.show(input.value);
    draw();
  });
}
document.addEventListener("visibilitychange", () => (pictureAt = performance.now()));
// Judged by the page's own clock, for what is stale may bring no frame, and what fails to draw no picture.
setInterval(() => (frame || live.link !== "connecting") && judged(), TEXT_MS);
setInterval(() => put(id("clock"), new Date().toTimeString().slice(0, 8)), TEXT_MS);
live.connect();
