// Finding recordings. What was asked for stays in this tab's memory: no address or history has a number in it.

import { explain, get } from "./api.js";
import { give } from "./exports.js";
import { hold } from "./holds.js";
import { addRow, announce, button, field, h, heading, option, put, replace, table } from "./dom.js";
import { length, time, utc, word } from "./format.js";
import { t } from "./strings.js";

const SAVED = "sejf.filters";
const STATES = ["complete", "interrupted", "failed", "unanswered", "excluded-by-rule"];
const FIELDS = ["party", "trunk", "agent", "tag", "class", "state", "from", "to", "min_length", "max_length"];
// Filters are kept on this computer without these: they are of people.
const OF_PEOPLE = ["party", "agent"];
const SAVED_MAX = 20;

let asked = {};
// Ids of those that somebody has chosen, to hold them or give them away.
let chosen = new Set();
let person = null;

export function forget() {
  asked = {};
  chosen = new Set();
  person = null;
}

export function show(context) {
  chosen = new Set();
  person = context;
  const results = h("section", { class: "results", "aria-label": t("search.results") });
  const form = filters((values) => {
    asked = values;
    return find(results, values);
  });
  find(results, asked);
  const side = h("details", { class: "filters", open: innerWidth > 900 }, h("summary", {}, t("search.filters")), form);
  return [heading(t("nav.recordings")), h("div", { class: "split" }, side, results)];
}

function input(name, attributes = {}) {
  return h("input", { name, value: asked[name], autocomplete: "off", spellcheck: "false", ...attributes });
}

function filters(go) {
  const states = h("select", { name: "state" }, option("", t("any"), !asked.state));
  put(states, STATES.map((state) => option(state, word("state", state), asked.state === state)));
  const numbers = { type: "number", min: 0, step: 1, inputmode: "numeric" };
  const form = h(
    "form",
    { role: "search", "aria-label": t("search.filters") },
    field(t("party"), input("party", { maxlength: 256 }), t("party.hint")),
    field(t("from"), input("from", { type: "date" })),
    field(t("to"), input("to", { type: "date" })),
    h("div", { class: "pair" },
      field(t("length.min"), input("min_length", numbers)),
      field(t("length.max"), input("max_length", numbers))),
    field(t("state"), states),
    h("div", { class: "pair" },
      field(t("trunk"), input("trunk", { maxlength: 256 })),
      field(t("class"), input("class", { maxlength: 64 }))),
    h("div", { class: "pair" },
      field(t("agent"), input("agent", { maxlength: 256 })),
      field(t("tag"), input("tag", { maxlength: 256 }))),
  );
  const values = () => {
    const data = new FormData(form);
    return Object.fromEntries(FIELDS.map((name) => [name, data.get(name).trim()]).filter(([, value]) => value));
  };
  const clear = button(t("clear"), {
    onclick: () => {
      for (const name of FIELDS) form.elements[name].value = "";
      go({});
    },
  });
  put(form, h("div", { class: "actions" }, h("button", { type: "submit", class: "main" }, t("search")), clear));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(values());
  });
  const kept = h("div", { class: "saved" });
  saved(kept, form, values, go);
  return [form, kept];
}

function stored() {
  try {
    const all = JSON.parse(localStorage.getItem(SAVED) ?? "[]");
    return Array.isArray(all) ? all.filter((one) => typeof one?.name === "string" && one.values) : [];
  } catch {
    return [];
  }
}

// Filters that somebody uses again.
function saved(place, form, values, go) {
  const all = stored();
  const store = (now) => {
    localStorage.setItem(SAVED, JSON.stringify(now.slice(0, SAVED_MAX)));
    saved(place, form, values, go);
  };
  const use = (one) => {
    for (const name of FIELDS) form.elements[name].value = String(one.values[name] ?? "");
    go(values());
  };
  const list = all.map((one) =>
    h("li", {},
      button(one.name, { class: "plain", onclick: () => use(one) }),
      button("×", {
        class: "small",
        "aria-label": t("saved.remove", { name: one.name }),
        onclick: () => store(all.filter((other) => other.name !== one.name)),
      })),
  );
  const name = h("input", { name: "name", maxlength: 40, autocomplete: "off", required: true });
  const keep = h(
    "form",
    { class: "keep" },
    field(t("saved.name"), name, t("saved.hint")),
    h("button", { type: "submit" }, t("save")),
  );
  keep.addEventListener("submit", (event) => {
    event.preventDefault();
    const said = Object.entries(values()).filter(([field]) => !OF_PEOPLE.includes(field));
    const one = { name: name.value.trim(), values: Object.fromEntries(said) };
    store([...all.filter((other) => other.name !== one.name), one]);
    announce(t("saved.done", { name: one.name }));
  });
  replace(place, h("h2", {}, t("saved")), all.length > 0 && h("ul", { class: "chips" }, list), keep);
}

