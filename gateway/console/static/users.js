// The search for users: it continues by itself, and shows how many logins it has compared.
import "./alive.js";

const MOST = 50;
const form = document.getElementById("search");
const input = document.getElementById("prefix");
const list = document.getElementById("found");
const progress = document.getElementById("progress");
let search = 0;

function item(login) {
  const link = document.createElement("a");
  link.href = `/console/users/${encodeURIComponent(login)}`;
  link.textContent = login;
  const made = document.createElement("li");
  made.append(link);
  return made;
}

function tell(shown, examined, total, ended) {
  const users = shown === 1 ? "1 user" : `${shown} users`;
  const all = total.toLocaleString("en");
  const compared = Math.min(examined, total).toLocaleString("en");
  progress.textContent = ended
    ? `${users} found among ${all}`
    : `${users} found; compared ${compared} of ${all}`;
}

// A part of the answer; `failure` is the reason why there is none.
async function ask(path) {
  try {
    const answer = await fetch(path);
    return answer.ok ? await answer.json() : { failure: await answer.text() };
  } catch {
    return { failure: "the gateway does not answer" };
  }
}

async function run(prefix, cursor, examined, shown) {
  const own = ++search;
  let following = cursor;
  do {
    const query = new URLSearchParams({ prefix, cursor: following });
    const part = await ask(`/console/users/search?${query}`);
    if (own !== search) return;
    if (part.failure) {
      progress.textContent = `The search ended early: ${part.failure}. Search again.`;
      return;
    }
    list.append(...part.users.map(item));
    shown += part.users.length;
    examined += part.examined;
    following = part.cursor;
    tell(shown, examined, part.total, !following);
  } while (following && shown < MOST);
  if (following) progress.textContent += "; type more of the login to see others";
}

function begin() {
  list.replaceChildren();
  document.getElementById("more")?.remove();
  const query = new URLSearchParams({ prefix: input.value });
  window.history.replaceState(null, "", `/console/users?${query}`);
  run(input.value, "", 0, 0);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
if (progress.dataset.cursor && list.children.length < MOST) {
  document.getElementById("more")?.remove();
  run(input.value, progress.dataset.cursor, Number(progress.dataset.examined), list.children.length);
}
