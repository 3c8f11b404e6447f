// The simulated devices of `rhopush demo`.
import { follow } from "./live.js";

const SHOWN = 6;

function add(screen, push) {
  const made = document.createElement("li");
  made.className = "new";
  const lines = [push.title, push.alert, push.sync && `synchronises ${push.sync}`, push.sound && `sound ${push.sound}`, push.vibrate && `vibrates ${push.vibrate} ms`].filter(Boolean);
  if (!lines.length) lines.push(push.badge ? `badge ${push.badge}` : "a push without content");
  for (const line of lines) {
    const text = document.createElement("div");
    text.textContent = line;
    made.append(text);
  }
  screen.prepend(made);
  while (screen.children.length > SHOWN) screen.lastElementChild.remove();
}

function take(push) {
  const phone = [...document.querySelectorAll(".phone")].find((one) => one.dataset.user === push.user);
  if (!phone) return;
  phone.querySelector(".phone-kind").textContent = push.provider;
  const badge = phone.querySelector(".phone-badge");
  if (push.badge !== "") {
    badge.textContent = push.badge;
    badge.hidden = push.badge === "0";
  }
  add(phone.querySelector(".phone-screen"), push);
}

const root = document.getElementById("phones");
follow(root.dataset.live, { push: take }, { onOpen: () => root.querySelectorAll(".phone-screen").forEach((one) => one.replaceChildren()) });
