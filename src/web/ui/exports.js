// Exports: what was asked for, who agreed, and fetching what may be given away.

import { explain, get, proven } from "./api.js";
import { announce, ask, button, field, h, heading, option, table } from "./dom.js";
import { cell, decide, DAY, has, person, reasonFields, reasonOf, recordingLink, why } from "./desk.js";
import { number, time, word } from "./format.js";
import { language, t } from "./strings.js";

const COLUMNS = ["log.number", "export.for", "export.what", "export.form", "asked.by", "reason", "standing", "actions"];
const SHADE = { agreed: "good", withdrawn: "bad", made: "good", asked: "so" };

export async function show(context) {
  const told = await get("/api/v1/exports/requests");
  const note = h("p", { class: "fault", role: "alert" });
  const rows = told.requests.map((one) => [
    h("span", { class: "number" }, one.number),
    h("span", { class: "party" }, one.receiver),
    what(one),
    t(one.recipients.length > 0 ? "export.sealed" : "export.plain"),
    cell(person(one.by), h("span", { class: "hint said" }, time(one.at, DAY))),
    why(one.reason),
    cell(h("span", { class: `state ${SHADE[one.state]}` }, word("asked", one.state)), one.agreed && h("span", { class: "hint said" }, t("agreed.by"), " ", person(one.agreed.by))),
    h("span", { class: "actions" }, actions(context, one, note)),
  ]);
  return [
    heading(t("nav.exports")),
    h("p", { class: "hint" }, t("export.how", { max: told.alone_max })),
    has(context, "compliance") && h("p", { class: "count" }, t("export.given", { count: number(told.given_alone), max: number(told.alone_max) })),
    note,
    rows.length > 0 ? table(t("export.requests"), COLUMNS.map((key) => t(key)), rows) : h("p", { class: "count" }, t("export.none")),
  ];
}

export function what(one) {
  const some = one.recordings.slice(0, 3).map((id) => [recordingLink(id), " "]);
  return h("span", {}, t("scope.named", { count: one.recordings.length }), " ", some, one.recordings.length > 3 && t("scope.more"));
}

function actions(context, one, note) {
  const of = (key) => ({ "aria-label": t("request.of", { what: t(key), number: one.number }) });
  const path = (last) => `/api/v1/exports/requests/${one.number}/${last}`;
  const open = one.state === "asked" || one.state === "agreed";
  const mine = has(context, "compliance");
  return [
    one.state === "asked" && !one.own && has(context, "compliance", "custodian") && button(t("agree"), { ...of("agree"), class: "main", onclick: () => agree(context, one) }),
    one.state === "agreed" && mine && button(t("export.fetch"), {
      ...of("export.fetch"),
      class: "main",
      onclick: async () => {
        note.textContent = "";
        try {
          fetched(await proven("POST", path("bundle"), { language: language() }));
          announce(t("export.begun"));
        } catch (thrown) {
          if (thrown.kind !== "cancelled") note.textContent = explain(thrown);
        }
      },
    }),
    open && mine && button(t("withdraw"), {
      ...of("withdraw"),
      onclick: () => decide(context, { title: t("withdraw.of", { number: one.number }), content: what(one), label: t("withdraw"), path: path("withdraw") }),
    }),
  ];
}

export function agree(context, one) {
  const facts = h("dl", { class: "facts" },
    h("div", {}, h("dt", {}, t("export.for")), h("dd", {}, one.receiver)),
    h("div", {}, h("dt", {}, t("export.what")), h("dd", {}, what(one))),
    h("div", {}, h("dt", {}, t("export.form")), h("dd", {}, t(one.recipients.length > 0 ? "export.sealed" : "export.plain"))),
    h("div", {}, h("dt", {}, t("asked.by")), h("dd", {}, person(one.by))),
    h("div", {}, h("dt", {}, t("reason")), h("dd", {}, why(one.reason))));
  return decide(context, {
    title: t("agree.export", { number: one.number }),
    content: facts,
    label: t("agree"),
    path: `/api/v1/exports/requests/${one.number}/agree`,
  });
}

// The browser keeps it as it comes: it is never whole in this page.
function fetched(offer) {
  const link = h("a", { href: offer.url, download: "" });
  document.body.append(link);
  link.click();
  link.remove();
}

// Gives the recordings away that somebody has chosen, or asks for a second person where one alone may not.
export async function give(context, ids) {
  const told = await get("/api/v1/exports/requests");
  const alone = told.given_alone + ids.length <= told.alone_max;
  const languages = h("select", { name: "language" }, ["en", "pl"].map((code) => option(code, word("report", code), code === language())));
  const content = [
    h("p", {}, t(alone ? "export.alone" : "export.two", { max: told.alone_max })),
    field(t("export.for"), h("input", { name: "for", required: true, maxlength: 200, autocomplete: "off" }), t("export.for.hint")),
    field(t("export.keys"), h("textarea", { name: "recipients", rows: 2, class: "uri", spellcheck: "false", required: !told.plain }), t(told.plain ? "export.keys.hint" : "export.keys.needed")),
    alone && field(t("export.language"), languages),
    reasonFields(context),
  ];
  const done = await ask(t(alone ? "export.these" : "export.ask", { count: ids.length }), content, t(alone ? "export.fetch" : "askFor"), (form) => {
    const recipients = form.get("recipients").split("\n").map((line) => line.trim()).filter(Boolean);
    const body = { recordings: ids, for: form.get("for").trim(), recipients, reason: reasonOf(form) };
    if (alone) body.language = form.get("language");
    return proven("POST", alone ? "/api/v1/exports" : "/api/v1/exports/requests", body);
  }, explain);
  if (!done) return;
  if (done.url) {
    fetched(done);
    announce(t("export.begun"));
  } else {
    location.hash = "#/exports";
  }
}
