// The register of media: where each lies, under which seal, who had it when, and what is due.

import { explain, get, proven } from "./api.js";
import { ask, button, field, h, heading, table } from "./dom.js";
import { number, time, word } from "./format.js";
import { reasonFields, reasonOf } from "./reason.js";
import { t } from "./strings.js";

export async function show(context, id) {
  return id ? one(context, id) : all(context);
}

async function all(context) {
  const { media } = await get("/api/v1/media");
  const moves = Boolean(context.me.roles.operator);
  const keys = ["medium", "medium.label", "medium.where", "medium.seal", "medium.written", "medium.checked", "stock.recordings", "medium.due", moves && "actions"].filter(Boolean);
  const rows = media.map((medium) => [
    h("a", { href: `#/media/${encodeURIComponent(medium.id)}` }, medium.id),
    medium.label,
    where(medium),
    medium.seal,
    time(medium.written, { dateStyle: "medium" }),
    [time(medium.checked, { dateStyle: "medium" }), " ", h("span", { class: `state ${medium.is_whole ? "good" : "bad"}` }, t(medium.is_whole ? "medium.whole" : "medium.damaged"))],
    h("span", { class: "number" }, number(medium.recordings), medium.destroyed > 0 && t("medium.destroyed", { count: number(medium.destroyed) })),
    due(medium.due),
    moves && move(context, medium),
  ].filter((cell) => cell !== false));
  const made = media.length > 0 ? table(t("nav.media"), keys.map((key) => t(key)), rows) : h("p", { class: "hint" }, t("media.none"));
  return [heading(t("nav.media")), h("p", { class: "hint" }, t("media.how")), made];
}

const where = (medium) => (medium.is_out ? [h("span", { class: "state bad" }, t("medium.isOut")), " ", medium.place] : medium.place);

// A word for what is to be done, and by when.
function due(told) {
  const [what, by] = typeof told === "string" ? [told, null] : Object.entries(told)[0];
  const kind = what === "check" ? "so" : "bad";
  return [h("span", { class: `state ${kind}` }, word("due", what)), by && [" ", time(by, { dateStyle: "medium" })]];
}

function move(context, medium) {
  const what = medium.is_out ? "check-in" : "check-out";
  const title = t(`medium.${what}`, { medium: medium.id });
  return button(t(`medium.${what}.short`), {
    "aria-label": title,
    onclick: async () => {
      const place = h("input", { name: "place", required: true, maxlength: 60, autocomplete: "off" });
      const seal = h("input", { name: "seal", maxlength: 60, autocomplete: "off", value: medium.is_out ? "" : medium.seal });
      const content = [field(t(`medium.${what}.place`), place), field(t("medium.seal"), seal), reasonFields(context)];
      const act = (form) => proven("POST", `/api/v1/media/${encodeURIComponent(medium.id)}/moves`, { what, place: form.get("place").trim(), seal: form.get("seal").trim(), reason: reasonOf(form) });
      if (await ask(title, content, t(`medium.${what}.short`), act, explain)) context.refresh();
    },
  });
}

async function one(context, id) {
  const { medium, moves, destroyed } = await get(`/api/v1/media/${encodeURIComponent(id)}`);
  const list = h("dl", { class: "facts" });
  const fact = (key, ...value) => list.append(h("div", {}, h("dt", {}, t(key)), h("dd", {}, ...value)));
  fact("medium.label", medium.label);
  fact("medium.where", destroyed ? h("span", { class: "state so" }, t("medium.gone")) : where(medium));
  fact("medium.seal", medium.seal || t("nothing"));
  fact("medium.written", time(medium.written));
  fact("medium.checked", time(medium.checked));
  fact("stock.recordings", number(medium.recordings));
  if (!destroyed) fact("medium.due", due(medium.due));
  const columns = ["log.at", "medium.what", "log.actor", "medium.where", "medium.seal", "reason", "log.number"].map((key) => t(key));
  const rows = [...moves].reverse().map((moved) => [
    time(moved.at),
    word("moved", moved.what),
    moved.who,
    moved.place,
    moved.seal,
    moved.reason,
    h("span", { class: "number" }, moved.entry),
  ]);
  return [
    h("p", {}, h("a", { href: "#/media" }, t("media.back"))),
    heading(t("medium.of", { medium: medium.id })),
    list,
    context.me.roles.operator && !destroyed && h("p", { class: "actions" }, move(context, medium)),
    h("section", { "aria-labelledby": "moves" }, h("h2", { id: "moves" }, t("medium.moves")), table(t("medium.moves"), columns, rows)),
  ];
}
