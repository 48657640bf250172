// All that waits for a second person.

import { explain, get, proven } from "./api.js";
import { ask, h, heading, table, button } from "./dom.js";
import { person, scopeOf, why } from "./desk.js";
import * as exporting from "./exports.js";
import { time, word } from "./format.js";
import * as retention from "./retention.js";
import { t } from "./strings.js";
import { invited, rolesOf } from "./users.js";

const COLUMNS = ["approval.kind", "asked.what", "asked.by", "log.at", "reason", "approval.who", "actions"];

export async function show(context) {
  const { waiting } = await get("/api/v1/approvals");
  const mine = waiting.filter((one) => one.may);
  const others = waiting.filter((one) => !one.may);
  return [
    heading(t("nav.approvals")),
    h("p", { class: "hint" }, t("approval.how")),
    listed(context, t("approval.mine"), "mine", mine, t("approval.none")),
    others.length > 0 && listed(context, t("approval.others"), "others", others, ""),
  ];
}

function listed(context, title, id, all, none) {
  const rows = all.map((one) => [
    h("span", { class: "tag number" }, word("approval", one.kind)),
    what(one),
    person(one.by),
    time(one.at),
    why(one.reason),
    who(one),
    one.may ? button(t("agree"), { class: "main", "aria-label": t("request.of", { what: t("agree"), number: one.number }), onclick: () => agree(context, one) }) : h("span", { class: "hint" }, t(one.own ? "approval.own" : "agree.other")),
  ]);
  const made = rows.length > 0 ? table(title, COLUMNS.map((key) => t(key)), rows) : h("p", { class: "count" }, none);
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), made);
}

function what(one) {
  if (one.kind === "export") return h("span", { class: "parts" }, exporting.what(one), h("span", { class: "hint" }, t("export.for"), ": ", one.receiver));
  if (one.kind === "destruction") return h("span", { class: "parts" }, word("what", one.what), scopeOf(one.scope));
  return h("span", { class: "parts" }, h("strong", { class: "party" }, one.user), one.what === "reset" ? t("reset") : rolesOf(one.what.roles));
}

// Who may say yes: people, or the roles that it takes where there is nobody.
function who(one) {
  if (one.people.length > 0) return h("span", {}, one.people.join(", "));
  return h("span", { class: "hint" }, t("approval.nobody"), " ", one.roles.map((role) => word("role", role)).join(", "));
}

async function agree(context, one) {
  if (one.kind === "export") return exporting.agree(context, one);
  if (one.kind === "destruction") return retention.agree(context, one);
  const content = h("p", {}, t("agree.why", { user: one.user, by: one.by }));
  const done = await ask(t("agree.of", { user: one.user }), content, t("agree"), () => proven("POST", `/api/v1/requests/${one.number}/agree`), explain);
  if (done?.invite) await invited(done);
  if (done) context.refresh();
}
