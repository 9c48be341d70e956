// What the page says first: from what is known, five answers and a list of what is wrong, worst first. No element is
// touched here.

import { readLine } from "./latency.js";
import { BLOCKED, SHORT, STATES, bytes, clock, duration, flagWords, plural, since, stage, whole } from "./words.js";

const FEW = 0.9; // of the bins of a second: fewer commands than that are worth a warning

// States in which outputs come; in the others there is nothing to judge, however good the last bins were.
const FLOWING = ["running", "calibrating"];

const tile = (level, word, detail = "") => ({ level, word, detail });
const WRITER = {
  absent: ["No engine", "no engine has run here"],
  dead: ["Engine gone", "its heartbeat has stopped"],
  stale: ["Engine hangs", "no heartbeat for a second"],
  closed: ["Stopped", "the engine has ended in good order"],
};
const LOST = {
  connecting: "connecting to the server",
  silent: "the server is connected and says nothing",
  lost: "no connection to the server; trying again",
  refused: "the server wants a token",
  stuck: "this page fails to draw what comes: reload it",
};

const NO_LINK = { connecting: "Connecting", stuck: "Page stuck", refused: "Token?" };

// `view`: {head, link, freshAt (ms of the wall clock, 0: never), now, tally, outputs (per second), newestFlags,
// lost (faults of the last minute by name)}.
export function judge(view) {
  const stale = staleness(view);
  const tiles = {
    decoder: decoder(view, stale),
    data: data(view, stale),
    output: output(view, stale),
    budget: budget(view, stale),
    faults: faults(view),
    recorder: recorder(view),
  };
  return { stale, tiles, alarms: alarms(view, stale, tiles) };
}

// Why what is shown is old, or null while it is fresh.
export function staleness({ head, link, freshAt, now }) {
  if (link === "live" && head && !head.stale) return null;
  const writer = head?.engine.writer;
  const why =
    link !== "live"
      ? LOST[link]
      : WRITER[writer]
        ? WRITER[writer][1]
        : head && head.engine.state !== "running"
          ? `engine: ${STATES[head.engine.state] ?? head.engine.state}`
          : "no new outputs come from the engine";
  return { why, since: freshAt ? clock(new Date(freshAt)) : "", forWords: freshAt ? since(now - freshAt) : "" };
}

function decoder({ head, link }) {
  if (link !== "live" || !head) return tile("alarm", NO_LINK[link] ?? "No server", LOST[link] ?? "");
  const { writer, state, bin } = head.engine;
  if (WRITER[writer]) return tile("alarm", ...WRITER[writer]);
  const words = {
    running: "Decoding",
    silent: "Silent",
    refused: "Refused",
    ended: "Ended",
    calibrating: "Calibrating",
    waiting: "Waiting",
  };
  const level = { running: "ok", calibrating: "warn", waiting: "warn", ended: "off" }[state] ?? "alarm";
  return tile(level, words[state] ?? state, state === "running" ? `bin ${whole(bin)}` : STATES[state]);
}

function data({ head, tally, outputs }, stale) {
  if (stale)
    return tile("alarm", "STALE", stale.since ? `since ${stale.since}, ${stale.forWords}` : "since before this page");
  const { state } = head.engine;
  if (!FLOWING.includes(state)) return tile("off", "None", STATES[state] ?? state);
  const wrong = tally.partial + tally.stale;
  if (tally.stale) return tile("alarm", "Gaps", `${tally.stale} of ${tally.bins} bins stale`);
  if (wrong) return tile("warn", "Partial", `${wrong} of ${tally.bins} bins partial`);
  const rate = Number.isFinite(outputs) ? `${whole(outputs)} outputs/s, ` : "";
  return tile("ok", "Fresh", `${rate}all valid`);
}

