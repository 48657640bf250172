// Calls that are being recorded just now, and how the recorder is: asked again every two seconds.

import { explain, get } from "./api.js";
import { h, heading, replace, table } from "./dom.js";
import { bytes, length, number, time, word } from "./format.js";
import { t } from "./strings.js";

const EVERY_MS = 2000;
// Who has gone away is not kept signed in by what is drawn for nobody.
const AWAY_MS = 10 * 60 * 1000;

export async function show(context) {
  const told = await get("/api/v1/live");
  if (!told.configured) return [heading(t("nav.live")), h("p", {}, t("live.not")), h("p", {}, h("code", {}, 'recorder = "/run/sejf/control.sock"'))];
  const box = h("div", { class: "live" });
  draw(box, told);
  let [over, watch, seen] = [false, told.watch, Date.now()];
  const here = () => (seen = Date.now());
  for (const event of ["pointermove", "keydown"]) addEventListener(event, here);
  const again = async () => {
    if (over) return;
    // Of a tab behind others nothing is asked, and of who reads a table nothing is taken away.
    const isRead = getSelection()?.toString() && box.contains(getSelection().anchorNode);
    if (!document.hidden && !isRead && Date.now() - seen < AWAY_MS) {
      try {
        const fresh = await get(`/api/v1/live/${watch}`).catch(async (thrown) => {
          if (thrown.kind !== "not-found") throw thrown;
          // After a while it is granted anew.
          const begun = await get("/api/v1/live");
          watch = begun.watch;
          return begun;
        });
        if (!over) draw(box, fresh);
      } catch (thrown) {
        replace(box, h("p", { class: "fault" }, explain(thrown)));
      }
    }
    timer = setTimeout(again, EVERY_MS);
  };
  let timer = setTimeout(again, EVERY_MS);
  context.onLeave(() => {
    over = true;
    clearTimeout(timer);
    for (const event of ["pointermove", "keydown"]) removeEventListener(event, here);
  });
  return [heading(t("nav.live")), box];
}

function draw(box, told) {
  if (told.fault !== undefined) {
    replace(box, h("p", { class: "fault" }, t("live.away")), h("p", { class: "hint", lang: "en" }, told.fault));
    return;
  }
  replace(box, health(told.recorder), calls(told), losses(told.recorder));
}

function health(recorder) {
  const list = h("dl", { class: "facts" });
  const fact = (key, ...value) => list.append(h("div", {}, h("dt", {}, t(key)), h("dd", {}, ...value)));
  fact("state", h("span", { class: `state ${recorder.health.ok ? "good" : "bad"}` }, t(recorder.health.ok ? "live.well" : "live.unwell")), recorder.health.reasons.map((reason) => h("span", { class: "hint", lang: "en" }, reason)));
  fact("live.rate", h("span", {}, t("live.rates", { packets: number(recorder.rates.packets_per_s), mbit: number(recorder.rates.bits_per_s / 1e6, 1) })));
  fact("live.dropped", h("span", {}, t("live.drops", { minute: number(recorder.drops.last_minute), all: number(recorder.drops.kernel + recorder.drops.queue) })));
  if (recorder.disk_free_bytes !== null) fact("live.disk", h("span", { class: "number" }, bytes(recorder.disk_free_bytes)));
  if (recorder.journal_lag_ms !== null) fact("live.journal", h("span", { class: "number" }, t("ms", { count: number(recorder.journal_lag_ms) })));
  fact("live.started", time(recorder.started), h("span", { class: "hint" }, recorder.version));
  return list;
}

function calls(told) {
  const now = new Date(told.recorder.now).getTime();
  const isNamed = told.calls.some((call) => call.parties);
  const keys = ["col.start", "col.length", "col.state", isNamed && "live.parties", "trunk", "codec", "packets", "lost", "jitter", "live.kbit"].filter(Boolean);
  const figure = (text) => h("span", { class: "number" }, text);
  const rows = told.calls.map((call) => [
    time(call.since, { timeStyle: "medium" }),
    figure(length(Math.max(0, (now - new Date(call.since).getTime()) / 1000))),
    h("span", { class: `state ${call.state === "talking" ? "good" : "so"}` }, word("live", call.state)),
    isNamed && (call.parties ? h("span", { class: "party" }, `${call.parties.caller} → ${call.parties.callee}`) : ""),
    call.trunk,
    call.codecs.map((codec) => codec || "–").join(" / "),
    figure(number(call.packets)),
    h("span", { class: call.loss_percent >= 1 ? "state bad number" : "number" }, `${number(call.lost)} (${t("percent", { count: number(call.loss_percent, 1) })})`),
    figure(t("ms", { count: number(call.jitter_ms, 1) })),
    figure(number(call.kbit_s, 1)),
  ].filter((cell) => cell !== false));
  const title = t("live.calls", { count: number(told.count) });
  return h(
    "section",
    { "aria-labelledby": "calls" },
    h("h2", { id: "calls" }, title),
    rows.length > 0 ? table(title, keys.map((key) => t(key)), rows) : h("p", { class: "hint" }, t("live.none")),
    told.calls.length < told.count && h("p", { class: "hint" }, t("rows.cut", { shown: number(told.calls.length), count: number(told.count) })),
  );
}

// Where each captured packet went: what is not recorded has a reason.
function losses(recorder) {
  const { captured, recorded, discarded } = recorder.packets;
  const rows = Object.entries(discarded ?? {}).filter(([, count]) => count > 0).sort(([, one], [, other]) => other - one);
  const figure = (value) => h("span", { class: "number" }, number(value));
  const cells = [
    [t("live.captured"), figure(captured)],
    [t("live.recorded"), figure(recorded)],
    ...rows.map(([why, count]) => [h("code", {}, why), figure(count)]),
  ];
  return h("section", { "aria-labelledby": "books" }, h("h2", { id: "books" }, t("live.books")), table(t("live.books"), [t("mark.what"), t("packets")], cells, { class: "brief" }), interfaces(recorder.interfaces));
}

function interfaces(all) {
  if (all.length === 0) return null;
  const columns = ["live.interface", "state", "packets", "live.kernel", "live.queue"].map((key) => t(key));
  const rows = all.map((one) => [
    one.name,
    h("span", { class: `state ${one.up ? "good" : "bad"}` }, t(one.up ? "live.up" : "live.down")),
    ...[one.captured, one.kernel_drops, one.queue_drops].map((value) => h("span", { class: "number" }, number(value))),
  ]);
  return [h("h2", {}, t("live.interfaces")), table(t("live.interfaces"), columns, rows)];
}
