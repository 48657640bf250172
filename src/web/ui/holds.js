// Holds: what is kept from destruction, by whom and why.

import { get } from "./api.js";
import { button, field, h, heading, table } from "./dom.js";
import { cell, decide, DAY, has, person, scopeFields, scopeIn, scopeOf, why } from "./desk.js";
import { number, time } from "./format.js";
import { t } from "./strings.js";

const COLUMNS = ["hold.name", "hold.what", "hold.count", "hold.since", "hold.by", "reason", "actions"];

export async function show(context) {
  const { holds, classes } = await get("/api/v1/holds");
  const [now, over] = [holds.filter((one) => !one.released), holds.filter((one) => one.released)];
  const add = has(context, "compliance") && button(t("hold.add"), { class: "main", onclick: () => place(context, classes) });
  return [
    heading(t("nav.holds")),
    h("p", { class: "hint" }, t("hold.how")),
    add && h("p", { class: "actions" }, add),
    now.length > 0 ? listed(context, t("hold.inForce"), now) : h("p", { class: "count" }, t("hold.none")),
    over.length > 0 && h("details", { class: "ladder" }, h("summary", {}, t("hold.over", { count: over.length })), listed(context, t("hold.released"), over)),
  ];
}

function listed(context, caption, holds) {
  const rows = holds.map((one) => [
    h("strong", { class: "party" }, one.name),
    scopeOf(one.scope),
    one.released ? "" : h("span", { class: "number" }, number(one.recordings)),
    cell(time(one.since, DAY), one.released && h("span", { class: "hint said" }, t("hold.let"), " ", time(one.released, DAY))),
    person(one.by),
    why(one.reason),
    !one.released && has(context, "compliance") ? button(t("release"), { "aria-label": t("release.of", { name: one.name }), onclick: () => release(context, one) }) : "",
  ]);
  return table(caption, COLUMNS.map((key) => t(key)), rows);
}

const name = () => field(t("hold.name"), h("input", { name: "name", required: true, maxlength: 64, pattern: "[A-Za-z0-9_.\\/\\-]+", autocomplete: "off" }), t("hold.name.hint"));

function place(context, classes) {
  const all = h("label", { class: "check" }, h("input", { type: "checkbox", name: "all" }), " ", t("scope.all"));
  return decide(context, {
    title: t("hold.add"),
    content: [name(), scopeFields(classes), all],
    label: t("hold.lay"),
    path: "/api/v1/holds",
    body: (form) => ({ name: form.get("name").trim(), ...scopeIn(form), ...(form.has("all") ? { all: true } : {}) }),
  });
}

// Holds the recordings that somebody has chosen.
export function hold(context, ids) {
  return decide(context, {
    title: t("hold.these", { count: ids.length }),
    content: name(),
    label: t("hold.lay"),
    path: "/api/v1/holds",
    body: (form) => ({ name: form.get("name").trim(), recordings: ids }),
  });
}

function release(context, one) {
  return decide(context, {
    title: t("release.of", { name: one.name }),
    content: [h("p", {}, t("release.why", { count: one.recordings })), scopeOf(one.scope)],
    label: t("release"),
    path: "/api/v1/holds/release",
    body: () => ({ name: one.name }),
  });
}
