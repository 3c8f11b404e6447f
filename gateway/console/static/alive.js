// Pages without live data: they ask from time to time whether the gateway and the session are still there.
import { reasonOf, showLost } from "./live.js";
import { renew } from "./session.js";

const EVERY_MS = 5000;

async function ask() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/console/alive", { signal: AbortSignal.timeout(EVERY_MS) });
    document.getElementById("ended").hidden = answer.status !== 401;
    const isLost = answer.status >= 500;
    showLost(isLost, isLost ? await reasonOf(answer) : "");
    if (answer.ok) renew(await answer.json());
  } catch {
    showLost(true);
  }
}

setInterval(ask, EVERY_MS);
document.addEventListener("visibilitychange", ask);
