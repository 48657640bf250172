// What falls due and when, what is held back and why, destruction and its certificates.

import { explain, get } from "./api.js";
import { announce, button, field, h, heading, option, replace, table } from "./dom.js";
import { cell, decide, DAY, has, person, recordingLink, scopeFields, scopeIn, scopeOf, section, why } from "./desk.js";
import { number, time, word } from "./format.js";
import { language, t } from "./strings.js";

const WHAT = ["due", "unneeded", "erasure"];
const SHADE = { agreed: "good", withdrawn: "bad", asked: "so" };
// Those that somebody has to do something about come first.
const PRESSING = ["clock", "no-class", "unasked", "awaits-approval", "cools-off", "held", "staged", "no-event"];

export async function show(context) {
  const told = await get("/api/v1/retention");
  if (told.limited) return [heading(t("nav.retention")), h("p", { class: "hint" }, t("retention.limited")), requests(context, told)];
  const now = h("div", { "aria-live": "polite" });
  const asks = has(context, "compliance", "dpo");
  const runs = has(context, "custodian", "dpo");
  const running = told.run && !told.run.ended;
  // It goes through all recordings, as the destruction does: that has come to its end first.
  if (running) replace(now, h("p", { class: "count" }, t("retention.later")));
  else look(now);
  if (running) context.onLeave(watching(context));
  return [
    heading(t("nav.retention")),
    h("p", { class: "hint" }, t("retention.how")),
    told.clock && h("p", { class: "fault" }, t("retention.clock"), " ", h("span", { lang: "en" }, told.clock)),
    h("p", { class: "actions" },
      asks && button(t("destruction.ask"), { class: "main", onclick: () => request(context, told) }),
      runs && button(t("destruction.run"), { class: "danger", disabled: running, onclick: () => run(context) })),
    told.run && progress(told.run),
    section("now", t("retention.now"), now),
    requests(context, told),
    section("calendar", t("retention.calendar"), calendar(told.calendar)),
    section("classes", t("retention.classes"), classes(told.classes)),
    section("certificates", t("certificates"), certificates(told.certificates)),
  ];
}

// Looks again how far it is, but not under somebody who is writing.
function watching(context) {
  const timer = setInterval(() => document.querySelector("dialog") || context.refresh(), WATCH_MS);
  return () => clearInterval(timer);
}

// Why something is kept, in a few words.
export function standing(one) {
  if (one.kept === null) return t("kept.goes", { number: one.request });
  const text = word("kept", one.kept);
  const detail = one.kept === "keep-min" || one.kept === "not-due" || one.kept === "unasked" ? null : one.detail;
  return h("span", {}, text, detail && [" ", h("strong", {}, detail)]);
}

async function look(place) {
  replace(place, h("p", { class: "busy" }, t("retention.looking")));
  let told;
  try {
    told = await get("/api/v1/retention/now");
  } catch (thrown) {
    replace(place, h("p", { class: "fault" }, explain(thrown)), button(t("retention.again"), { onclick: () => look(place) }));
    return;
  }
  const rank = (one) => (PRESSING.includes(one.kept) ? PRESSING.indexOf(one.kept) : PRESSING.length);
  const rows = told.by_request.map((one) => [
    h("span", { class: "state bad" }, t("retention.goes", { number: one.request })),
    h("span", { class: "number" }, number(one.recordings)),
    some(one),
  ]);
  const kept = [...told.kept].sort((one, other) => rank(one) - rank(other) || other.recordings - one.recordings);
  rows.push(...kept.map((one) => [standing(one), h("span", { class: "number" }, number(one.recordings)), some(one)]));
  const columns = ["retention.why", "retention.count", "retention.some"].map((key) => t(key));
  const epochs = told.epochs.length > 0 && h("p", {}, t("retention.epochs"), " ", told.epochs.map((epoch) => h("span", { class: "tag" }, epoch)));
  replace(
    place,
    h("p", { class: "count" }, t("retention.at"), " ", time(told.at), " · ", t("retention.would", { count: number(told.destroyed) })),
    rows.length > 0 ? table(t("retention.now"), columns, rows) : h("p", { class: "count" }, t("search.none")),
    epochs,
  );
}

