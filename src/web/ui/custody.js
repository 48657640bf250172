// Where the copies of a recording are, and who saw and heard it.

import { explain, get } from "./api.js";
import { addRow, button, h, replace, table } from "./dom.js";
import { bytes, number, time, word } from "./format.js";
import { t } from "./strings.js";

const path = (id, what) => `/api/v1/recordings/${encodeURIComponent(id)}/${what}`;

export const stateOf = (state) => h("span", { class: `state ${state === "good" ? "good" : "bad"}` }, word("copy", state));

export function worm(told) {
  if (!told) return "";
  // A folder is none, and that is no fault of it.
  const kind = told.state === "passed" ? "good" : "so";
  return [h("span", { class: `state ${kind}`, title: told.fault }, word("worm", told.state)), told.tested && [" ", h("span", { class: "hint" }, time(told.tested, { dateStyle: "medium" }))]];
}

// What a class asks for.
export const asks = (policy) => t(policy.worm ? "policy.worm" : "policy", { total: policy.total, sites: policy.sites, offline: policy.offline });

export async function copies(id) {
  const section = h("section", { "aria-labelledby": "copies" }, h("h2", { id: "copies" }, t("copies")));
  try {
    const told = await get(path(id, "copies"));
    const met = h("span", { class: `state ${told.met ? "good" : "so"}` }, t(told.met ? "copies.met" : "copies.unmet"));
    section.append(h("p", {}, met, " ", told.policy && h("span", { class: "hint" }, asks(told.policy))));
    const columns = ["place", "place.site", "state", "copy.checked", "worm"].map((key) => t(key));
    const rows = told.copies.map((copy) => [copy.place, h("span", { class: "keep" }, copy.site ?? ""), stateOf(copy.state), time(copy.checked), worm(copy.worm)]);
    rows.push(...told.media.map((copy) => [
      [t("medium"), " ", copy.medium, " ", h("span", { class: "hint" }, copy.label)],
      copy.out ? t("medium.out", { place: copy.place }) : copy.place,
      stateOf(copy.state),
      time(copy.checked),
      t("copy.offline"),
    ]));
    section.append(rows.length > 0 ? table(t("copies"), columns, rows) : h("p", { class: "hint" }, t("copies.none")));
  } catch (thrown) {
    section.append(h("p", { class: "fault" }, explain(thrown)));
  }
  return section;
}

export function accesses(context, id) {
  if (!context.me.roles.auditor && !context.me.roles.compliance) return null;
  const section = h("section", { "aria-labelledby": "accesses" }, h("h2", { id: "accesses" }, t("accesses")));
  const box = h("div", { "aria-live": "polite" });
  const open = button(t("accesses.show"), { onclick: () => read(box, id) });
  replace(box, h("p", { class: "hint" }, t("accesses.how")), open);
  section.append(box);
  return section;
}

const COLUMNS = ["log.at", "log.actor", "log.action", "reason", "log.outcome", "access.released"];

async function read(box, id) {
  const columns = COLUMNS.map((key) => t(key));
  const found = table(t("accesses"), columns, []);
  const more = button(t("log.older"), { onclick: () => add() });
  const said = h("p", { class: "count" });
  let [before, count] = [undefined, 0];
  const add = async () => {
    more.disabled = true;
    try {
      const told = await get(path(id, "accesses"), before === undefined ? undefined : new URLSearchParams({ before }));
      told.accesses.forEach((access) => addRow(found, columns, cells(access)));
      count += told.accesses.length;
      before = told.before;
      said.textContent = t("accesses.count", { count: number(count), from: number(told.from), size: number(told.size) });
    } catch (thrown) {
      said.textContent = explain(thrown);
    }
    more.hidden = before === null || before === undefined;
    more.disabled = false;
  };
  replace(box, said, found, more);
  await add();
}

function cells(access) {
  const kind = { done: "good", refused: "bad", failed: "bad" }[access.went] ?? "so";
  const reason = access.reason && [word("reason", access.reason.code), access.reason.text && [": ", access.reason.text]];
  return [
    [time(access.at), access.times > 1 && h("span", { class: "hint" }, " ", t("access.times", { count: number(access.times) }))],
    [access.actor, h("span", { class: "hint uri" }, " ", access.origin)],
    word("did", access.action),
    reason,
    h("span", { class: `state ${kind}` }, word("outcome", access.went)),
    access.parts > 0 ? h("span", { class: "number", title: access.trace ?? "" }, t("access.parts", { count: number(access.parts), bytes: bytes(access.bytes) })) : "",
  ];
}
