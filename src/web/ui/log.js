// The vault's log, for who audits: newest first.

import { explain, get } from "./api.js";
import { addRow, announce, button, field, folded, h, heading, option, put, replace, table } from "./dom.js";
import { time } from "./format.js";
import { t } from "./strings.js";

const PAGE = 100;
const COLUMNS = ["log.number", "log.at", "log.actor", "log.origin", "log.action", "log.resource", "reason", "log.outcome"];

export async function show() {
  const { size } = await get("/api/v1/log", new URLSearchParams({ from: "0", count: "1" }));
  const all = [];
  let from = size;
  const count = h("p", { class: "count" });
  const place = h("div", { class: "results" });
  const older = button(t("log.older"), { class: "more" });
  const controls = filters(() => list());
  const list = () => {
    const shown = all.filter(controls.fits);
    const made = table(t("nav.log"), COLUMNS.map((key) => t(key)), []);
    shown.forEach((one) => addRow(made, COLUMNS.map((key) => t(key)), cells(one)));
    replace(place, made);
    count.textContent = t("log.count", { shown: shown.length, read: all.length, size });
  };
  const read = async () => {
    const first = Math.max(0, from - PAGE);
    const params = new URLSearchParams({ from: String(first), count: String(from - first) });
    const page = await get("/api/v1/log", params);
    all.push(...page.entries.reverse());
    from = first;
    older.hidden = from === 0;
    controls.know(all);
    list();
  };
  older.addEventListener("click", async () => {
    older.disabled = true;
    await read().catch((thrown) => (count.textContent = explain(thrown)));
    older.disabled = false;
    announce(count.textContent);
  });
  if (size > 0) await read();
  return [heading(t("nav.log")), h("p", { class: "hint" }, t("log.how")), controls.form, files(), count, place, older];
}

// The whole log as a file: what is filtered here is only what was read.
function files() {
  const link = (format, key) =>
    h("a", { href: `/api/v1/log/export?format=${format}`, download: `sejf-log.${format}` }, t(key));
  return h("p", { class: "actions" }, link("csv", "log.file.csv"), link("jsonl", "log.file.jsonl"));
}

function filters(changed) {
  const text = h("input", { type: "search", name: "text", autocomplete: "off" });
  const action = h("select", { name: "action" }, option("", t("any")));
  const outcome = h("select", { name: "outcome" }, option("", t("any")));
  put(outcome, ["granted", "refused", "done", "failed"].map((kind) => option(kind, t(`outcome.${kind}`))));
  const form = h(
    "form",
    { class: "line", role: "search", "aria-label": t("search.filters") },
    field(t("log.text"), text),
    field(t("log.action"), action),
    field(t("log.outcome"), outcome),
  );
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  const know = (all) => {
    const known = [...action.options].map((one) => one.value);
    const names = [...new Set(all.map((one) => one.entry?.action).filter(Boolean))].sort();
    put(action, names.filter((name) => !known.includes(name)).map((name) => option(name, name)));
  };
  const fits = (one) =>
    (!action.value || one.entry?.action === action.value) &&
    (!outcome.value || outcomeOf(one.entry).kind === outcome.value) &&
    (!text.value || JSON.stringify(one).toLowerCase().includes(text.value.toLowerCase()));
  return { form, fits, know };
}

function outcomeOf(entry) {
  const told = entry?.outcome;
  if (typeof told === "string") return { kind: told, more: "" };
  const [kind, more] = Object.entries(told ?? {})[0] ?? ["", ""];
  return { kind, more: typeof more === "string" ? more : JSON.stringify(more) };
}

function resource(entry) {
  const of = entry.resource;
  if (typeof of === "string") return of;
  const [kind, what] = Object.entries(of ?? {})[0] ?? ["", ""];
  if (typeof what !== "object") return h("span", { class: "uri" }, `${kind} ${what}`);
  return [`${kind}: ${what.count ?? ""}`, folded(JSON.stringify(what), t("log.more"))];
}

function cells({ index, entry }) {
  if (!entry) return [index, "", "", "", "", "", "", t("log.unread")];
  const { kind, more } = outcomeOf(entry);
  const shade = kind === "refused" || kind === "failed" ? "bad" : kind === "done" ? "good" : "so";
  return [
    h("span", { class: "number" }, index),
    h("span", { class: "number" }, time(entry.at)),
    h("span", { class: "number" }, entry.actor),
    h("span", { class: "number" }, entry.origin),
    h("span", { class: "number" }, entry.action),
    resource(entry),
    entry.reason ? h("span", { class: "uri" }, `${entry.reason.code} ${entry.reason.text}`) : "",
    h("span", {}, h("span", { class: `state ${shade}` }, t(`outcome.${kind}`, {}, kind)), more && folded(more, t("log.more"))),
  ];
}
