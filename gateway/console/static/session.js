// The session of the browser, which another tab may have ended, or begun anew.

// Give the forms of this page the CSRF token of the present session, unless it is another caller's.
export function renew({ caller, csrf }) {
  const same = caller === document.body.dataset.caller;
  document.getElementById("changed").hidden = same;
  if (!same) return;
  for (const input of document.querySelectorAll("input[name=csrf]")) input.value = csrf;
}
