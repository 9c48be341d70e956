// The head of the page: five answers, the alarms, the large word when data are stale, and what a screen reader hears.

const GLYPHS = { ok: "●", live: "◉", warn: "▲", alarm: "■", off: "○" };

export class Summary {
  constructor(root) {
    this.tiles = Object.fromEntries(
      [...root.querySelectorAll("[data-tile]")].map((element) => [element.dataset.tile, parts(element)]),
    );
    this.alarms = root.querySelector("#alarms");
    this.none = root.querySelector("#no-alarms");
    this.overlay = root.querySelector("#stale");
    this.overlaySince = root.querySelector("#stale-since");
    this.overlayWhy = root.querySelector("#stale-why");
    this.polite = root.querySelector("#say");
    this.assertive = root.querySelector("#alert");
    this.heard = new Set();
    this.rows = new Map();
  }

  show({ stale, tiles, alarms }) {
    for (const [name, { level, word, detail }] of Object.entries(tiles)) {
      const tile = this.tiles[name];
      if (tile.element.dataset.level !== level) {
        tile.element.dataset.level = level;
        tile.glyph.textContent = GLYPHS[level];
      }
      put(tile.word, word);
      put(tile.detail, detail);
    }
    document.documentElement.classList.toggle("is-stale", Boolean(stale));
    this.overlay.hidden = !stale;
    if (stale) {
      put(
        this.overlaySince,
        stale.since ? `since ${stale.since} · ${stale.forWords}` : "since before this page was opened",
      );
      put(this.overlayWhy, stale.why);
    }
    this.list(alarms);
    this.announce(alarms);
  }

  list(alarms) {
    const keys = alarms.map((alarm) => alarm.key);
    for (const [key, row] of this.rows) {
      if (keys.includes(key)) continue;
      row.element.remove();
      this.rows.delete(key);
    }
    alarms.forEach(({ key, level, title, words }, place) => {
      if (!this.rows.has(key)) this.rows.set(key, alarmRow(level));
      const row = this.rows.get(key);
      put(row.glyph, GLYPHS[level]);
      put(row.title, title);
      put(row.words, words);
      if (this.alarms.children[place] !== row.element)
        this.alarms.insertBefore(row.element, this.alarms.children[place] ?? null);
    });
    this.none.hidden = alarms.length > 0;
  }

  // An alarm is spoken when it begins and when it has ended, not while it lasts.
  announce(alarms) {
    const keys = new Set(alarms.map((alarm) => alarm.key));
    const begun = alarms.filter((alarm) => !this.heard.has(alarm.key));
    const ended = [...this.heard].filter((key) => !keys.has(key));
    if (begun.length) this.assertive.textContent = begun.map(({ title, words }) => `${title}. ${words}`).join(" ");
    if (ended.length) this.say(`${ended.length} alarm${ended.length > 1 ? "s" : ""} over: ${ended.join(", ")}`);
    this.heard = keys;
  }

  say(words) {
    this.polite.textContent = words;
  }
}

function parts(element) {
  const [glyph, word, detail] = ["glyph", "word", "detail"].map((name) => element.querySelector(`.${name}`));
  return { element, glyph, word, detail };
}

function alarmRow(level) {
  const element = document.createElement("li");
  element.dataset.level = level;
  const [glyph, title, words] = ["i", "b", "span"].map((tag) => element.appendChild(document.createElement(tag)));
  glyph.setAttribute("aria-hidden", "true");
  return { element, glyph, title, words };
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
