// How the vault's keys stand: who keeps them, which epochs there are, and whether it is unlocked. No key is shown.

import { get } from "./api.js";
import { h, heading, table } from "./dom.js";
import { number, time } from "./format.js";
import { t } from "./strings.js";

const DAY_MS = 86_400_000;

export async function show() {
  const told = await get("/api/v1/keys");
  return [heading(t("nav.keys")), facts(told), absent(told), custodians(told), epochs(told)];
}

const short = (recipient) => {
  const text = String(recipient ?? "");
  return h("code", { class: "uri", title: text }, text.length > 28 ? `${text.slice(0, 18)}…${text.slice(-8)}` : text);
};

function facts(told) {
  const list = h("dl", { class: "facts" });
  const fact = (key, ...value) => list.append(h("div", {}, h("dt", {}, t(key)), h("dd", {}, ...value)));
  const days = Math.floor((Date.now() - new Date(told.root.made).getTime()) / DAY_MS);
  fact("vault", told.vault);
  fact("state", h("span", { class: `state ${told.locked ? "bad" : "good"}` }, t(told.locked ? "keys.locked" : "keys.unlocked")));
  fact("keys.threshold", t("keys.of", { threshold: told.threshold, count: told.custodians.length }));
  fact("keys.root", t("keys.generation", { number: told.root.generation }), h("span", { class: "hint" }, short(told.root.recipient)));
  fact("keys.made", time(told.root.made, { dateStyle: "medium" }), h("span", { class: "hint" }, t("keys.age", { count: number(Math.max(0, days)) })));
  fact("keys.places", t("keys.there", { there: told.key_places - told.key_places_absent.length, count: told.key_places }));
  fact("keys.log", h("span", { class: "uri" }, told.log_key));
  return list;
}

function absent(told) {
  if (told.key_places_absent.length === 0) return null;
  const list = told.key_places_absent.map((place) => h("li", {}, h("code", {}, place)));
  return h("section", { class: "alarm" }, h("p", {}, t("keys.absent")), h("ul", {}, list));
}

function custodians(told) {
  const columns = ["custodian", "keys.recipient", "keys.drill", "state"].map((key) => t(key));
  const rows = told.custodians.map((one) => [
    one.name,
    short(one.recipient),
    one.shown ? time(one.shown) : t("never"),
    h("span", { class: `state ${one.overdue ? "bad" : one.shown ? "good" : "so"}` }, t(one.overdue ? "keys.overdue" : one.shown ? "keys.proved" : "keys.new")),
  ]);
  return h(
    "section",
    { "aria-labelledby": "custodians" },
    h("h2", { id: "custodians" }, t("custodians")),
    table(t("custodians"), columns, rows),
    h("p", { class: "hint" }, t("keys.drill.how", { days: told.drill_days })),
  );
}

// A row a month, a column a class.
function epochs(told) {
  const classes = [...new Set(told.epochs.map((epoch) => epoch.class))].sort();
  const months = [...new Set(told.epochs.map((epoch) => epoch.month))].sort().reverse();
  const of = new Map(told.epochs.map((epoch) => [`${epoch.class}/${epoch.month}`, epoch]));
  const rows = months.map((month) => [h("span", { class: "number" }, month), ...classes.map((name) => cell(of.get(`${name}/${month}`)))]);
  return h(
    "section",
    { "aria-labelledby": "epochs" },
    h("h2", { id: "epochs" }, t("epochs")),
    h("p", { class: "hint" }, t("epochs.how")),
    table(t("epochs"), [t("epoch.month"), ...classes], rows),
  );
}

function cell(epoch) {
  if (!epoch) return h("span", { class: "hint" }, "–");
  if (epoch.destroyed) return h("span", { class: "state so" }, t("epoch.destroyed"));
  const count = t("epoch.left", { left: number(epoch.left), all: number(epoch.all) });
  return [h("span", { class: "state good", title: epoch.recipient }, t("epoch.there")), " ", h("span", { class: "hint number" }, count)];
}
