// Dialogs: one that confirms an action and shows the server's answer, one that asks for a token, one that lists the
// keys.

import { ACTIONS, KEYS } from "./actions.js";
import { ask, token } from "./api.js";

const make = (tag, given = {}) => Object.assign(document.createElement(tag), given);

export class Dialogs {
  // `context()` gives {head, electrodes, n}; `told(action, answer)` hears what a confirmed action brought.
  constructor(root, context, told) {
    this.context = context;
    this.told = told;
    this.dialog = root.querySelector("#confirm");
    const part = (name) => root.querySelector(`#confirm-${name}`);
    Object.assign(this, {
      title: part("title"),
      words: part("words"),
      fields: part("fields"),
      problem: part("problem"),
      go: part("go"),
      arrayFirst: part("array-first"),
    });
    this.cancel = part("cancel");
    this.form = this.dialog.querySelector("form");
    this.form.addEventListener("submit", (event) => this.confirmed(event));
    this.cancel.addEventListener("click", () => this.dialog.close());
    this.arrayFirst.addEventListener("click", () => {
      this.dialog.close();
      this.confirm("confirm");
    });
    this.help = root.querySelector("#help");
    root.querySelector("#keys").replaceChildren(...KEYS.map(([key, words]) => keyRow(key, words)));
    this.prompt = root.querySelector("#token");
    this.prompt.querySelector("form").addEventListener("submit", () => {
      token.set(this.prompt.querySelector("input").value.trim());
      this.onToken();
    });
    for (const button of root.querySelectorAll("[data-close]"))
      button.addEventListener("click", () => button.closest("dialog").close());
  }

  get open() {
    return [this.dialog, this.help, this.prompt].find((dialog) => dialog.open) ?? null;
  }

  async confirm(name, values = {}) {
    if (this.open) return;
    const action = ACTIONS[name];
    Object.assign(this, { name, action });
    this.title.textContent = action.title;
    this.words.textContent = action.words;
    this.go.textContent = action.verb;
    this.go.disabled = false;
    this.fail("");
    this.fields.replaceChildren(...(action.fields ?? []).map((field) => fieldRow(field, values[field.name])));
    this.dialog.showModal();
    const first = this.fields.querySelector("input, select, textarea");
    (action.careful ? this.cancel : (first ?? this.go)).focus();
    await this.fillChoices(action);
  }

  async fillChoices({ fields = [] }) {
    for (const { name, options } of fields) {
      if (typeof options !== "function") continue;
      const select = this.form.elements.namedItem(name);
      try {
        const choices = await options();
        select.replaceChildren(...choices.map((choice) => new Option(choice)));
        this.go.disabled = !choices.length;
        if (!choices.length) this.fail("The server offers none: `api.bundles` names the folder of what may be loaded.");
      } catch (problem) {
        this.fail(problem.message);
      }
    }
  }

  async confirmed(event) {
    event.preventDefault();
    const { name, action } = this;
    const values = Object.fromEntries(new FormData(this.form));
    this.fail("");
    this.go.disabled = true;
    try {
      const answer = await ask(action.path, action.body ? action.body(values, this.context()) : {});
      this.dialog.close();
      this.told(name, answer);
    } catch (problem) {
      this.fail(`${problem.title ? `${problem.title}: ` : ""}${problem.message}`);
      this.arrayFirst.hidden = !(name === "arm" && problem.status === 409 && this.context().head?.engine.blocked);
      if (problem.status === 401) this.askToken(problem);
    } finally {
      this.go.disabled = false;
    }
  }

  fail(words) {
    this.problem.hidden = !words;
    this.problem.textContent = words;
    this.arrayFirst.hidden = true;
  }

  askToken(problem) {
    if (this.prompt.open) return;
    this.dialog.close();
    this.prompt.querySelector("#token-why").textContent = problem.message;
    this.prompt.showModal();
    this.prompt.querySelector("input").focus();
  }

  showHelp() {
    if (!this.open) this.help.showModal();
  }
}

function fieldRow({ name, label, type, hint, options, ...rest }, given) {
  const row = make("label", { className: "field" });
  row.append(make("span", { textContent: label }));
  let input;
  if (type === "select") {
    input = make("select", { name });
    if (Array.isArray(options)) input.append(...options.map(([value, text]) => new Option(text, value)));
  } else {
    input =
      type === "textarea"
        ? make("textarea", { name, rows: 2 })
        : make("input", { name, type, ...rest, autocomplete: "off" });
  }
  if (rest.required) input.required = true;
  if (given !== undefined) input.value = given;
  row.append(input);
  if (hint) row.append(make("small", { textContent: hint }));
  return row;
}

function keyRow(key, words) {
  const row = make("tr");
  const cell = make("th", { scope: "row" });
  cell.append(make("kbd", { textContent: key.length === 1 ? key.toUpperCase() : key === "Escape" ? "Esc" : key }));
  row.append(cell, make("td", { textContent: words }));
  return row;
}
