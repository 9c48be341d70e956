// What an operator can do: each action with the words that are confirmed, its fields, and the request that it becomes.

import { ask } from "./api.js";

// Channels as a person writes them: numbers, ranges and electrode names, with commas or spaces between.
export function readChannels(text, electrodes, n) {
  const byName = new Map(electrodes.map(({ id }, channel) => [id, channel]));
  const found = new Set();
  for (const word of text.split(/[\s,;]+/).filter(Boolean)) {
    const range = /^(\d+)[-–](\d+)$/.exec(word);
    if (byName.has(word)) found.add(byName.get(word));
    else if (/^\d+$/.test(word)) found.add(Number(word));
    else if (range)
      for (let channel = Number(range[1]); channel <= Number(range[2]) && channel < n; channel++) found.add(channel);
    else throw new Error(`“${word}” is no channel number, range or electrode of this stream`);
  }
  const beyond = [...found].find((channel) => channel >= n);
  if (beyond !== undefined) throw new Error(`channel ${beyond} is beyond the last, ${n - 1}`);
  if (!found.size) throw new Error("name at least one channel");
  return [...found].sort((a, b) => a - b);
}

const bundles = async () => (await ask("/v1/bundles")).told.bundles.map(({ name }) => name);
const overlays = async () => (await ask("/v1/bundles")).told.overlays;

const field = (name, label, rest = {}) => ({ name, label, type: "text", ...rest });
const numeric = (name, label, value, rest = {}) => field(name, label, { type: "number", value, step: "any", ...rest });

