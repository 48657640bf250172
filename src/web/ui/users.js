// Who uses the vault, and what is asked for them.

import { explain, get, proven } from "./api.js";
import { ask, button, field, h, heading, option, put, table } from "./dom.js";
import { time, word } from "./format.js";
import { t } from "./strings.js";

const ROLES = ["operator", "reviewer", "compliance", "custodian", "auditor", "admin", "dpo"];

export async function show(context) {
  const { users, asked } = await get("/api/v1/users");
  const manages = Boolean(context.me.roles.admin);
  const act = (title, content, label, path, body) => async () => {
    const fields = [content(), reason(context)];
    const done = await ask(title, fields, label, async (form) => {
      const given = { code: form.get("code"), text: form.get("text").trim() };
      return proven("POST", path(form), { ...body(form), reason: given });
    }, explain);
    if (done?.invite) await invited(done);
    if (done) context.refresh();
  };
  const add = button(t("user.add"), {
    class: "main",
    onclick: act(t("user.add"), userName, t("user.add"), () => "/api/v1/users", (form) => ({ user: form.get("user").trim() })),
  });
  return [
    heading(t("nav.users")),
    manages && h("p", { class: "actions" }, add),
    waiting(context, asked, manages),
    table(t("nav.users"), ["user", "roles", "standing", "user.signedIn", "recovery.left", "sessions", manages && "actions"].filter(Boolean).map((key) => t(key)), users.map((user) => [
      user.user,
      rolesOf(user.roles),
      h("span", { class: `state ${user.standing === "active" ? "good" : user.standing === "disabled" ? "bad" : "so"}` }, word("standing", user.standing)),
      user.signed_in ? time(user.signed_in) : t("never"),
      user.recovery_codes,
      user.sessions,
      manages && (user.standing !== "disabled" ? h("span", { class: "actions" }, actions(context, user, act)) : ""),
    ].filter((cell) => cell !== false))),
  ];
}

function userName() {
  const input = h("input", { name: "user", required: true, maxlength: 64, autocomplete: "off", autocapitalize: "none" });
  return field(t("user"), input, t("user.hint"));
}

function reason(context) {
  const codes = h("select", { name: "code", required: true }, option("", t("choose")));
  put(codes, context.me.reason_codes.map((code) => option(code, word("reason", code))));
  const text = h("input", { name: "text", maxlength: 500, autocomplete: "off" });
  return [field(t("reason"), codes), field(t("reason.text"), text)];
}

function actions(context, { user, roles, sessions }, act) {
  const path = (what) => () => `/api/v1/users/${encodeURIComponent(user)}/${what}`;
  const told = (key) => () => h("p", {}, t(key, { user }));
  const of = (key) => ({ "aria-label": t(`${key}.of`, { user }) });
  const own = user === context.me.user;
  return [
    button(t("roles.change"), { ...of("roles.change"), onclick: act(t("roles.change.of", { user }), () => choice(roles), t("askFor"), path("requests"), (form) => ({ roles: chosen(form) })) }),
    button(t("reset"), { ...of("reset"), onclick: act(t("reset.of", { user }), told("reset.why"), t("askFor"), path("requests"), () => ({ reset: true })) }),
    !own && sessions > 0 && button(t("endSessions"), { ...of("endSessions"), onclick: act(t("endSessions.of", { user }), told("endSessions.why"), t("endSessions"), path("end-sessions"), () => ({})) }),
    !own && button(t("disable"), { ...of("disable"), class: "danger", onclick: act(t("disable.of", { user }), told("disable.why"), t("disable"), path("disable"), () => ({})) }),
  ];
}

const list = (text) => String(text ?? "").split(",").map((one) => one.trim()).filter(Boolean);

function choice(roles) {
  const rows = ROLES.map((role) => {
    const reach = roles[role];
    const box = h("input", { type: "checkbox", name: `role-${role}`, checked: Boolean(reach) });
    const of = reach && reach !== "all" ? reach : {};
    const input = (kind) => {
      const label = t("reach.of", { role: word("role", role), kind: t(kind) });
      return h("input", { name: `${kind}-${role}`, "aria-label": label, placeholder: t(kind), value: (of[kind] ?? []).join(", ") });
    };
    return h("div", { class: "role" }, h("label", { class: "check" }, box, " ", word("role", role)), input("teams"), input("trunks"));
  });
  return h("fieldset", {}, h("legend", {}, t("roles")), h("p", { class: "hint" }, t("reach.hint")), rows);
}

function chosen(form) {
  const given = ROLES.filter((role) => form.has(`role-${role}`)).map((role) => {
    const [teams, trunks] = [list(form.get(`teams-${role}`)), list(form.get(`trunks-${role}`))];
    const reach = {};
    if (teams.length > 0) reach.teams = teams;
    if (trunks.length > 0) reach.trunks = trunks;
    return [role, teams.length + trunks.length > 0 ? reach : "all"];
  });
  return Object.fromEntries(given);
}

export function rolesOf(roles) {
  const all = Object.entries(roles ?? {});
  if (all.length === 0) return h("span", { class: "hint" }, t("roles.none"));
  return all.map(([role, reach]) => {
    const of = reach === "all" ? "" : `: ${[...(reach.teams ?? []), ...(reach.trunks ?? [])].join(", ")}`;
    return h("span", { class: "tag" }, word("role", role), of);
  });
}

// What waits for a second person.
function waiting(context, asked, manages) {
  if (asked.length === 0) return null;
  const rows = asked.map(({ number, asked: one }) => {
    const own = one.by === context.me.user || one.user === context.me.user;
    const agree = button(t("agree"), {
      "aria-label": t("agree.of", { user: one.user }),
      onclick: async () => {
        const content = h("p", {}, t("agree.why", { user: one.user, by: one.by }));
        const done = await ask(t("agree.of", { user: one.user }), content, t("agree"), () => proven("POST", `/api/v1/requests/${number}/agree`), explain);
        if (done?.invite) await invited(done);
        if (done) context.refresh();
      },
    });
    const what = one.what === "reset" ? t("reset") : rolesOf(one.what.roles);
    return [number, one.user, what, one.by, time(one.at), own || !manages ? h("span", { class: "hint" }, t("agree.other")) : agree];
  });
  const columns = ["log.number", "user", "asked.what", "asked.by", "log.at", "actions"].map((key) => t(key));
  return h("section", { class: "waiting", "aria-labelledby": "waiting" }, h("h2", { id: "waiting" }, t("waiting")), table(t("waiting"), columns, rows));
}

// Shown once: the vault keeps nothing by which it could be shown again.
export function invited({ user, invite, until }) {
  const link = h("textarea", { readonly: true, rows: 3, class: "uri" }, `${location.origin}/#/enrol/${invite}`);
  const told = [h("p", {}, t("invited.how", { user })), field(t("invited"), link), h("p", { class: "hint" }, t("until"), " ", time(until))];
  return ask(t("invited.of", { user }), told, t("done"), () => true, explain);
}
