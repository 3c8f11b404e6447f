// The page of a ping: it is loaded again at each change of the receipt.
import { follow } from "./live.js";

const story = document.getElementById("story");

const target = (element) => element?.href ?? element?.form?.action;

async function load() {
  const answer = await fetch(story.dataset.part);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  // The keyboard focus stays on the same link or button.
  const focused = story.contains(document.activeElement) ? target(document.activeElement) : undefined;
  story.replaceChildren(...page.body.children);
  if (focused) [...story.querySelectorAll("a, button")].find((one) => target(one) === focused)?.focus();
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
