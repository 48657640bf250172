// What proves who one is, and where one is signed in: passkeys, password, recovery codes, sessions.

import { explain, get, post, Problem, proven } from "./api.js";
import { announce, ask, button, field, h, table } from "./dom.js";
import { time } from "./format.js";
import { create, usable } from "./passkey.js";
import { t } from "./strings.js";

export async function show(context, me) {
  const { sessions } = await get("/api/v1/sessions");
  return [passkeys(context, me), secrets(context), open(context, sessions)];
}

function section(id, ...content) {
  return h("section", { "aria-labelledby": id }, h("h2", { id }, t(id)), content);
}

function passkeys(context, me) {
  const rows = me.passkeys.map((passkey) => {
    const remove = button(t("remove"), {
      class: "danger",
      "aria-label": t("passkey.remove.of", { name: passkey.name }),
      onclick: () => act(context, () => proven("DELETE", `/api/v1/passkeys/${passkey.number}`)),
    });
    const notes = [
      passkey.blocked && h("span", { class: "state bad" }, t("passkey.blocked")),
      passkey.synced && h("span", { class: "tag" }, t("passkey.synced")),
      passkey.party !== me.party && h("span", { class: "tag" }, t("passkey.elsewhere", { party: passkey.party })),
    ];
    return [h("span", {}, passkey.name, " ", notes), time(passkey.since), passkey.used ? time(passkey.used) : t("never"), remove];
  });
  const columns = ["passkey.name", "since", "used", "actions"].map((key) => t(key));
  const add = usable() && button(t("passkey.add"), { onclick: () => make(context) });
  return section(
    "passkeys",
    h("p", { class: "hint" }, t(me.party ? "passkeys.how" : "problem.passkey-name")),
    rows.length > 0 && table(t("passkeys"), columns, rows),
    h("p", { class: "actions" }, add),
  );
}

async function make(context) {
  const name = h("input", { name: "name", required: true, maxlength: 60, autocomplete: "off" });
  const content = [h("p", {}, t("passkey.how")), field(t("passkey.name"), name, t("passkey.name.hint"))];
  const done = await ask(t("passkey.add"), content, t("next"), async (form) => {
    const begun = await proven("POST", "/api/v1/passkeys/options");
    const passkey = await create(begun.passkey);
    return post("/api/v1/passkeys", { pending: begun.pending, passkey, name: form.get("name").trim() });
  }, explain);
  if (done) context.refresh();
}

function secrets(context) {
  const change = button(t("password.change"), { onclick: () => changePassword(context) });
  const codes = button(t("recovery.new"), { onclick: () => newCodes(context) });
  return section("secrets", h("p", { class: "actions" }, change, codes));
}

async function changePassword(context) {
  const input = (name, autocomplete, more = {}) => h("input", { type: "password", name, required: true, autocomplete, ...more });
  const content = [
    field(t("password.old"), input("old", "current-password")),
    field(t("password.new"), input("new", "new-password", { minlength: 12 }), t("password.hint")),
    field(t("password.again"), input("again", "new-password")),
  ];
  const done = await ask(t("password.change"), content, t("save"), (form) => {
    if (form.get("new") !== form.get("again")) throw new Problem(0, "differ", "", 0);
    return proven("POST", "/api/v1/password", { password: form.get("old"), new_password: form.get("new") });
  }, explain);
  if (!done) return;
  await context.refresh();
  announce(t("password.changed"));
}

async function newCodes(context) {
  const made = await ask(t("recovery.new"), h("p", {}, t("recovery.new.why")), t("recovery.new"), () => proven("POST", "/api/v1/recovery-codes"), explain);
  if (!made) return;
  const codes = h("ol", { class: "codes" }, made.recovery_codes.map((code) => h("li", {}, h("code", {}, code))));
  await ask(t("recovery"), [h("p", {}, t("recovery.how")), codes], t("recovery.saved"), () => true, explain);
  context.refresh();
}

function open(context, sessions) {
  const rows = sessions.map((session) => {
    const from = h("span", {}, session.browser || t("unknown"), " ", h("span", { class: "hint" }, session.from));
    const end = session.own
      ? h("span", { class: "tag" }, t("session.own"))
      : button(t("session.end"), {
          class: "danger",
          "aria-label": t("session.end.of", { browser: session.browser || t("unknown"), from: session.from }),
          onclick: () => act(context, () => proven("DELETE", `/api/v1/sessions/${session.number}`)),
        });
    return [from, time(session.begun), time(session.seen), end];
  });
  const columns = ["session.from", "session.begun", "used", "actions"].map((key) => t(key));
  const others = button(t("session.endOthers"), {
    class: "danger",
    onclick: () => act(context, () => post("/api/v1/sessions/end-others")),
  });
  return section(
    "sessions",
    table(t("sessions"), columns, rows),
    h("p", { class: "actions" }, sessions.length > 1 && others),
  );
}

async function act(context, does) {
  try {
    await does();
  } catch (thrown) {
    return announceFault(thrown);
  }
  return context.refresh();
}

// Nobody is to look for what went wrong.
function announceFault(thrown) {
  const told = explain(thrown);
  announce(told);
  return ask(t("sorry"), h("p", { class: "fault" }, told), t("done"), () => true, explain);
}
