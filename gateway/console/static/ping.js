// The page of a ping: it is loaded again at each change of the receipt.
import { follow } from "./live.js";

const story = document.getElementById("story");

async function load() {
  const answer = await fetch(story.dataset.part);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  story.replaceChildren(...page.body.children);
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