// Each: key (shortcut), title, words (what will happen), verb (the confirming button), path, and where needed fields,
// body(values, context), careful (the cursor rests on Cancel).
export const ACTIONS = {
  arm: {
    title: "Arm the output?",
    words: "From the next bin on, what is decoded moves what is connected.",
    verb: "Arm",
    path: "/v1/arm",
    careful: true,
  },
  disarm: {
    title: "Disarm the output?",
    words: "Decoding goes on; nothing that is sent from the next bin on may be acted on.",
    verb: "Disarm",
    path: "/v1/disarm",
  },
  release: {
    title: "Release the neutral stop?",
    words: "Decoded velocity goes out again from the next bin on.",
    verb: "Release",
    path: "/v1/neutral",
    body: () => ({ on: false }),
    careful: true,
  },
  gain: {
    title: "Change the output gain",
    words: "Applies from the next bin on, before limits.",
    verb: "Set gain",
    path: "/v1/gain",
    fields: [numeric("gain", "Gain", 1, { required: true })],
    body: ({ gain }) => ({ gain: Number(gain) }),
  },
  recalibrate: {
    title: "Measure thresholds again?",
    words: "Outputs are safe, not decoded, while thresholds are measured.",
    verb: "Recalibrate",
    path: "/v1/thresholds/recalibrate",
    fields: [numeric("seconds", "Seconds of signal", 10, { min: 0.1, max: 3600, required: true })],
    body: ({ seconds }) => ({ seconds: Number(seconds) }),
    careful: true,
  },
  mask: {
    title: "Mask channels, or take them back",
    words: "A masked channel enters the decoder at its training mean.",
    verb: "Apply",
    path: "/v1/channels/mask",
    fields: [
      field("channels", "Channels", { required: true, hint: "numbers, ranges or electrodes: 3, 17, 20-24" }),
      field("masked", "Do", {
        type: "select",
        options: [
          ["true", "mask"],
          ["false", "take back in"],
        ],
      }),
    ],
    body: ({ channels, masked }, { electrodes, n }) => ({
      channels: readChannels(channels, electrodes, n),
      masked: masked === "true",
    }),
  },
  confirm: {
    title: "Is it the right array?",
    words: "Confirm only if you have checked that these electrodes are those that the decoder was trained on.",
    verb: "It is the right array",
    path: "/v1/identity/confirm",
    careful: true,
  },
  overlay: {
    title: "Apply a day's overlay",
    words: "Its parameters replace those of the bundle between two bins, and can be rolled back.",
    verb: "Apply",
    path: "/v1/overlay",
    fields: [field("name", "Overlay", { type: "select", options: overlays, required: true })],
    body: ({ name }) => ({ name }),
  },
  overlayBack: {
    title: "Roll the overlay back?",
    words: "The parameters before the last overlay apply again from the next bin on.",
    verb: "Roll back",
    path: "/v1/overlay/rollback",
  },
  stage: {
    title: "Stage a bundle",
    words: "It is loaded, warmed, and decodes along in shadow; outputs stay as they are.",
    verb: "Stage",
    path: "/v1/bundle/stage",
    fields: [field("name", "Bundle", { type: "select", options: bundles, required: true })],
    body: ({ name }) => ({ name }),
  },
  activate: {
    title: "Let the candidate take over?",
    words: "From the named bin on, outputs come from the candidate. The one before stays in shadow, to roll back to.",
    verb: "Take over",
    path: "/v1/bundle/activate",
    fields: [
      numeric("at_bin", "At bin", "", { min: 0, step: 1, hint: "empty: as soon as may be" }),
      numeric("crossfade_bins", "Cross-fade, bins", 0, { min: 0, max: 250, step: 1 }),
    ],
    body: ({ at_bin: bin, crossfade_bins: fade }) => ({
      at_bin: bin === "" ? null : Number(bin),
      crossfade_bins: Number(fade),
    }),
    careful: true,
  },
  bundleBack: {
    title: "Go back to the bundle before?",
    words: "It takes over again; the one that decodes now stays in shadow.",
    verb: "Roll back",
    path: "/v1/bundle/rollback",
    careful: true,
  },
  unstage: {
    title: "Drop the candidate?",
    words: "It stops decoding along. Outputs stay as they are.",
    verb: "Drop",
    path: "/v1/bundle/unstage",
  },
  record: {
    title: "Start recording",
    words: "Every packet, tick, command and output from now on.",
    verb: "Start",
    path: "/v1/recording/start",
    fields: [field("name", "Name", { hint: "empty: by date and time" }), field("about", "About", { type: "textarea" })],
    body: ({ name, about }) => ({ ...(name && { name }), about }),
  },
  recordStop: {
    title: "Stop recording?",
    words: "What was recorded is closed and safe. Decoding goes on.",
    verb: "Stop recording",
    path: "/v1/recording/stop",
    careful: true,
  },
  mark: {
    title: "Mark this moment",
    words: "A marker in the log at the next bin.",
    verb: "Mark",
    path: "/v1/marks",
    fields: [
      numeric("code", "Code", 256, { min: 256, max: 4294967295, step: 1, required: true }),
      numeric("value", "Value", "", { hint: "may be left empty" }),
    ],
    body: ({ code, value }) => ({ code: Number(code), value: value === "" ? null : Number(value) }),
  },
};

// Shortcuts: key, words, and the action or what the page does itself (`does`).
export const KEYS = [
  ["n", "Neutral stop, at once, without confirmation", { does: "neutral" }],
  ["F8", "Neutral stop, also while a text is being typed", { does: "neutral" }],
  ["a", "Arm, or disarm", { does: "arming" }],
  ["r", "Release the neutral stop", { action: "release" }],
  ["g", "Gain", { action: "gain" }],
  ["e", "Go to the electrodes: arrows move, Enter masks", { does: "electrodes" }],
  ["k", "Mask channels", { action: "mask" }],
  ["c", "Recalibrate thresholds", { action: "recalibrate" }],
  ["b", "Stage a bundle", { action: "stage" }],
  ["x", "Let the candidate take over", { action: "activate" }],
  ["o", "Apply an overlay", { action: "overlay" }],
  ["v", "Start recording, or stop", { does: "recording" }],
  ["m", "Mark this moment", { action: "mark" }],
  ["t", "Light, dark, or as the system has it", { does: "theme" }],
  ["?", "This list", { does: "help" }],
  ["Escape", "Close what is open", { does: "close" }],
];
