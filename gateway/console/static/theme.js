// Bootstrap chooses its colours by an attribute: it follows the setting of the system. Loaded before the page is drawn.
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function apply() {
  document.documentElement.dataset.bsTheme = dark.matches ? "dark" : "light";
}

apply();
dark.addEventListener("change", apply);
// Paper is white.
window.addEventListener("beforeprint", () => (document.documentElement.dataset.bsTheme = "light"));
window.addEventListener("afterprint", apply);
