// The page: takes frames as they come, and draws the newest state when the browser is ready for a picture.

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
const SLOW_MS = 1000;

const id = (name) => document.getElementById(name);
const ids = (...names) => Object.fromEntries(names.map((name) => [name, id(name)]));

startTheme();
const history = new History();
const summary = new Summary(document);
const journal = new Journal(id("journal"));
const lanes = new Lanes({ vx: id("lane-vx"), vy: id("lane-vy"), raster: id("lane-raster"), validity: id("lane-validity"), latency: id("lane-latency") }, history);
const plane = new CursorPlane(id("plane"), history);
const latency = new Latency(id("histogram"), { ...ids("p50", "p99", "max"), lines: id("budget-lines"), none: id("budget-none") });
const electrodes = new Electrodes(
  { canvas: id("array"), outline: id("outline"), electrode: id("electrode"), values: id("electrode-values"), flags: id("array-flags"), low: id("ramp-low"), high: id("ramp-high") },
  (channel) => controls.mask(channel),
);
const controls = new Controls(
  document,
  () => ({ head: frame?.head ?? null, electrodes: electrodes.list, n: history.nChannels }),
  () => id("array").focus(),
);
const live = new Live(take, () => judged(), (problem) => controls.dialogs.askToken(problem));
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
const recorder = { state: id("recorder-state"), folder: id("recorder-folder"), size: id("recorder-size"), lost: id("recorder-lost"), note: id("recorder-note") };

let frame = null;
let freshAt = 0;
let palette = readPalette();
let due = false;
let textAt = 0;
let slowAt = 0;
let gauge = { at: performance.now(), frames: 0, outputs: 0 };
let outputs = 0;
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
  gauge.frames += 1;
  if (stats.frames > 1) gauge.outputs += next.arrays.bins?.length ?? 0;
  if (!next.head.stale) freshAt = Date.now();
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
  const took = performance.now() - began;
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
  judged();
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
  id("confirm-array").hidden = !(newestFlags() & BLOCKED);
  put(id("recording"), head.recorder?.state === "recording" ? "Stop…" : "Start…");
  id("activate").disabled = head.candidate?.phase !== "ready";
  put(id("limit-words"), limit ? `line: ${limit.stage.replace("_to_", " → ")} ${limit.percentile} ≤ ${duration(limit.limitUs)}` : "");
  if (performance.now() - slowAt > SLOW_MS) slowly(head);
}

function slowly(head) {
  const now = performance.now();
  slowAt = now;
  const seconds = (now - gauge.at) / 1000;
  stats.fps = gauge.frames / seconds;
  outputs = gauge.outputs / seconds;
  gauge = { at: now, frames: 0, outputs: 0 };
  latency.draw(palette, wholeLimit(head.budgets));
  latency.tell(head);
  const r = agreement(history, 500);
  put(id("agreement"), Number.isFinite(r) ? `r = ${number(r, 2)}` : "");
  put(id("fps"), `${stats.fps.toFixed(0)} frames/s`);
  const { bins, valid, partial, stale, late, safe } = lanes.tally(lanes.bins);
  const share = (n) => `${bins ? number((100 * n) / bins, n && n < bins ? 1 : 0) : 0} %`;
  put(id("tally"), `valid ${share(valid)} · partial ${share(partial)} · stale ${share(stale)} · late ${late} · deadline passed ${safe}`);
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

function newestFlags() {
  return history.has(history.newest) ? history.flags[history.slot(history.newest)] : 0;
}

function judged() {
  summary.show(
    judge({
      head: frame?.head ?? null,
      link: live.link,
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
// What is stale is said on a page's own clock, for then no frame may come to say it.
setInterval(() => live.link !== "live" && judged(), TEXT_MS);
setInterval(() => put(id("clock"), new Date().toTimeString().slice(0, 8)), TEXT_MS);
live.connect();
