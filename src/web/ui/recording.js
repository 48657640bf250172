// One recording: what is known of it, and hearing it.

import { explain, get, proven } from "./api.js";
import { accesses, copies } from "./custody.js";
import { field, h, heading, option, put, replace, table } from "./dom.js";
import { length, number, time, utc, word } from "./format.js";
import { ladder } from "./ladder.js";
import { matters } from "./matters.js";
import { player } from "./player.js";
import { quality } from "./quality.js";
import { state } from "./search.js";
import { t } from "./strings.js";
import { copiesOf, history, versions } from "./versions.js";

// The code that was given last, for the next one: the text is of one call.
let lastCode = "";

export function forget() {
  lastCode = "";
}

export async function show(context, id) {
  const path = `/api/v1/recordings/${encodeURIComponent(id)}`;
  const one = await get(path);
  let fault = null;
  const [manifest, told, kept] = await Promise.all([
    get(`${path}/manifest`).then((answer) => answer.manifest, () => null),
    history(id).catch((thrown) => ((fault = thrown), null)),
    copies(id),
  ]);
  const view = player(one, manifest, copiesOf(told));
  const title = heading(nameOf(one.details));
  const known = h("div", {}, facts(one, one.details ?? {}, manifest));
  const sound = hearing(context, one, view);
  // What holds now is shown anew, and what is heard goes on.
  const changed = async (now) => {
    const fresh = await get(path);
    replace(known, facts(fresh, fresh.details ?? {}, manifest));
    title.textContent = nameOf(fresh.details);
    view.setCopies(copiesOf(now));
    // What was granted before is without a copy that there is since: it is asked for anew.
    if (fresh.audio.length > one.audio.length && view.isStarted() && !sound.querySelector("form.why")) put(sound, why(context, fresh, view));
  };
  return [
    h("p", {}, h("a", { href: "#/recordings" }, t("recording.back"))),
    title,
    known,
    sound,
    await matters(context, one),
    versions(context, one, told, fault, view, changed),
    manifest && [ladder(manifest), quality(manifest), marks(manifest), notes(manifest)],
    kept,
    accesses(context, id),
  ];
}

function nameOf(details) {
  const { caller, callee } = details ?? {};
  if (!caller && !callee) return t("recording");
  return t("recording.of", { caller: caller || t("unknown"), callee: callee || t("unknown") });
}

function facts(one, details, manifest) {
  const list = h("dl", { class: "facts" });
  const fact = (label, ...value) => {
    const is = value.flat(Infinity).some((part) => part !== "" && part !== null && part !== undefined);
    if (is) put(list, h("div", {}, h("dt", {}, label), h("dd", {}, value)));
  };
  fact(t("col.start"), time(one.start), h("span", { class: "hint" }, utc(one.start)));
  fact(t("col.length"), length(one.seconds));
  fact(t("col.state"), state(one));
  fact(t("col.caller"), h("span", { class: "party" }, details.caller || t("unknown")), details.from && h("span", { class: "hint uri" }, details.from));
  fact(t("col.callee"), h("span", { class: "party" }, details.callee || t("unknown")), details.to && h("span", { class: "hint uri" }, details.to));
  fact(t("others"), (details.others ?? []).join(", "));
  fact(t("agent"), (details.agents ?? []).join(", "));
  fact(t("tag"), (details.tags ?? []).join(", "));
  fact(t("trunk"), details.trunk ?? "");
  fact(t("teams"), (one.teams ?? []).join(", "));
  fact(t("class"), one.class ?? "");
  if (manifest) {
    fact(t("answered"), manifest.answered ? time(manifest.answered) : t("no"));
    fact(t("ended"), manifest.call.ended_by ? word("ended", manifest.call.ended_by) : "", manifest.call.status ? ` (${manifest.call.status})` : "");
    fact(t("rule"), manifest.rule);
  }
  fact(t("recorder"), h("span", { class: "uri" }, one.recorder));
  fact(t("id"), h("code", {}, one.id));
  return list;
}

function hearing(context, one, view) {
  const section = h("section", { class: "hearing", "aria-labelledby": "hearing" });
  put(section, h("h2", { id: "hearing" }, t("hearing")));
  put(section, view.element);
  context.onLeave(view.stop);
  const hears = context.me.roles.reviewer || context.me.roles.compliance;
  if (!hears) {
    put(section, h("p", { class: "hint" }, t("hearing.role")));
  } else if (one.phase !== "archived" || one.audio.length === 0) {
    put(section, h("p", { class: "hint" }, t("hearing.none")));
  } else {
    put(section, why(context, one, view));
  }
  return section;
}

// Why it is heard: asked for each time, and in the log before the first sound.
function why(context, one, view) {
  const codes = h("select", { name: "code", required: true }, option("", t("choose"), !lastCode));
  put(codes, context.me.reason_codes.map((code) => option(code, word("reason", code), code === lastCode)));
  const text = h("input", { name: "text", maxlength: 500, autocomplete: "off" });
  const fault = h("p", { class: "fault", role: "alert" });
  const go = h("button", { type: "submit", class: "main" }, t("listen"));
  const form = h(
    "form",
    { class: "why" },
    field(t("reason"), codes),
    field(t("reason.text"), text, t("reason.hint")),
    go,
    fault,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    fault.textContent = "";
    try {
      const reason = { code: codes.value, text: text.value.trim() };
      const play = await proven("POST", `/api/v1/recordings/${one.id}/plays`, { reason });
      lastCode = codes.value;
      form.remove();
      await view.start(play);
    } catch (thrown) {
      if (thrown.kind !== "cancelled") fault.textContent = explain(thrown);
    }
    go.disabled = false;
  });
  return form;
}

const side = (party) => (party ? word("side", party) : t("side.both"));

function marks(manifest) {
  const columns = [t("mark.at"), t("col.length"), t("mark.side"), t("mark.what")];
  const masked = (manifest.masked ?? []).map((span) => ({
    at: span.from_s,
    cells: [span.from_s, span.to_s - span.from_s, span.party, [t("gap.masked"), `: ${word("masked", span.by)}`, span.reason && ` · ${span.reason}`]],
  }));
  const gaps = manifest.gaps
    .filter((gap) => gap.reason !== "masked")
    .map((gap) => ({ at: gap.at_s, cells: [gap.at_s, gap.length_s, gap.party, word("gap", gap.reason)] }));
  const all = [...masked, ...gaps].sort((one, other) => one.at - other.at);
  const rows = all.slice(0, ROWS_MAX).map(({ at, cells: [, lasts, party, what] }) => [
    h("button", { type: "button", class: "plain number", "data-jump": at, "aria-label": t("mark.jump", { at: length(at, true) }) }, length(at, true)),
    h("span", { class: "number" }, t("seconds", { count: number(lasts, 2) })),
    side(party),
    h("span", {}, what),
  ]);
  const made = all.length === 0 ? h("p", { class: "hint" }, t("marks.none")) : table(t("marks"), columns, rows, { class: "brief" });
  const cut = all.length > ROWS_MAX && h("p", { class: "hint" }, t("rows.cut", { shown: ROWS_MAX, count: all.length }));
  return h("section", { "aria-labelledby": "marks" }, h("h2", { id: "marks" }, t("marks")), made, cut);
}

function notes(manifest) {
  if (manifest.notes.length === 0) return null;
  const list = h("ul", { lang: "en" }, manifest.notes.map((note) => h("li", {}, note)));
  return h("section", { "aria-labelledby": "notes" }, h("h2", { id: "notes" }, t("notes")), list);
}

const ROWS_MAX = 500;
