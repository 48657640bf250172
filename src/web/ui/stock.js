// Copies: what classes ask for, places and how they stand, what is lost, and what the vault does by itself.

import { get } from "./api.js";
import { asks, worm } from "./custody.js";
import { h, heading, table } from "./dom.js";
import { number, time, word } from "./format.js";
import { t } from "./strings.js";

export async function show() {
  const told = await get("/api/v1/stock");
  return [heading(t("nav.copies")), counts(told), lost(told.lost), duties(told.duties), places(told.places), classes(told.classes)];
}

const figure = (value) => h("span", { class: "number" }, number(value));

function counts(told) {
  const one = (key, value, kind) => h("div", {}, h("dt", {}, t(key)), h("dd", {}, h("span", { class: `count-of ${value > 0 ? kind : "so"}` }, number(value))));
  return h(
    "dl",
    { class: "facts" },
    one("stock.met", told.met, "good"),
    one("stock.short", told.short, "bad"),
    one("stock.due", told.due, "so"),
    one("stock.lost", told.lost.count, "bad"),
    one("stock.late", told.duties.filter((duty) => duty.wrong).length, "bad"),
  );
}

function lost({ count, ids, more }) {
  if (count === 0) return null;
  const list = ids.map((id) => h("li", {}, h("a", { href: `#/recordings/${id}` }, h("code", {}, id))));
  return h(
    "section",
    { class: "alarm", "aria-labelledby": "lost" },
    h("h2", { id: "lost" }, t("stock.lost")),
    h("p", {}, t(more ? "stock.lost.more" : "stock.lost.how", { count: number(count) })),
    list.length > 0 && h("ul", {}, list),
  );
}

function places(all) {
  const columns = ["place", "place.site", "place.kind", "place.there", "copy.good", "copy.broken", "copy.missing", "place.oldest", "worm"].map((key) => t(key));
  const rows = all.map((one) => [
    h("span", { class: "keep" }, one.place),
    h("span", { class: "keep" }, one.site ?? ""),
    h("span", { class: "keep" }, one.kind ? word("kind", one.kind) : ""),
    reached(one),
    figure(one.good),
    bad(one.broken),
    bad(one.missing),
    one.oldest ? time(one.oldest) : t("never"),
    [worm(one.worm), one.to_be_worm && !one.worm_counts && h("span", { class: "state bad" }, t("worm.due"))],
  ]);
  return h("section", { "aria-labelledby": "places" }, h("h2", { id: "places" }, t("places")), table(t("places"), columns, rows));
}

const bad = (value) => h("span", { class: value > 0 ? "state bad number" : "number" }, number(value));

function reached(one) {
  if (!one.configured) return h("span", { class: "state so" }, t("place.gone"));
  if (!one.fault) return h("span", { class: "state good" }, t("place.is"));
  return [h("span", { class: "state bad" }, t("place.away")), h("span", { class: "hint", lang: "en" }, " ", one.fault)];
}

function classes(all) {
  const columns = ["class", "stock.asks", "stock.recordings"].map((key) => t(key));
  const rows = all.map((one) => [one.class, asks(one), figure(one.recordings)]);
  return h("section", { "aria-labelledby": "classes" }, h("h2", { id: "classes" }, t("classes")), table(t("classes"), columns, rows, { class: "brief" }));
}

function duties(all) {
  const columns = ["duty", "duty.last", "duty.came", "duty.words", "duty.next"].map((key) => t(key));
  const rows = all.map((one) => [
    word("duty", one.duty),
    one.last ? time(one.last) : t("never"),
    came(one),
    h("span", { lang: "en" }, one.words),
    one.off ? "" : one.running ? t("duty.now") : one.next ? time(one.next) : "",
  ]);
  return h("section", { "aria-labelledby": "duties" }, h("h2", { id: "duties" }, t("duties")), table(t("duties"), columns, rows));
}

function came(one) {
  if (one.off) return h("span", { class: "state so" }, t("duty.off"));
  const kind = one.wrong ? "bad" : one.came === "well" ? "good" : "so";
  const late = one.late && h("span", { class: "state bad" }, t("duty.late"));
  return [one.came && h("span", { class: `state ${kind}` }, word("came", one.came)), one.came && late && " ", late];
}
