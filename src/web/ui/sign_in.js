// Signing in, and the first time: password, second factor, recovery codes.

import { codeInput, explain, get, passkeyButton, post, Problem } from "./api.js";
import { button, field, h, heading, replace, svg } from "./dom.js";
import { create, usable, use } from "./passkey.js";
import { t } from "./strings.js";

// A form that says what went wrong, and does one thing at a time.
function form(content, label, act) {
  const fault = h("p", { class: "fault", role: "alert" });
  const go = h("button", { type: "submit", class: "main" }, label);
  const made = h("form", {}, content, fault, h("div", { class: "actions" }, go));
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    fault.textContent = "";
    try {
      await act(new FormData(made));
    } catch (thrown) {
      fault.textContent = explain(thrown);
    }
    go.disabled = false;
  });
  return made;
}

function password(autocomplete, attributes = {}) {
  return h("input", { type: "password", name: "password", required: true, autocomplete, ...attributes });
}

export function show(enter) {
  const card = h("div", { class: "card" });
  const name = h("input", {
    name: "user",
    required: true,
    autocomplete: "username",
    autocapitalize: "none",
    spellcheck: "false",
    autofocus: true,
  });
  const first = [field(t("user"), name), field(t("password"), password("current-password"))];
  replace(card, heading(t("signIn")), form(first, t("next"), async (data) => {
    const begun = await post("/api/v1/login", { user: data.get("user").trim(), password: data.get("password") });
    factor(card, begun, enter);
  }), alone(enter), h("div", { class: "provider" }));
  byProvider(card);
  return card;
}

// The second factor: a passkey where there is one, or a code.
function factor(card, begun, enter) {
  const code = codeInput();
  let shown = null;
  let isSent = false;
  // What was asked of a passkey counts once: after a password there is no asking anew, and a code still counts.
  const again = () => {
    if (isSent) throw new Problem(0, "passkey");
    return begun;
  };
  const passkey = begun.passkey && usable() && passkeyButton(begun, again, (answer) => ((shown = answer), (isSent = true)));
  const content = [passkey, field(t("code"), code, t("code.hint"))];
  const second = form(content, t("signIn"), async (data) => {
    const answer = shown ?? { pending: begun.pending, code: data.get("code").trim() };
    shown = null;
    await post("/api/v1/login/factor", answer);
    enter();
  });
  const back = button(t("signIn.other"), { onclick: () => location.reload() });
  replace(card, heading(t("secondFactor")), second, h("p", {}, back));
  (card.querySelector("button.passkey") ?? code).focus();
}

// Where the vault takes an identity provider's word.
async function byProvider(card) {
  const { oidc } = await get("/api/v1/login").catch(() => ({}));
  const place = card.querySelector(".provider");
  if (!oidc || !place) return;
  const fault = h("p", { class: "fault", role: "alert" });
  const go = button(t("oidc.with", { name: oidc }), {
    class: "oidc",
    onclick: async () => {
      fault.textContent = "";
      try {
        location.assign((await post("/api/v1/login/oidc")).url);
      } catch (thrown) {
        fault.textContent = explain(thrown);
      }
    },
  });
  replace(place, h("p", { class: "actions" }, go), fault);
}

// Back from the identity provider: signed in, or to show our own second factor.
export function finish(came, enter) {
  const card = h("div", { class: "card" }, h("p", { class: "busy" }, t("loading")));
  const again = (text) => replace(card, heading(t("sorry")), h("p", { class: "fault", role: "alert" }, text), button(t("oidc.again"), { onclick: enter }));
  const [code, state, iss] = ["code", "state", "iss"].map((name) => came.get(name) ?? "");
  if (!code) {
    again(t("problem.oidc"));
    return card;
  }
  post("/api/v1/login/oidc/finish", { code, state, iss })
    .then((done) => (done.pending ? factor(card, done, enter) : enter()))
    .catch((thrown) => again(explain(thrown)));
  return card;
}

