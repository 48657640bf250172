// What a recording is held by, until when it is kept, and what can be asked of it.

import { explain, get } from "./api.js";
import { button, h } from "./dom.js";
import { DAY, has, person, section, why } from "./desk.js";
import { give } from "./exports.js";
import { time, word } from "./format.js";
import { hold } from "./holds.js";
import { standing } from "./retention.js";
import { t } from "./strings.js";

export async function matters(context, one) {
  let told;
  try {
    told = await get(`/api/v1/recordings/${encodeURIComponent(one.id)}/matters`);
  } catch (thrown) {
    return section("matters", t("matters"), h("p", { class: "fault" }, explain(thrown)));
  }
  const held = told.holds.map((hold) =>
    h("li", {}, h("span", { class: "state held" }, t("held")), " ", h("strong", { class: "party" }, hold.name), " ", t("hold.since").toLowerCase(), " ", time(hold.since, DAY), ", ", person(hold.by), " ", why(hold.reason)));
  const asked = told.requests.filter((request) => request.state !== "withdrawn").map((request) =>
    h("li", {}, t("destruction.no", { number: request.number }), ": ", word("what", request.what), " ", h("span", { class: "state so" }, word("asked", request.state))));
  const facts = h("dl", { class: "facts" },
    fact(t("kept"), told.standing ? standing(told.standing) : t("unknown")),
    told.may_go && fact(t("kept.min"), time(told.may_go, DAY)),
    told.due && fact(t("kept.due"), time(told.due, DAY)));
  const there = one.phase === "archived";
  return section("matters", t("matters"),
    held.length > 0 && h("ul", { class: "plain" }, held),
    facts,
    asked.length > 0 && h("ul", { class: "plain" }, asked),
    there && has(context, "compliance") && h("p", { class: "actions" },
      button(t("hold.one"), { onclick: () => hold(context, [one.id]) }),
      button(t("export.one"), { onclick: () => give(context, [one.id]) })));
}

const fact = (label, ...value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));