function output({ head, tally }, stale) {
  if (!head) return tile("off", "Unknown");
  const { armed, neutral, state } = head.engine;
  if (stale) return tile("alarm", armed ? "Unknown" : "NOT ARMED", armed ? "armed when last heard" : "when last heard");
  if (neutral) return tile("alarm", "NEUTRAL", armed ? "stop is on: zeros go out" : "stop is on; not armed");
  if (!armed) return tile("off", "NOT ARMED", "nobody may act on it");
  if (!FLOWING.includes(state)) return tile("off", "None", `armed; ${STATES[state] ?? state}`);
  const level = tally.commands < FEW * tally.bins ? "warn" : "live";
  const missing = tally.bins - tally.commands;
  return tile(level, "ARMED", missing ? `${missing} of ${tally.bins} bins do not command` : "every bin commands");
}

function budget({ head }, stale) {
  const lines = Object.entries(head?.budgets ?? {});
  const over = lines.filter(([, how]) => how === "over");
  if (!lines.length) return tile("off", "None", "no budget is watched");
  if (over.length) return tile("alarm", "OVER", over.length > 1 ? plural(over.length, "line") : short(over[0][0]));
  return tile(stale ? "off" : "ok", "Within", plural(lines.length, "line"));
}

function short(line) {
  const found = readLine(line);
  return found ? `${SHORT[found.stage] ?? stage(found.stage)} ${found.percentile}` : line;
}

function breach(line) {
  const found = readLine(line);
  return found ? `${short(line)} is over ${duration(found.limitUs)}` : line;
}

function faults({ lost }) {
  const entries = Object.entries(lost);
  if (!entries.length) return tile("ok", "None", "in the last minute");
  const [name, count] = entries.sort((a, b) => b[1] - a[1])[0];
  const more = entries.length > 1 ? ` and ${entries.length - 1} more` : "";
  return tile("warn", plural(entries.length, "kind"), `${whole(count)} ${name}${more}`);
}

function recorder({ head }) {
  const found = head?.recorder;
  if (!found) return tile("off", "None", "no recorder runs");
  const size = bytes(found.durable_bytes ?? 0);
  if (found.state === "full") return tile("alarm", "DISK FULL", `${size} are safe`);
  if (found.state === "failed") return tile("alarm", "FAILED", found.note || "see its log");
  if (found.state !== "recording") return tile("off", "Off", "not recording");
  if (found.lost_records) return tile("warn", "Recording", `${plural(found.lost_records, "record")} lost`);
  return tile("ok", "Recording", `${size} safe`);
}

// Each alarm: level, key (one is announced once for as long as its key stays), words.
function alarms(view, stale, tiles) {
  const { head, newestFlags } = view;
  const found = [];
  const add = (level, key, title, words) => found.push({ level, key, title, words });
  if (stale) {
    const when = stale.since ? `since ${stale.since} (${stale.forWords})` : "";
    add("alarm", "stale", `Data are stale ${when}`.trim(), stale.why);
  }
  if (!head) return found;
  if (head.insecure) add("warn", "insecure", "Insecure", "whoever reaches this address may control the engine");
  const { armed, neutral, state, last_note: note } = head.engine;
  if (neutral) add("alarm", "neutral", "Neutral stop is on", "zeros go out until it is released");
  if (state === "ended") add("off", "ended", "The stream has ended", "no outputs come until one begins");
  if (state === "refused") add("alarm", "refused", "The stream is refused", note);
  const over = Object.entries(head.budgets ?? {}).filter(([, how]) => how === "over");
  if (over.length) add("alarm", "budget", "Budget breached", over.map(([line]) => breach(line)).join("; "));
  const { level, word, detail } = tiles.recorder;
  if (level === "alarm") add("alarm", `recorder ${word}`, `Recorder: ${word.toLowerCase()}`, detail);
  else if (level === "warn") add("warn", "recorder loses", "The recorder loses data", detail);
  if (armed && !stale && tiles.output.level === "warn") {
    add(
      "warn",
      "no command",
      "Armed, but not every bin is a command",
      `newest: ${flagWords(newestFlags) || "no flags"}`,
    );
  }
  if (!armed) {
    const why = head.engine.blocked || newestFlags & BLOCKED ? "; arming is blocked until the array is confirmed" : "";
    const shown = FLOWING.includes(state) ? "decoded and shown, but nobody may act on it" : "nobody may act on outputs";
    add("off", "disarmed", "Output is not armed", shown + why);
  }
  return found;
}
