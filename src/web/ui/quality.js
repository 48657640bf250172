// How good the streams were: figures of each, and over the call's length what was lost when.

import { h, svg, table } from "./dom.js";
import { length, number, word } from "./format.js";
import { t } from "./strings.js";

const BINS_MAX = 120;
const WIDE = 1000;
const HIGH = 40;
// Loss that fills the height.
const FULL = 0.2;

const side = (party) => (party ? word("side", party) : t("side.both"));
const seconds = (at, manifest) => (new Date(at).getTime() - new Date(manifest.start).getTime()) / 1000;
const percent = (share) => t("percent", { count: number(100 * share, share > 0 && share < 0.1 ? 1 : 0) });

export function quality(manifest) {
  const section = h("section", { class: "quality", "aria-labelledby": "quality" }, h("h2", { id: "quality" }, t("quality")));
  if (manifest.streams.length === 0) {
    section.append(h("p", { class: "hint" }, t("quality.none")));
    return section;
  }
  const found = manifest.streams.map((stream) => bins(stream, manifest));
  section.append(chart(manifest, found), figures(manifest));
  const lossy = intervals(manifest, found);
  if (lossy) section.append(lossy);
  return section;
}

// What was to come and what was lost in each part of the call. Sequence numbers say which packets are missing; when they
// were sent is between the first and the last packet of the stream, evenly.
export function bins(stream, manifest) {
  const whole = Math.max(0.001, manifest.duration_s);
  const count = Math.max(1, Math.min(BINS_MAX, Math.ceil(whole)));
  const all = Array.from({ length: count }, () => ({ expected: 0, lost: 0 }));
  const packets = stream.packets + stream.lost;
  const [from, to] = [seconds(stream.first, manifest), seconds(stream.last, manifest)];
  const bin = (sequence) => {
    const at = packets > 1 ? from + ((to - from) * sequence) / (packets - 1) : from;
    return Math.min(count - 1, Math.max(0, Math.floor((at / whole) * count)));
  };
  // A bin's share of a run of packets, without going through each of them.
  const share = (first, last, key) => {
    for (let at = first; at < last; ) {
      const place = bin(at);
      let [low, high] = [at, last];
      while (high - low > 1) {
        const middle = Math.floor((low + high) / 2);
        if (bin(middle) === place) low = middle;
        else high = middle;
      }
      all[place][key] += high - at;
      at = high;
    }
  };
  share(0, packets, "expected");
  for (const [first, length] of stream.loss_map) share(Math.min(first, packets), Math.min(first + length, packets), "lost");
  return all;
}

function chart(manifest, found) {
  const whole = Math.max(0.001, manifest.duration_s);
  const x = (second) => Math.min(WIDE, Math.max(0, (second / whole) * WIDE));
  const lanes = manifest.streams.map((stream, place) => {
    const worst = found[place].reduce((most, bin) => Math.max(most, loss(bin)), 0);
    const label = `${side(stream.party)} ${stream.codec}`;
    const told = t("quality.lane", { stream: label, lost: percent(loss({ lost: stream.lost, expected: stream.packets + stream.lost })), worst: percent(worst) });
    return h(
      "div",
      { class: "lane" },
      h("div", { class: "named" }, h("strong", {}, side(stream.party)), " ", stream.codec, h("span", { class: "hint number" }, t("quality.worst", { worst: percent(worst) }))),
      picture(stream, manifest, found[place], x, told),
    );
  });
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => h("span", { class: "number" }, length(part * whole, whole < 20)));
  return h(
    "div",
    { class: "streams" },
    lanes,
    h("div", { class: "lane axis", "aria-hidden": "true" }, h("div", {}), h("div", { class: "ticks" }, ticks)),
    h("p", { class: "legend" },
      h("span", {}, h("i", { class: "key there" }), t("quality.there")),
      h("span", {}, h("i", { class: "key network-loss" }), t("quality.loss", { full: percent(FULL) })),
      kinds(manifest).map((kind) => h("span", {}, h("i", { class: `key ${kind}` }), word("gap", kind)))),
    h("p", { class: "hint" }, t("quality.how")),
  );
}

const loss = ({ expected, lost }) => (expected > 0 ? Math.min(1, lost / expected) : 0);
const MARKED = ["masked", "hold", "silence", "undecodable", "capture-drop", "queue-drop"];
const kinds = (manifest) => MARKED.filter((kind) => manifest.gaps.some((gap) => gap.reason === kind) || (kind === "masked" && manifest.masked?.length));

