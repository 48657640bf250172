// One recording: what is known of it, and hearing it.

import { explain, get, proven } from "./api.js";
import { field, h, heading, option, put, table } from "./dom.js";
import { length, number, time, utc, word } from "./format.js";
import { matters } from "./matters.js";
import { player } from "./player.js";
import { state } from "./search.js";
import { t } from "./strings.js";

// The code that was given last, for the next one: the text is of one call.
let lastCode = "";

export function forget() {
  lastCode = "";
}

export async function show(context, id) {
  const path = `/api/v1/recordings/${encodeURIComponent(id)}`;
  const one = await get(path);
  const manifest = await get(`${path}/manifest`).then((answer) => answer.manifest, () => null);
  const details = one.details ?? {};
  const title = details.caller || details.callee
    ? t("recording.of", { caller: details.caller || t("unknown"), callee: details.callee || t("unknown") })
    : t("recording");
  return [
    h("p", {}, h("a", { href: "#/recordings" }, t("recording.back"))),
    heading(title),
    facts(one, details, manifest),
    hearing(context, one, manifest),
    await matters(context, one),
    manifest && [quality(manifest), marks(manifest), notes(manifest), ladder(manifest)],
  ];
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

function hearing(context, one, manifest) {
  const section = h("section", { class: "hearing", "aria-labelledby": "hearing" });
  put(section, h("h2", { id: "hearing" }, t("hearing")));
  const view = player(one, manifest);
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

function quality(manifest) {
  const columns = ["mark.side", "codec", "packets", "lost", "late", "jitter", "mos", "way"].map((key) => t(key));
  const rows = manifest.streams.map((stream) => {
    const share = stream.packets + stream.lost > 0 ? (100 * stream.lost) / (stream.packets + stream.lost) : 0;
    const figure = (text) => h("span", { class: "number" }, text);
    return [
      side(stream.party),
      stream.codec,
      figure(number(stream.packets)),
      figure(`${number(stream.lost)} (${number(share, 1)} %)`),
      figure(number(stream.late)),
      figure(t("ms", { count: number(stream.jitter_ms, 1) })),
      figure(number(stream.mos, 2)),
      h("span", { class: "uri" }, `${stream.src} → ${stream.dst}`),
    ];
  });
  const made = rows.length === 0 ? h("p", { class: "hint" }, t("quality.none")) : table(t("quality"), columns, rows);
  return h("section", { "aria-labelledby": "quality" }, h("h2", { id: "quality" }, t("quality")), made);
}

function ladder(manifest) {
  if (manifest.ladder.length === 0) return null;
  const columns = ["mark.at", "way", "message", "cseq"].map((key) => t(key));
  const begun = new Date(manifest.start).getTime();
  const rows = manifest.ladder.slice(0, ROWS_MAX).map((entry) => [
    h("span", { class: "number", title: utc(entry.at) }, `+${length((new Date(entry.at).getTime() - begun) / 1000, true)}`),
    h("span", { class: "uri" }, `${entry.src} → ${entry.dst}`),
    entry.message,
    entry.cseq,
  ]);
  const summary = h("summary", {}, t("ladder", { count: manifest.ladder.length }));
  return h("details", { class: "ladder" }, summary, table(t("ladder", { count: manifest.ladder.length }), columns, rows));
}

function notes(manifest) {
  if (manifest.notes.length === 0) return null;
  const list = h("ul", { lang: "en" }, manifest.notes.map((note) => h("li", {}, note)));
  return h("section", { "aria-labelledby": "notes" }, h("h2", { id: "notes" }, t("notes")), list);
}

const ROWS_MAX = 500;
