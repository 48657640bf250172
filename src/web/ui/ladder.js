// The SIP messages of a call as a ladder: who sent what to whom, and when. All of it is text that strangers have sent.

import { h, put, replace, svg, table } from "./dom.js";
import { length, number, utc } from "./format.js";
import { t } from "./strings.js";

const ROWS_MAX = 500;
const ENDS_MAX = 8;
const TIME = 84;
// Of few ends the lines stand further apart: there is room for words.
const WIDE = 1080;
const LANE_MIN = 150;
const LANE_MAX = 260;
const ROW = 28;
const HEAD = 30;
const LETTER = 6.9;

const host = (address) => String(address).replace(/:\d+$/, "");
const cut = (text, max) => (text.length > max ? `${text.slice(0, Math.max(1, max - 1))}…` : text);

export function ladder(manifest) {
  const messages = manifest.ladder;
  if (messages.length === 0) return null;
  const begun = new Date(manifest.start).getTime();
  const rungs = all(manifest, messages.slice(0, ROWS_MAX), begun);
  const places = ends(messages.slice(0, ROWS_MAX));
  const picked = h("div", { class: "picked", role: "status" }, h("p", { class: "hint" }, t("ladder.pick")));
  const drawing = drawn(rungs.filter((rung) => places.has(rung)), places, picked);
  const title = t("ladder", { count: messages.length });
  const columns = ["mark.at", "way", "message", "cseq", "ladder.sdp"].map((key) => t(key));
  const rows = rungs.filter((rung) => !rung.media).map((rung) => [
    h("span", { class: "number", title: utc(rung.at) }, rung.after),
    h("span", { class: "uri" }, `${rung.src} → ${rung.dst}`),
    [rung.message, rung.again > 0 && [" ", h("span", { class: "tag" }, t("ladder.again", { count: rung.again }))]],
    rung.cseq,
    rung.sdp ? t("yes") : "",
  ]);
  return h(
    "section",
    { class: "ladder", "aria-labelledby": "ladder" },
    h("h2", { id: "ladder" }, title),
    drawing,
    picked,
    messages.length > ROWS_MAX && h("p", { class: "hint" }, t("rows.cut", { shown: ROWS_MAX, count: messages.length })),
    h("details", {}, h("summary", {}, t("ladder.table")), table(title, columns, rows)),
  );
}

// Messages, and between them where media began.
function all(manifest, messages, begun) {
  const seen = new Map();
  const since = (at) => (new Date(at).getTime() - begun) / 1000;
  const after = (at) => `${since(at) < 0 ? "−" : "+"}${exactly(Math.abs(since(at)))}`;
  const rungs = messages.map((entry) => {
    const same = JSON.stringify([entry.src, entry.dst, entry.message, entry.cseq]);
    const again = seen.get(same) ?? 0;
    seen.set(same, again + 1);
    return { ...entry, again, after: after(entry.at), kind: kindOf(String(entry.message)), text: label(entry) };
  });
  for (const stream of manifest.streams ?? []) {
    const text = t("ladder.media", { codec: stream.codec });
    rungs.push({ at: stream.first, src: stream.src, dst: stream.dst, message: text, cseq: "", sdp: false, again: 0, after: after(stream.first), kind: "media", text, media: true });
  }
  const sorted = rungs.map((rung, place) => ({ rung, place })).sort((one, other) => order(one) - order(other) || one.place - other.place).map(({ rung }) => rung);
  sorted.forEach((rung, place) => (rung.gap = place > 0 ? since(rung.at) - since(sorted[place - 1].at) : 0));
  return sorted;
}

// 0:01.139: messages are milliseconds apart.
function exactly(seconds) {
  const whole = Math.floor(seconds);
  return `${length(whole)}.${String(Math.floor((seconds - whole) * 1000 + 0.5)).padStart(3, "0").slice(-3)}`;
}

const order = ({ rung }) => new Date(rung.at).getTime();
const label = (entry) => (entry.sdp ? `${entry.message} (SDP)` : String(entry.message));

function kindOf(message) {
  const status = /^([1-6])\d\d\b/.exec(message)?.[1];
  if (!status) return /^(BYE|CANCEL)\b/.test(message) ? "end" : "request";
  return status === "1" ? "provisional" : status === "2" ? "success" : "failure";
}

// Where lines stand: one for each host, or for each address where two of them are on one host.
function ends(messages) {
  const isOneHost = messages.some((entry) => entry.src !== entry.dst && host(entry.src) === host(entry.dst));
  const name = isOneHost ? String : host;
  const names = [...new Set(messages.flatMap((entry) => [name(entry.src), name(entry.dst)]))];
  const labels = names.length > ENDS_MAX ? [...names.slice(0, ENDS_MAX - 1), t("others")] : names;
  const of = (address) => Math.min(names.indexOf(name(address)), labels.length - 1);
  const lane = Math.max(LANE_MIN, Math.min(LANE_MAX, Math.floor(WIDE / labels.length)));
  const x = (end) => TIME + lane * (end + 0.5);
  return { labels, lane, x, of, has: (rung) => of(rung.src) >= 0 && of(rung.dst) >= 0 };
}