const some = (one) => h("span", {}, one.some.slice(0, 3).map((id) => [recordingLink(id), " "]), one.recordings > 3 && t("scope.more"));

function progress(run) {
  const by = [person(run.by), " ", time(run.begun)];
  if (!run.ended) return h("p", { class: "busy", role: "status" }, t("run.goes", { count: run.certified }), " ", by);
  if (run.fault) return h("p", { class: "fault" }, t("run.failed"), " ", h("span", { lang: "en" }, run.fault), " ", by);
  const { recordings, epochs, left, received, spared } = run.done;
  const rest = left + received + spared;
  return h("p", { class: "count" }, t("run.done", { recordings: number(recordings), epochs: number(epochs) }), " ", rest > 0 && t("run.left", { left, received, spared }), " ", by);
}

function requests(context, told) {
  const columns = ["log.number", "asked.what", "hold.what", "asked.by", "reason", "standing", "actions"].map((key) => t(key));
  const rows = told.requests.map((one) => [
    h("span", { class: "number" }, one.number),
    cell(word("what", one.what), h("span", { class: "hint said" }, one.due_by ? [t("until.day"), " ", time(one.due_by, DAY)] : t("destruction.standing"))),
    scopeOf(one.scope),
    cell(person(one.by), h("span", { class: "hint said" }, time(one.at, DAY))),
    why(one.reason),
    cell(h("span", { class: `state ${SHADE[one.state]}` }, word("asked", one.state)), one.agreed && h("span", { class: "hint said" }, t("agreed.by"), " ", person(one.agreed.by))),
    h("span", { class: "actions" }, actions(context, one)),
  ]);
  const made = rows.length > 0 ? table(t("destruction.requests"), columns, rows) : h("p", { class: "count" }, t("destruction.none"));
  return section("requests", t("destruction.requests"), made);
}

function actions(context, one) {
  const of = (key) => ({ "aria-label": t("request.of", { what: t(key), number: one.number }) });
  return [
    one.state === "asked" && !one.own && has(context, "custodian", "dpo") && button(t("agree"), { ...of("agree"), class: "main", onclick: () => agree(context, one) }),
    one.state !== "withdrawn" && has(context, "compliance", "dpo") && button(t("withdraw"), {
      ...of("withdraw"),
      onclick: () => decide(context, { title: t("withdraw.of", { number: one.number }), content: scopeOf(one.scope), label: t("withdraw"), path: `/api/v1/destructions/${one.number}/withdraw` }),
    }),
  ];
}

export function agree(context, one) {
  return decide(context, {
    title: t("agree.destruction", { number: one.number }),
    content: [h("p", {}, word("what", one.what), " · ", t("asked.by"), " ", person(one.by)), scopeOf(one.scope), h("p", { class: "hint" }, t("agree.destruction.why"))],
    label: t("agree"),
    path: `/api/v1/destructions/${one.number}/agree`,
  });
}

function request(context, told) {
  const kinds = h("select", { name: "what" }, WHAT.filter((what) => what !== "erasure" || has(context, "dpo")).map((what) => option(what, word("what", what))));
  const standing = h("label", { class: "check" }, h("input", { type: "checkbox", name: "standing" }), " ", t("destruction.standing"));
  return decide(context, {
    title: t("destruction.ask"),
    content: [h("p", {}, t("destruction.why")), field(t("asked.what"), kinds), scopeFields(told.classes.map((one) => one.name)), standing],
    label: t("askFor"),
    path: "/api/v1/destructions",
    body: (form) => ({ what: form.get("what"), ...scopeIn(form), ...(form.has("standing") ? { standing: true } : {}) }),
  });
}

async function run(context) {
  const seen = h("div", {});
  look(seen);
  const done = await decide(context, {
    title: t("destruction.run"),
    content: [h("p", { class: "fault" }, t("destruction.run.why")), seen],
    label: t("destruction.go"),
    path: "/api/v1/destructions/run",
  });
  if (done) announce(t("run.begun"));
}

