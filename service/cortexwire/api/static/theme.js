// Light, dark, or as the system has it; kept between visits.

const KEY = "cortexwire-theme";
const THEMES = ["system", "light", "dark"];

function apply(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  document.dispatchEvent(new Event("themechange"));
}

export function startTheme() {
  apply(THEMES.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "system");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    document.dispatchEvent(new Event("themechange")),
  );
}

export function nextTheme() {
  const now = document.documentElement.dataset.theme ?? "system";
  const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
  localStorage.setItem(KEY, next);
  apply(next);
  return next === "system" ? "as the system has it" : next;
}
