// The picture of a recording: the caller's side above, the callee's below, and over it what is missing.

import { t } from "./strings.js";

const HEIGHT = 148;

// A colour of the style sheet, as it is in the theme that is shown.
function colors(canvas) {
  const known = new Map();
  return (name) => {
    if (!known.has(name)) {
      canvas.style.color = `var(--wave-${name})`;
      known.set(name, getComputedStyle(canvas).color);
    }
    return known.get(name);
  };
}

export function draw(canvas, { at, seconds, peaks: found, loop, manifest, silenced }) {
  const box = canvas.parentElement.getBoundingClientRect();
  if (box.width === 0) return;
  const scale = devicePixelRatio || 1;
  const [width, height] = [Math.round(box.width), HEIGHT];
  if (canvas.width !== width * scale || canvas.height !== height * scale) {
    canvas.width = width * scale;
    canvas.height = height * scale;
  }
  const color = colors(canvas);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const x = (second) => (seconds > 0 ? (second / seconds) * width : 0);
  const lane = height / 2;
  if (loop[0] !== null || loop[1] !== null) {
    const [from, to] = [x(loop[0] ?? 0), x(loop[1] ?? seconds)];
    pen.fillStyle = color("loop");
    pen.fillRect(from, 0, to - from, height);
  }
  for (const [number, party] of ["caller", "callee"].entries()) {
    marked(pen, manifest, party, { x, top: number * lane, lane, color, silenced });
    const middle = number * lane + lane / 2;
    pen.fillStyle = color("line");
    pen.fillRect(0, middle, width, 1);
    const side = found?.sides[number];
    if (side) bars(pen, side, middle, lane / 2 - 4, x(found.seconds), { played: x(at), color });
    const label = t(`side.${party}`);
    pen.font = getComputedStyle(canvas).font;
    pen.fillStyle = color("silence-back");
    pen.fillRect(2, number * lane + 2, pen.measureText(label).width + 8, 16);
    pen.fillStyle = color("text");
    pen.fillText(label, 6, number * lane + 14);
  }
  pen.fillStyle = color("line");
  pen.fillRect(0, lane, width, 1);
  pen.fillStyle = color("head");
  pen.fillRect(Math.min(width - 2, Math.max(0, x(at) - 1)), 0, 2, height);
}

function bars(pen, side, middle, half, width, { played, color }) {
  const each = width / side.length;
  const [done, rest] = [color("played"), color("bar")];
  side.forEach((loud, bin) => {
    // Speech is mostly soft: the root shows it.
    const tall = Math.max(0.5, Math.sqrt(loud / 255) * half);
    pen.fillStyle = bin * each < played ? done : rest;
    pen.fillRect(bin * each, middle - tall, Math.max(0.7, each * 0.8), tall * 2);
  });
}

// Each kind of gap has a colour and a pattern: the colour alone would not do.
function marked(pen, manifest, party, { x, top, lane, color, silenced }) {
  const gaps = (manifest?.gaps ?? []).filter((gap) => gap.party === party || gap.party === "unknown");
  const spans = gaps.map((gap) => [gap.at_s, gap.at_s + gap.length_s, gap.reason]);
  const masked = (manifest?.masked ?? []).filter((span) => !span.party || span.party === party);
  spans.push(...masked.map((span) => [span.from_s, span.to_s, "masked"]));
  spans.push(...(silenced ?? []).map((span) => [span.from_ms / 1000, span.to_ms / 1000, "masked"]));
  for (const [from, to, kind] of spans) {
    const [left, wide] = [x(from), Math.max(2, x(to) - x(from))];
    pen.fillStyle = color(`${kind}-back`);
    pen.fillRect(left, top, wide, lane);
    pen.fillStyle = color(kind);
    if (kind === "masked") hatched(pen, left, top, wide, lane);
    else if (kind !== "silence" && kind !== "hold") pen.fillRect(left, top + lane - 5, wide, 5);
    else pen.fillRect(left, top + lane - 2, wide, 2);
  }
}

function hatched(pen, left, top, wide, lane) {
  pen.save();
  pen.beginPath();
  pen.rect(left, top, wide, lane);
  pen.clip();
  pen.strokeStyle = pen.fillStyle;
  pen.beginPath();
  for (let at = left - lane; at < left + wide; at += 7) {
    pen.moveTo(at, top + lane);
    pen.lineTo(at + lane, top);
  }
  pen.stroke();
  pen.restore();
}