// A passkey alone: it says whose it is.
function alone(enter) {
  if (!usable()) return null;
  const fault = h("p", { class: "fault", role: "alert" });
  const go = button(t("passkey.alone"), {
    class: "passkey",
    onclick: async () => {
      fault.textContent = "";
      try {
        const begun = await post("/api/v1/login/passkey");
        await post("/api/v1/login/factor", { pending: begun.pending, passkey: await use(begun.passkey) });
        enter();
      } catch (thrown) {
        fault.textContent = explain(thrown);
      }
    },
  });
  return h("div", { class: "else" }, h("p", { class: "actions" }, go), fault);
}

export function enrol(invite, enter) {
  const card = h("div", { class: "card wide" });
  const one = password("new-password", { minlength: 12, autofocus: true });
  const two = h("input", { type: "password", name: "again", required: true, autocomplete: "new-password" });
  const fields = [field(t("password.new"), one, t("password.hint")), field(t("password.again"), two)];
  const steps = (now) => h("p", { class: "steps" }, t("enrol.step", { now, of: 3 }));
  replace(card, heading(t("enrol")), steps(1), form(fields, t("next"), async (data) => {
    if (data.get("password") !== data.get("again")) throw new Problem(0, "differ", "", 0);
    const begun = await post("/api/v1/enrol", { invite, password: data.get("password") });
    second(card, begun, steps, enter);
  }));
  return card;
}

function second(card, begun, steps, enter) {
  const code = codeInput();
  const confirm = form(field(t("code"), code, t("enrol.code.hint")), t("next"), async (data) => {
    const done = await post("/api/v1/enrol/confirm", { pending: begun.pending, code: data.get("code").trim() });
    third(card, done.recovery_codes, steps, enter);
  });
  const instead = begun.passkeys && usable() && form([], t("passkey.instead"), async () => {
    const asked = await post("/api/v1/enrol/passkey", { pending: begun.pending });
    const passkey = await create(asked.passkey);
    const name = t("passkey.first");
    const done = await post("/api/v1/enrol/confirm", { pending: begun.pending, passkey, name });
    third(card, done.recovery_codes, steps, enter);
  });
  const secret = begun.secret.replace(/(.{4})/g, "$1 ").trim();
  replace(
    card,
    heading(t("enrol.app")),
    steps(2),
    h("p", {}, t("enrol.app.how", { user: begun.user })),
    begun.qr && drawing(begun.qr),
    h("p", {}, t("enrol.secret"), " ", h("code", { class: "secret" }, secret)),
    confirm,
    instead && h("div", { class: "else" }, h("p", { class: "hint" }, t("passkey.instead.how")), instead),
  );
  code.focus();
}

// Its light modules are drawn as well: in a dark page it is still black on white.
function drawing(rows) {
  const size = rows.length + 8;
  const box = { viewBox: `0 0 ${size} ${size}`, class: "qr", role: "img", "aria-label": t("enrol.qr") };
  let path = "";
  rows.forEach((row, y) => [...row].forEach((one, x) => (path += one === "1" ? `M${x + 4} ${y + 4}h1v1h-1z` : "")));
  return svg("svg", box, svg("rect", { width: size, height: size, fill: "#fff" }), svg("path", { d: path, fill: "#000" }));
}

function third(card, codes, steps, enter) {
  const text = codes.join("\n");
  const said = h("span", { role: "status" });
  const copy = button(t("copy"), {
    onclick: async () => {
      await navigator.clipboard?.writeText(text);
      said.textContent = t("copied");
    },
  });
  const saved = h("input", { type: "checkbox", name: "saved", required: true });
  const label = h("label", { class: "check" }, saved, " ", t("recovery.saved"));
  replace(
    card,
    heading(t("recovery")),
    steps(3),
    h("p", {}, t("recovery.how")),
    h("ol", { class: "codes" }, codes.map((code) => h("li", {}, h("code", {}, code)))),
    h("p", { class: "actions" }, copy, button(t("print"), { onclick: () => print() }), said),
    form(label, t("done"), () => enter()),
  );
  card.querySelector("h1").focus();
}