function drawn(rungs, places, picked) {
  const { lane, x } = places;
  const width = TIME + lane * places.labels.length;
  const height = rungs.length * ROW + 6;
  const name = (text, end) => {
    const shown = svg("text", { x: x(end), y: 19, "text-anchor": "middle" }, cut(text, Math.floor(lane / LETTER)));
    return svg("g", {}, svg("title", {}, text), shown);
  };
  const head = svg("svg", { class: "rungs head", width, height: HEAD, "aria-hidden": "true" }, places.labels.map(name));
  const lines = places.labels.map((_, end) => svg("line", { class: "life", x1: x(end), x2: x(end), y1: 0, y2: height }));
  const groups = rungs.map((rung, place) => row(rung, place, places, width));
  const body = svg("svg", { class: "rungs", width, height, role: "group", "aria-label": t("ladder.how") }, lines, groups);
  const pick = (group) => {
    const place = groups.indexOf(group);
    if (place < 0) return;
    for (const [at, one] of groups.entries()) {
      one.setAttribute("tabindex", at === place ? 0 : -1);
      one.setAttribute("aria-pressed", String(at === place));
    }
    replace(picked, told(rungs[place]));
  };
  body.addEventListener("click", (event) => pick(event.target.closest("g.rung")));
  body.addEventListener("keydown", (event) => move(event, groups, pick));
  return h("div", { class: "scroll" }, head, body);
}

function move(event, groups, pick) {
  const place = groups.indexOf(event.target.closest("g.rung"));
  const to = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: groups.length - 1, " ": place, Enter: place }[event.key];
  if (place < 0 || to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const group = groups[Math.min(groups.length - 1, Math.max(0, to))];
  pick(group);
  group.focus();
}

function row(rung, place, places, width) {
  const { lane, x } = places;
  const [from, to] = [x(places.of(rung.src)), x(places.of(rung.dst))];
  const isOwn = from === to;
  const end = isOwn ? from + lane / 2 - 8 : to;
  const way = end > from ? 1 : -1;
  const text = rung.again > 0 ? `${rung.text} ↻${rung.again}` : rung.text;
  const room = Math.floor((Math.abs(end - from) - 14) / LETTER);
  // What is seen comes first, so that who speaks to the computer names it as it is drawn.
  const more = rung.again > 0 ? `, ${t("ladder.again", { count: rung.again })}` : "";
  const spoken = `${rung.after} ${cut(text, 200)}, ${rung.src} → ${rung.dst}${more}`;
  return svg(
    "g",
    {
      class: `rung ${rung.kind}${rung.again > 0 ? " again" : ""}`,
      role: "button",
      tabindex: place === 0 ? 0 : -1,
      "aria-pressed": "false",
      "aria-label": spoken,
      transform: `translate(0 ${place * ROW})`,
    },
    svg("rect", { class: "hit", x: 1, y: 1, width: width - 2, height: ROW - 2, rx: 4 }),
    svg("text", { class: "when", x: 6, y: 19 }, rung.after),
    " ",
    svg("text", { class: "what", x: (from + end) / 2, y: 15, "text-anchor": "middle" }, cut(text, room)),
    svg("line", { class: "arrow", x1: from, x2: end - way * 5, y1: 21, y2: 21 }),
    svg("path", { class: "tip", d: `M${end} 21l${-way * 8} -4v8z` }),
  );
}

// All that the manifest has of a message.
function told(rung) {
  const list = h("dl", { class: "facts" });
  const fact = (name, value) => put(list, h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  fact(t("message"), rung.message);
  fact(t("mark.at"), [h("span", { class: "number" }, rung.after), h("span", { class: "hint" }, exact(rung.at))]);
  fact(t("way"), h("span", { class: "uri" }, `${rung.src} → ${rung.dst}`));
  if (rung.cseq) fact(t("cseq"), rung.cseq);
  if (!rung.media) fact(t("ladder.sdp"), rung.sdp ? t("yes") : t("no"));
  fact(t("ladder.gap"), h("span", { class: "number" }, t("ms", { count: number(rung.gap * 1000) })));
  if (rung.again > 0) fact(t("ladder.sent"), t("ladder.again", { count: number(rung.again) }));
  return list;
}

// In UTC, as exact as it was captured.
const exact = (at) => String(at).replace("T", " ").replace("Z", " UTC");