// Years down, months across: how many fall due.
function calendar(rows) {
  const due = rows.filter((one) => one.month);
  const never = rows.filter((one) => !one.month);
  if (rows.length === 0) return h("p", { class: "count" }, t("search.none"));
  const years = [...new Set(due.map((one) => one.month.slice(0, 4)))].sort();
  const month = new Intl.DateTimeFormat(language() === "pl" ? "pl-PL" : "en-GB", { month: "short", timeZone: "UTC" });
  const months = [...Array(12).keys()].map((place) => month.format(new Date(Date.UTC(2026, place, 1))));
  const today = new Date().toISOString().slice(0, 7);
  const cells = years.map((year) => [
    h("strong", { class: "number" }, year),
    ...months.map((_, place) => {
      const name = `${year}-${String(place + 1).padStart(2, "0")}`;
      const here = due.filter((one) => one.month === name);
      if (here.length === 0) return "";
      const count = here.reduce((sum, one) => sum + one.recordings, 0);
      const each = here.map((one) => `${one.class}: ${number(one.recordings)} (${t("retention.began")} ${one.began})`).join("\n");
      return h("span", { class: name <= today ? "number due" : "number", title: each }, number(count));
    }),
  ]);
  const list = [...due].sort((one, other) => (one.month < other.month ? -1 : one.month > other.month ? 1 : 0)).slice(0, ROWS_MAX).map((one) => [
    h("span", { class: one.month <= today ? "number due" : "number" }, one.month),
    one.class,
    h("span", { class: "number" }, one.began),
    h("span", { class: "number" }, number(one.recordings)),
    h("span", { class: "number" }, time(one.from, DAY), " – ", time(one.to, DAY)),
  ]);
  const others = never.map((one) => ["", one.class, h("span", { class: "number" }, one.began), h("span", { class: "number" }, number(one.recordings)), word("falls", one.kind)]);
  const columns = ["retention.month", "class", "retention.began", "retention.count", "retention.between"].map((key) => t(key));
  return [
    years.length > 0 && table(t("retention.calendar"), [t("retention.year"), ...months], cells, { class: "months" }),
    h("details", { class: "ladder" }, h("summary", {}, t("retention.list", { count: rows.length })), table(t("retention.list", { count: rows.length }), columns, [...list, ...others])),
    h("p", { class: "hint" }, t("retention.calendar.how")),
  ];
}

function period(one) {
  if (!one) return t("retention.noMax");
  return ["years", "months", "weeks", "days"].filter((unit) => one[unit] > 0).map((unit) => t(`period.${unit}`, { count: one[unit] })).join(" ") || t("period.days", { count: 0 });
}

function classes(all) {
  const columns = ["class", "kept.least", "kept.max", "retention.base", "retention.takes"].map((key) => t(key));
  return table(t("retention.classes"), columns, all.map((one) => [
    h("strong", { class: "party" }, one.name),
    period(one.keep_min),
    period(one.keep_max),
    word("base", one.base),
    cell(t(one.four_eyes ? "takes.two" : "takes.time"), one.early_erasure && h("span", { class: "hint said" }, t("takes.early"))),
  ]));
}

function certificates({ count, newest }) {
  if (count === 0) return h("p", { class: "count" }, t("certificates.none"));
  const columns = ["log.number", "log.at", "asked.what", "certificates.epoch", "reason", "hold.by", "certificates.file"].map((key) => t(key));
  const link = (one, form, label) => h("a", { href: `/api/v1/certificates/${one.number}/${form}`, download: "", "aria-label": t("certificates.of", { what: t(label), number: one.number }) }, t(label));
  const rows = newest.map((one) => [
    h("span", { class: "number" }, one.number),
    time(one.at),
    one.recordings === null ? t("certificates.key") : t("scope.named", { count: one.recordings }),
    h("span", { class: "tag" }, one.epoch),
    cell(t("destruction.no", { number: one.request }), " ", why(one.reason)),
    person(one.by),
    h("span", { class: "actions" }, link(one, "html", "certificates.page"), link(one, "note", "certificates.note")),
  ]);
  const cut = count > newest.length && h("p", { class: "hint" }, t("rows.cut", { shown: newest.length, count }));
  return [table(t("certificates"), columns, rows), cut];
}

const ROWS_MAX = 500;
const WATCH_MS = 10_000;
