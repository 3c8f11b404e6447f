// Server-sent events, with a banner while the gateway does not answer.
import { renew } from "./session.js";

const AGAIN_MS = 2000;
// A stream without a message for this long is lost: the gateway sends at least one every 2 s.
const SILENT_MS = 8000;
const CHECK_MS = 1000;

// Show or hide the banner. `reason` is the text of a gateway that answers, but cannot work.
export function showLost(lost, reason = "") {
  const banner = document.getElementById("lost");
  const text = reason ? `The gateway reports: ${reason}.` : "The gateway does not answer.";
  // A screen reader reads the banner again at each assignment.
  if (lost && banner.firstElementChild.textContent !== text) banner.firstElementChild.textContent = text;
  banner.hidden = !lost;
}

// The reason that the gateway gives for an error; "": a proxy has answered in its place.
export async function reasonOf(answer) {
  const isText = answer.headers.get("Content-Type")?.startsWith("text/plain");
  return isText ? (await answer.text()).slice(0, 300) : "";
}

// Call `handlers[name](content)` for each event. `onOpen` is called at each connection.
export function follow(path, handlers, { onOpen = () => {} } = {}) {
  // Not Date.now(): the clock of the computer may be set back while the page is open.
  const now = () => performance.now();
  let source = null; // null: the page is hidden, or following has ended
  let heard = now();
  let ended = false;

  function connect() {
    source?.close();
    heard = now();
    const stream = new EventSource(path);
    source = stream;
    stream.addEventListener("open", () => {
      heard = now();
      showLost(false);
      onOpen();
    });
    for (const [name, handler] of Object.entries({ session: renew, alive: () => {}, ...handlers })) {
      stream.addEventListener(name, (event) => {
        heard = now();
        handler(JSON.parse(event.data));
      });
    }
    stream.onerror = () => {
      if (source !== stream) return;
      if (stream.readyState === EventSource.CLOSED) again(stream);
      else showLost(true);
    };
  }

  function stop() {
    source?.close();
    source = null;
  }

  // The browser gives up after a response that is no stream: the session ended, the gateway refuses, or a proxy answered.
  async function again(stream) {
    await new Promise((done) => setTimeout(done, AGAIN_MS));
    if (source !== stream) return;
    let reason = "";
    try {
      const answer = await fetch(path, { headers: { Accept: "text/event-stream" }, signal: AbortSignal.timeout(5000) });
      if (answer.status === 401) {
        window.location.reload();
        return;
      }
      if (answer.ok) {
        answer.body?.cancel();
        if (source === stream) connect();
        return;
      }
      reason = await reasonOf(answer);
    } catch {
      // The gateway is still lost.
    }
    if (source !== stream) return;
    heard = now();
    showLost(true, reason);
    again(stream);
  }

  const checking = setInterval(() => {
    if (source && now() - heard > SILENT_MS) {
      showLost(true);
      connect();
    }
  }, CHECK_MS);

  // All tabs of a browser share six connections to a gateway (HTTP/1.1): a hidden page gives its own back.
  document.addEventListener("visibilitychange", () => {
    if (ended) return;
    if (document.hidden) stop();
    else connect();
  });

  if (!document.hidden) connect();
  return () => {
    ended = true;
    clearInterval(checking);
    stop();
  };
}