// Without words: it is drawn as wide as there is room.
function picture(stream, manifest, parts, x, told) {
  const [from, to] = [x(seconds(stream.first, manifest)), x(seconds(stream.last, manifest))];
  const drawing = svg("svg", { class: "loss", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img", "aria-label": told });
  drawing.append(svg("rect", { class: "there", x: from, y: HIGH - 12, width: Math.max(2, to - from), height: 12 }));
  const mine = (one) => !one.party || one.party === stream.party || one.party === "unknown";
  for (const gap of manifest.gaps.filter((gap) => mine(gap) && MARKED.includes(gap.reason))) {
    const wide = Math.max(2, x(gap.at_s + gap.length_s) - x(gap.at_s));
    drawing.append(svg("rect", { class: `mark ${gap.reason}`, x: x(gap.at_s), y: HIGH - 12, width: wide, height: 12 }));
  }
  const each = WIDE / parts.length;
  parts.forEach((part, place) => {
    if (part.lost === 0) return;
    const high = Math.max(4, Math.min(1, loss(part) / FULL) * (HIGH - 14));
    const title = svg("title", {}, `${length((place / parts.length) * manifest.duration_s)}: ${part.lost} (${percent(loss(part))})`);
    drawing.append(svg("rect", { class: "lost", x: place * each, y: HIGH - 13 - high, width: Math.max(3, each - 1), height: high }, title));
  });
  return drawing;
}

function figures(manifest) {
  const columns = ["mark.side", "codec", "packets", "lost", "late", "quality.order", "jitter", "mos", "quality.far", "way"].map((key) => t(key));
  const figure = (...text) => h("span", { class: "number" }, ...text);
  const rows = manifest.streams.map((stream) => [
    h("span", { class: "keep" }, side(stream.party)),
    [stream.codec, changes(stream), secret(stream)],
    figure(number(stream.packets)),
    figure(number(stream.lost), " (", percent(loss({ lost: stream.lost, expected: stream.packets + stream.lost })), ")"),
    figure(number(stream.late)),
    figure(`${number(stream.reordered)} / ${number(stream.duplicate)}`),
    figure(t("ms", { count: number(stream.jitter_ms, 1) })),
    figure(number(stream.mos, 2)),
    far(stream.rtcp),
    [h("span", { class: "uri" }, `${stream.src} → ${stream.dst}`), h("span", { class: "hint uri" }, ` ${stream.ssrc}`)],
  ]);
  return table(t("quality"), columns, rows);
}

// More than one payload type: another codec for a while, or keys.
function changes(stream) {
  const types = Object.entries(stream.payload_types ?? {});
  if (types.length < 2) return null;
  const told = types.map(([type, count]) => `${type}: ${number(count)}`).join(", ");
  return h("span", { class: "hint" }, ` ${t("quality.types", { types: told })}`);
}

function secret(stream) {
  if (stream.encrypted === "none") return null;
  return [" ", h("span", { class: `state ${stream.unopened ? "bad" : "good"}` }, `SRTP ${stream.encrypted}`)];
}

// What the far end reported (RTCP).
function far(report) {
  if (!report || report.receiver_reports === 0) return h("span", { class: "hint" }, "–");
  const parts = [
    report.lost !== null && t("quality.far.lost", { count: number(report.lost) }),
    report.jitter_ms !== null && t("ms", { count: number(report.jitter_ms, 1) }),
  ];
  return h("span", { class: "number" }, parts.filter(Boolean).join(", "));
}

function intervals(manifest, found) {
  const rows = [];
  found.forEach((parts, stream) => parts.forEach((part, place) => {
    if (part.lost > 0) rows.push({ at: (place / parts.length) * manifest.duration_s, stream: manifest.streams[stream], part });
  }));
  if (rows.length === 0) return null;
  rows.sort((one, other) => one.at - other.at);
  const every = manifest.duration_s / found[0].length;
  const columns = ["mark.at", "mark.side", "quality.expected", "lost"].map((key) => t(key));
  const cells = rows.slice(0, 500).map(({ at, stream, part }) => [
    h("button", { type: "button", class: "plain number", "data-jump": at, "aria-label": t("mark.jump", { at: length(at, true) }) }, length(at, true)),
    side(stream.party),
    h("span", { class: "number" }, number(part.expected)),
    h("span", { class: "number" }, `${number(part.lost)} (${percent(loss(part))})`),
  ]);
  const title = t("quality.intervals", { count: rows.length, every: number(every, 1) });
  return h("details", {}, h("summary", {}, title), table(title, columns, cells, { class: "brief" }));
}
