// The vault's API. The session's cookie is out of reach of scripts; the token beside it is worth nothing without.

import { ask, button, field, h } from "./dom.js";
import { usable, use } from "./passkey.js";
import { t } from "./strings.js";

export class Problem extends Error {
  constructor(status, kind, detail, retry) {
    super(detail);
    Object.assign(this, { status, kind, detail, retry });
  }
}

const CSRF = "sejf.csrf";

export async function request(method, path, body) {
  const headers = {};
  if (method !== "GET") {
    headers["Content-Type"] = "application/json";
    // Of all tabs: a step-up in one of them changes it for the others too.
    headers["Sejf-CSRF"] = localStorage.getItem(CSRF) ?? "";
  }
  const options = { method, headers, cache: "no-store", credentials: "same-origin", redirect: "error" };
  if (method !== "GET") options.body = JSON.stringify(body ?? {});
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Problem(0, "network", "", 0);
  }
  if (!response.ok) throw await problem(response);
  const answer = await response.json();
  if (answer.csrf) localStorage.setItem(CSRF, answer.csrf);
  return answer;
}

export async function signOut() {
  await post("/api/v1/logout").catch(() => null);
  localStorage.removeItem(CSRF);
}

async function problem(response) {
  const told = await response.json().catch(() => ({}));
  const kind = String(told.type ?? "").replace("urn:sejf:problem:", "");
  if (kind === "sign-in") dispatchEvent(new Event("sejf-signed-out"));
  return new Problem(response.status, kind, told.detail ?? "", Number(response.headers.get("Retry-After") ?? 0));
}

export const get = (path, params) => request("GET", params ? `${path}?${params}` : path);
export const post = (path, body) => request("POST", path, body);

// The same for what takes a second factor of the last minutes: asks for it where it is due.
export async function proven(method, path, body) {
  try {
    return await request(method, path, body);
  } catch (thrown) {
    if (thrown.kind !== "second-factor") throw thrown;
  }
  if (!(await stepUp())) throw new Problem(0, "cancelled", "", 0);
  return request(method, path, body);
}

export function codeInput() {
  return h("input", {
    name: "code",
    required: true,
    autocomplete: "one-time-code",
    autocapitalize: "none",
    spellcheck: "false",
    class: "code",
  });
}

export async function stepUp() {
  const begin = () => post("/api/v1/step-up/passkey");
  const begun = usable() ? await begin().catch(() => null) : null;
  const code = codeInput();
  let shown = null;
  const act = (form) => {
    const answer = shown ?? { code: form.get("code").trim() };
    shown = null;
    return post("/api/v1/step-up", answer);
  };
  const passkey = begun && passkeyButton(begun, begin, (answer) => (shown = answer));
  const content = [h("p", {}, t("stepUp.why")), passkey, field(t("code"), code, t("code.hint"))];
  return ask(t("stepUp"), content, t("confirm"), act, explain);
}

// Has a passkey answer, and sends the form that the button is in with that instead of a code. What it was asked counts once:
// `again` asks anew.
export function passkeyButton(begun, again, take) {
  let asked = begun;
  const said = h("p", { class: "fault", role: "alert" });
  const show = button(t("passkey.show"), {
    class: "main passkey",
    autofocus: true,
    onclick: async () => {
      said.textContent = "";
      try {
        const { pending, passkey } = asked ?? (await again());
        asked = null;
        take({ pending, passkey: await use(passkey) });
      } catch (thrown) {
        said.textContent = explain(thrown);
        return;
      }
      // In the code's place, this once.
      const code = show.form.elements.namedItem("code");
      code.required = false;
      show.form.requestSubmit();
      code.required = true;
    },
  });
  return h("div", {}, h("p", { class: "actions" }, show), said, h("p", { class: "hint" }, t("passkey.or")));
}

// What went wrong, for people.
export function explain(thrown) {
  if (!(thrown instanceof Problem)) return t("problem.page", { what: String(thrown?.message ?? thrown) });
  const known = t(`problem.${thrown.kind}`, { seconds: thrown.retry }, "");
  return known || t("problem.other", { what: thrown.detail || String(thrown.status) });
}
