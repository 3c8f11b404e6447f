// The page of a gateway that cannot answer at present: it is loaded again once the gateway can.
const EVERY_MS = 3000;

async function ask() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/console/alive", { signal: AbortSignal.timeout(EVERY_MS) });
    if (answer.status < 500) window.location.reload();
  } catch {
    // The gateway does not answer at all.
  }
}

document.getElementById("again").hidden = false;
setInterval(ask, EVERY_MS);
