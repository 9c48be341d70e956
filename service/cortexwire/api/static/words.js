// Names of codes and plain forms of numbers: the one place where bits become words.

export const VALIDITY = ["valid", "partial", "stale"];
export const PARTIAL = 1;
export const STALE = 2;

export const FLAGS = [
  [1, "late"],
  [2, "armed"],
  [4, "command"],
  [8, "calibrating"],
  [16, "warming up"],
  [32, "history not valid"],
  [64, "deadline passed"],
  [128, "not finite"],
  [256, "unobserved samples"],
  [512, "artefact"],
  [1024, "arming blocked"],
  [2048, "limited"],
  [4096, "channels at mean"],
  [8192, "neutral"],
  [16384, "stream ended"],
];
export const LATE = 1;
export const COMMAND = 4;
export const SAFE = 64;
export const BLOCKED = 1024;
// Flags that do not by themselves make a bin one to look at.
const ORDINARY = 2 | 4 | 2048 | 4096 | 8192 | 16384;

export const MASKED = 1;
export const DEAD = 2;
export const RAILING = 4;
export const DISABLED = 8;
export const CHANNEL_FLAGS = [
  [DEAD, "dead"],
  [RAILING, "railing"],
  [MASKED, "masked"],
  [DISABLED, "disabled"],
];

export const STATES = {
  waiting: "waiting for a stream",
  calibrating: "measuring thresholds",
  running: "decoding",
  silent: "no packets come",
  refused: "the stream does not fit the decoder",
  ended: "the stream has ended",
};

// What is wrong with a bin, in words; empty for one that is as it should be.
export function troubles(validity, flags) {
  const words = validity ? [VALIDITY[validity] ?? `validity ${validity}`] : [];
  for (const [bit, word] of FLAGS) if (flags & bit & ~ORDINARY) words.push(word);
  return words.join(" · ");
}

export function flagWords(flags) {
  return FLAGS.filter(([bit]) => flags & bit)
    .map(([, word]) => word)
    .join(", ");
}

export const SHORT = {
  received_to_binned: "front end",
  binned_to_decoded: "decoder",
  decoded_to_published: "publish",
  sent_to_published: "whole",
};
export const pretty = (name) => name.replaceAll("_", " ");
export const stage = (name) => name.replace("_to_", " → ");
export const plural = (n, one, many = `${one}s`) => `${whole(n)} ${n === 1 ? one : many}`;

// Thin spaces between thousands.
export function whole(n) {
  return Math.round(n)
    .toString()
    .replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");
}

export function duration(us) {
  if (!Number.isFinite(us)) return "–";
  if (us < 1000) return `${us.toFixed(0)} µs`;
  const ms = us / 1000;
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 2 : ms < 100 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  while (n >= 1000 && power < units.length - 1) {
    n /= 1000;
    power += 1;
  }
  return `${n.toFixed(power && n < 10 ? 2 : power && n < 100 ? 1 : 0)} ${units[power]}`;
}

export function number(value, digits = 1) {
  return Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "–";
}

export function clock(date = new Date()) {
  return date.toTimeString().slice(0, 8);
}

export function since(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 1) return `${Math.round(ms)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${s.toFixed(0)} s`;
  return s < 7200 ? `${Math.floor(s / 60)} min` : `${Math.floor(s / 3600)} h`;
}
