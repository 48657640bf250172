// How the archive stands with what it should be, and whose roles are still right.

import { ask, button, h, heading, table } from "./dom.js";
import { explain, get, proven } from "./api.js";
import { time, word } from "./format.js";
import { language, t } from "./strings.js";
import { rolesOf } from "./users.js";

const STATES = ["fails", "attention", "unknown", "ok"];
const SHADES = { fails: "bad", attention: "so", unknown: "so", ok: "good" };

export async function show(context) {
  const made = await get("/api/v1/review");
  const sees = ["admin", "auditor"].some((role) => context.me.roles[role]);
  const certified = sees ? await get("/api/v1/certifications") : null;
  const lists = STATES.map((state) => list(state, made.findings.filter((one) => one.state === state)));
  return [
    heading(t("nav.review")),
    h("p", {}, t("review.at"), " ", time(made.at), ". ", t("review.log", { size: made.log_size })),
    h("ul", { class: "chips" }, STATES.map((state) => h("li", {}, mark(state), " ", made.counts[state] ?? 0))),
    h("p", { class: "actions" }, report("en"), report("pl")),
    h("p", { class: "hint" }, t("review.verify")),
    lists,
    certified && certifications(context, certified),
  ];
}

const said = (text) => text?.[language()] ?? "";

function mark(state) {
  return h("span", { class: `state ${SHADES[state]}` }, word("review", state));
}

// Kept as a file: it carries the vault's signature.
function report(first) {
  const key = first === "pl" ? "review.report.pl" : "review.report.en";
  return h("a", { class: "button", href: `/api/v1/review/report?language=${first}`, download: "" }, t(key));
}

function list(state, findings) {
  if (findings.length === 0) return null;
  const columns = ["review.check", "review.evidence", state !== "ok" && "review.remedy"].filter(Boolean).map((key) => t(key));
  const rows = findings.map((one) => [
    h("span", {}, said(one.title), one.subject && h("strong", { class: "under" }, one.subject), h("code", { class: "under" }, one.id)),
    h("span", {}, said(one.evidence), h("span", { class: "hint under" }, said(one.source), one.at && [", ", time(one.at)])),
    state !== "ok" && h("span", {}, said(one.remedy)),
  ].filter((cell) => cell !== false));
  const shown = table(word("review", state), columns, rows);
  const count = h("h2", { id: `review-${state}` }, word("review", state), ` (${findings.length})`);
  if (state !== "ok") return h("section", { "aria-labelledby": `review-${state}` }, count, shown);
  // What is well is there for who asks.
  return h("details", { class: "ladder" }, h("summary", {}, word("review", state), ` (${findings.length})`), shown);
}

function certifications(context, { users, days }) {
  const columns = ["user", "roles", "certified", "certified.by", "actions"].map((key) => t(key));
  const rows = users.map((one) => [
    one.user,
    rolesOf(one.roles),
    time(one.since, { dateStyle: "medium" }),
    h("span", {}, time(one.by, { dateStyle: "medium" }), one.due && [" ", h("span", { class: "state bad" }, t("certified.due"))]),
    action(context, one),
  ]);
  return h(
    "section",
    { "aria-labelledby": "certifications" },
    h("h2", { id: "certifications" }, t("certifications")),
    h("p", { class: "hint" }, t("certifications.how", { days })),
    table(t("certifications"), columns, rows),
  );
}

function action(context, one) {
  if (!context.me.roles.admin) return "";
  if (one.user === context.me.user) return h("span", { class: "hint" }, t("agree.other"));
  const act = async () => {
    const content = [h("p", {}, t("certify.why", { user: one.user })), h("p", {}, rolesOf(one.roles))];
    const send = () => proven("POST", `/api/v1/users/${encodeURIComponent(one.user)}/certify`, { roles: one.roles });
    if (await ask(t("certify.of", { user: one.user }), content, t("certify"), send, explain)) context.refresh();
  };
  return button(t("certify"), { "aria-label": t("certify.of", { user: one.user }), onclick: act });
}
