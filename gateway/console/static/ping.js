// The page of a ping: it is loaded again at each change of the receipt.
import { follow } from "./live.js";

const AGAIN_MS = 2000;
const ANSWER_MS = 10000;
const story = document.getElementById("story");

const target = (element) => element?.href ?? element?.form?.action;

// A screen reader reads the state and the counts alone, not all tables, and only when they change.
function announce(text) {
  const place = document.getElementById("announced");
  if (place.textContent !== text) place.textContent = text;
}

let loading = 0;

// A part that cannot be loaded now is loaded later, unless a newer change was announced meanwhile.
async function load() {
  const own = ++loading;
  try {
    if (await show(own)) return;
  } catch {
    // The gateway does not answer.
  }
  setTimeout(() => own === loading && load(), AGAIN_MS);
}

// Return false if the gateway cannot answer at present.
async function show(own) {
  const answer = await fetch(story.dataset.part, { signal: AbortSignal.timeout(ANSWER_MS) });
  if (!answer.ok) return answer.status < 500;
  const text = await answer.text();
  if (own !== loading) return true;
  const page = new DOMParser().parseFromString(text, "text/html");
  // The keyboard focus stays on the same link or button.
  const focused = story.contains(document.activeElement) ? target(document.activeElement) : undefined;
  story.replaceChildren(...page.body.children);
  announce(document.getElementById("ping-state").dataset.summary);
  if (focused) [...story.querySelectorAll("a, button")].find((one) => target(one) === focused)?.focus();
  return true;
}

const idle = () => import("./alive.js");
if (!story.dataset.live) idle();
else {
  const end = follow(story.dataset.live, {
    changed: load,
    done: () => {
      end();
      load();
      idle();
    },
  });
}