function params(values, after) {
  const query = new URLSearchParams({ limit: "50" });
  for (const [name, value] of Object.entries(values)) {
    const day = new Date(`${value}T00:00:00`);
    if (name === "to") day.setDate(day.getDate() + 1);
    query.set(name, name === "from" || name === "to" ? day.toISOString() : value);
  }
  if (after) query.set("after", after);
  return query;
}

let turn = 0;

async function find(place, values) {
  const mine = (turn += 1);
  place.setAttribute("aria-busy", "true");
  try {
    const page = await get("/api/v1/recordings", params(values));
    if (mine === turn) listed(place, values, page);
  } catch (thrown) {
    if (mine === turn) replace(place, h("p", { class: "fault", role: "alert" }, explain(thrown)));
  }
  place.removeAttribute("aria-busy");
}

const chooses = () => Boolean(person?.me.roles.compliance);
const columns = () => [chooses() && "col.choose", "col.start", "col.caller", "col.callee", "col.length", "col.state", "col.trunk", "col.tags"].filter(Boolean).map((key) => t(key));

function cells(one) {
  const details = one.details ?? {};
  const start = h("a", { class: "row", href: `#/recordings/${one.id}` }, time(one.start));
  const tags = [...(details.agents ?? []), ...(details.tags ?? [])];
  return [
    chooses() && choice(one),
    start,
    h("span", { class: "party" }, details.caller || t("unknown")),
    h("span", { class: "party" }, details.callee || t("unknown")),
    h("span", { class: "number" }, length(one.seconds)),
    state(one),
    details.trunk ?? "",
    tags.map((tag) => h("span", { class: "tag" }, tag)),
  ].filter((cell) => cell !== false);
}

function choice(one) {
  const box = h("input", { type: "checkbox", class: "choice", "aria-label": t("choose.row", { at: utc(one.start) }) });
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(one.id);
    else chosen.delete(one.id);
  });
  return box;
}

// What can be done with those that were chosen.
function chosenBar(made) {
  if (!chooses()) return null;
  const count = h("span", { class: "count", role: "status" });
  const act = (label, run) => button(t(label), { onclick: () => run(person, [...chosen]) });
  const actions = [act("hold.one", hold), act("export.one", give)];
  const bar = h("div", { class: "actions chosen" }, count, actions);
  const tell = () => {
    count.textContent = t("chosen", { count: chosen.size });
    actions.forEach((one) => (one.disabled = chosen.size === 0));
  };
  made.addEventListener("change", tell);
  tell();
  return bar;
}

// How it ended, and what became of it.
export function state(one) {
  const shown = one.phase === "archived" ? one.state : one.phase;
  const kind = shown === "complete" ? "good" : ["failed", "destroyed"].includes(shown) ? "bad" : "so";
  return h("span", { class: `state ${kind}` }, word("state", shown));
}

function listed(place, values, first) {
  const count = h("p", { class: "count" });
  const made = table(t("search.results"), columns(), []);
  const more = button(t("more"), { class: "more" });
  let shown = 0;
  let next = null;
  const add = (page) => {
    page.recordings.forEach((one) => addRow(made, columns(), cells(one)));
    shown += page.recordings.length;
    next = page.next;
    more.hidden = !next;
    count.textContent = shown === 0 && !next ? t("search.none") : t(next ? "search.more" : "search.all", { count: shown });
    if (page.unreadable) count.append(` ${t("search.unreadable", { count: page.unreadable })}`);
    announce(count.textContent);
  };
  more.addEventListener("click", async () => {
    more.disabled = true;
    const before = made.tBodies[0].rows.length;
    try {
      add(await get("/api/v1/recordings", params(values, next)));
      made.tBodies[0].rows[before]?.querySelector("a")?.focus();
    } catch (thrown) {
      count.textContent = explain(thrown);
    }
    more.disabled = false;
  });
  chosen = new Set();
  add(first);
  replace(place, count, (shown > 0 || next) && [chosenBar(made), made], more);
}
