// Buttons and keys to requests. The neutral stop asks nobody and is reachable from everywhere, an open dialog included.

import { KEYS } from "./actions.js";
import { Problem, ask } from "./api.js";
import { Dialogs } from "./dialogs.js";
import { nextTheme } from "./theme.js";
import { clock } from "./words.js";

const TOAST_MS = 6000;
const JOB_MS = 400;

export class Controls {
  // `scene()` gives the newest head (or null), electrodes, and the number of channels.
  constructor(root, scene, focusElectrodes) {
    this.scene = scene;
    this.toasts = root.querySelector("#toasts");
    this.focusElectrodes = focusElectrodes;
    this.dialogs = new Dialogs(root, scene, (name, answer) => this.told(name, answer));
    root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-action], [data-does]");
      if (button?.dataset.action) this.dialogs.confirm(button.dataset.action);
      else if (button) this.does(button.dataset.does);
    });
    document.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest?.("input:not([type=radio]), textarea, select");
    if (typing && event.key !== "F8") return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const found = KEYS.find(([name]) => name === key)?.[2];
    if (!found || key === "Escape") return; // dialogs close on Escape by themselves
    if (event.repeat && found.does === "neutral") return;
    event.preventDefault();
    if (found.action) this.dialogs.confirm(found.action);
    else this.does(found.does);
  }

  does(what) {
    const { head } = this.scene();
    const recording = head?.recorder?.state === "recording";
    return {
      neutral: () => this.neutral(),
      arming: () => this.dialogs.confirm(head?.engine.armed ? "disarm" : "arm"),
      recording: () => this.dialogs.confirm(recording ? "recordStop" : "record"),
      electrodes: () => this.focusElectrodes(),
      theme: () => this.toast("off", `Theme: ${nextTheme()}`),
      help: () => this.dialogs.showHelp(),
      token: () => this.dialogs.askToken({ message: "" }),
    }[what]?.();
  }

  async neutral() {
    try {
      const { told } = await ask("/v1/neutral", { on: true });
      this.toast("alarm", `Neutral stop${at(told)}`);
    } catch (problem) {
      this.failed("Neutral stop failed", problem);
    }
  }

  mask(channel) {
    this.dialogs.confirm("mask", { channels: String(channel) });
  }

  failed(title, problem) {
    this.toast("alarm", `${title}: ${problem.message}`, { stays: true });
    if (problem instanceof Problem && problem.status === 401) this.dialogs.askToken(problem);
  }

  told(name, { status, told }) {
    const { action } = this.dialogs;
    if (status === 202 && told?.id) this.follow(told.id, action.verb);
    else this.toast("ok", `${action.verb}: done${at(told)}`);
  }

  // A long operation: its progress is shown until it ends, and how it ended after that.
  async follow(id, verb) {
    const toast = this.toast("off", `${verb}: under way`, { stays: true });
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, JOB_MS));
      let job;
      try {
        job = (await ask(`/v1/jobs/${encodeURIComponent(id)}`)).told;
      } catch (problem) {
        toast.remove();
        this.failed(`${verb}: how it went is not known`, problem);
        return;
      }
      const { state } = job;
      const share = Number.isFinite(job.progress) ? ` ${Math.round(100 * job.progress)} %` : "";
      const why = job.problem ?? "";
      toast.say(`${verb}: ${job.phase ?? state}${share}`);
      if (state === "running") continue;
      toast.remove();
      const failed = state !== "done";
      this.toast(failed ? "alarm" : "ok", `${verb}: ${state}${why ? `. ${why}` : ""}`, { stays: failed });
      return;
    }
  }

  toast(level, words, { stays = false } = {}) {
    const element = document.createElement("li");
    element.dataset.level = level;
    const [time, text, close] = ["time", "span", "button"].map((tag) =>
      element.appendChild(document.createElement(tag)),
    );
    time.textContent = clock();
    text.textContent = words;
    close.type = "button";
    close.textContent = "×";
    close.setAttribute("aria-label", "Dismiss");
    close.addEventListener("click", () => element.remove());
    this.toasts.append(element);
    while (this.toasts.children.length > 4) this.toasts.firstChild.remove();
    if (!stays) setTimeout(() => element.remove(), TOAST_MS);
    return { remove: () => element.remove(), say: (said) => (text.textContent = said) };
  }
}

function at(told) {
  return Number.isInteger(told?.bin) && told.bin >= 0 ? ` at bin ${told.bin}` : "";
}
