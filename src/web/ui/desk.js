// What the pages of holds, exports and destruction share: asking why, saying which recordings, who it was.

import { explain, proven } from "./api.js";
import { ask, field, h, option, put } from "./dom.js";
import { time, word } from "./format.js";
import { t } from "./strings.js";

export const has = (context, ...roles) => roles.some((role) => context.me.roles[role]);

export function reasonFields(context) {
  const codes = h("select", { name: "code", required: true }, option("", t("choose")));
  put(codes, context.me.reason_codes.map((code) => option(code, word("reason", code))));
  const text = h("input", { name: "text", maxlength: 500, autocomplete: "off" });
  return [field(t("reason"), codes), field(t("reason.text"), text, t("reason.hint"))];
}

export const reasonOf = (form) => ({ code: form.get("code"), text: form.get("text").trim() });

// Asks why, then for a second factor where it is due, then does it.
export async function decide(context, { title, content, label, path, body = () => ({}) }) {
  const act = (form) => proven("POST", path, { ...body(form), reason: reasonOf(form) });
  const done = await ask(title, [content, reasonFields(context)], label, act, explain);
  if (done) context.refresh();
  return done;
}

// Why somebody said they did it.
export function why(reason) {
  if (!reason) return "";
  return h("span", {}, word("reason", reason.code), reason.text && h("span", { class: "hint said" }, reason.text));
}

// Whoever it was: a user, a custodian with a key, somebody at the machine itself.
export const person = (name) => h("span", { class: "party" }, String(name ?? "").replace(/^user:/, ""));

export function recordingLink(id) {
  // An id begins with the time at which it was made (RFC 9562): soon after the call began.
  const made = new Date(parseInt(id.replaceAll("-", "").slice(0, 12), 16));
  return h("a", { href: `#/recordings/${id}`, class: "number", title: id }, h("span", { class: "unseen" }, t("recording"), " "), time(made, MINUTE));
}

// Which recordings somebody meant.
export function scopeOf(scope) {
  const parts = [];
  const some = scope.recordings ?? [];
  if (scope.count > 0) {
    parts.push(h("span", {}, t("scope.named", { count: scope.count }), " ", some.slice(0, SHOWN).map((id) => [recordingLink(id), " "]), scope.count > SHOWN && t("scope.more")));
  }
  if (scope.class) parts.push(h("span", { class: "tag" }, `${t("class")}: ${scope.class}`));
  if (scope.recorder) parts.push(h("span", { class: "hint uri" }, scope.recorder));
  if (scope.from) parts.push(h("span", {}, t("from"), " ", time(scope.from, DAY)));
  if (scope.to) parts.push(h("span", {}, t("scope.before"), " ", time(scope.to, DAY)));
  if (parts.length === 0) return h("span", { class: "tag" }, t("scope.all"));
  return h("span", { class: "parts" }, parts);
}

// Which recordings, to be said in a dialog.
export function scopeFields(classes) {
  const choice = h("select", { name: "class" }, option("", t("any")));
  put(choice, classes.map((name) => option(name, name)));
  return [
    field(t("class"), choice),
    h("div", { class: "pair" },
      field(t("from"), h("input", { name: "from", type: "date" })),
      field(t("to"), h("input", { name: "to", type: "date" }))),
    field(t("recorder"), h("input", { name: "recorder", maxlength: 200, autocomplete: "off", spellcheck: "false" }), t("scope.recorder")),
    field(t("scope.ids"), h("textarea", { name: "recordings", rows: 2, class: "uri", spellcheck: "false" }), t("scope.ids.hint")),
  ];
}

// The same as it is sent. The last day is meant whole.
export function scopeIn(form) {
  const scope = {};
  for (const name of ["class", "recorder"]) {
    const text = String(form.get(name) ?? "").trim();
    if (text) scope[name] = text;
  }
  for (const name of ["from", "to"]) {
    const text = form.get(name);
    if (!text) continue;
    const day = new Date(`${text}T00:00:00`);
    if (name === "to") day.setDate(day.getDate() + 1);
    scope[name] = day.toISOString();
  }
  const ids = String(form.get("recordings") ?? "").split(/[\s,]+/).filter(Boolean);
  if (ids.length > 0) scope.recordings = ids;
  return scope;
}

// What is in a cell of a table together.
export const cell = (...content) => h("div", { class: "cell" }, content);

export function section(id, title, ...content) {
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), content);
}

export const DAY = { dateStyle: "medium" };
const MINUTE = { dateStyle: "short", timeStyle: "short" };
const SHOWN = 3;
