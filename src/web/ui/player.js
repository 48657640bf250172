// Hearing a recording: both sides drawn above each other, and what is missing of them marked.

import { get } from "./api.js";
import { announce, button, h, option, put, replace } from "./dom.js";
import { length, word } from "./format.js";
import { t } from "./strings.js";
import { draw } from "./waveform.js";

const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5, 2, 3];
const STEP_S = 5;
const FAR_S = 30;
const ALIVE_MS = 4 * 60 * 1000;

// What is seen of it. Nothing is heard before `start`, which takes what was granted. `copies` says which files are
// redacted copies.
export function player(recording, manifest, copies = new Map()) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const slider = h(
    "div",
    { class: "wave", role: "slider", tabindex: 0, "aria-label": t("position"), "aria-valuemin": 0 },
    canvas,
  );
  const clock = h("span", { class: "clock number" });
  const controls = h("div", { class: "controls", hidden: true });
  const said = h("p", { class: "hint", role: "status" });
  const legend = h("p", { class: "legend" });
  const element = h("div", { class: "player", role: "group", "aria-label": t("player") }, slider, legend, controls, said);
  const all = { at: 0, seconds: recording.seconds, peaks: null, loop: [null, null], manifest, silenced: [] };
  const audio = h("audio", { preload: "auto" });
  put(element, audio);
  const view = { all, audio, canvas, clock, controls, copies, element, legend, said, slider };
  explained(view);
  const observer = new ResizeObserver(() => paint(view));
  observer.observe(slider);
  const jump = (event) => {
    const to = event.target.closest?.("[data-jump]")?.dataset.jump;
    if (to === undefined) return;
    seek(view, Number(to));
    slider.focus();
  };
  document.addEventListener("click", jump);
  const theme = matchMedia("(prefers-color-scheme: dark)");
  const repaint = () => paint(view);
  theme.addEventListener("change", repaint);
  addEventListener("sejf-theme", repaint);
  listen(view);
  show(view);
  // Who listens is there: the session does not end for want of a click.
  const alive = setInterval(() => audio.paused || get("/api/v1/me").catch(() => null), ALIVE_MS);
  const stop = () => {
    clearInterval(alive);
    observer.disconnect();
    document.removeEventListener("click", jump);
    theme.removeEventListener("change", repaint);
    removeEventListener("sejf-theme", repaint);
    audio.pause();
    audio.removeAttribute("src");
    audio.load();
  };
  return { element, stop, start: (play) => start(view, play), loop: () => [...all.loop], setCopies: (now) => (view.copies = now), isStarted: () => !controls.hidden };
}

// Kinds of what is marked, each once.
function explained({ all: { manifest, silenced }, legend }) {
  const kinds = new Set((manifest?.gaps ?? []).map((gap) => gap.reason));
  if (manifest?.masked?.length || silenced.length > 0) kinds.add("masked");
  replace(legend, [...kinds].sort().map((kind) => h("span", {}, h("i", { class: `key ${kind}` }), word("gap", kind))));
}

async function start(view, play) {
  const { controls, element, slider } = view;
  build(view, play);
  controls.hidden = false;
  slider.focus();
  element.dataset.trace = play.trace;
  // The original first, as it was recorded.
  await hear(view, play.files.find((file) => !view.copies.has(file.name)) ?? play.files[0]);
}

// Hears one of the files, from where one is.
async function hear(view, file) {
  const { all, audio, copies, said } = view;
  const mine = (view.turn = (view.turn ?? 0) + 1);
  all.peaks = null;
  all.silenced = copies.get(file.name)?.spans ?? [];
  explained(view);
  audio.src = file.url;
  if (all.at > 0) audio.currentTime = all.at;
  paint(view);
  await audio.play().catch(() => (said.textContent = t("play.blocked")));
  said.textContent = t("wave.reading");
  const peaks = await get(`${file.url}/peaks`).catch(() => null);
  if (mine !== view.turn) return;
  all.peaks = peaks;
  said.textContent = peaks ? "" : t("wave.none");
  paint(view);
}

function build(view, play) {
  const { all, audio, clock, controls, said, slider } = view;
  const toggle = button(t("play"), { class: "main toggle", onclick: () => playOrPause(view) });
  const label = () => (toggle.textContent = t(audio.paused ? "pause.not" : "pause"));
  for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, label);
  const speed = h("select", { "aria-label": t("speed"), class: "speed" });
  put(speed, SPEEDS.map((one) => option(one, `${one}×`, one === 1)));
  speed.addEventListener("change", () => (audio.playbackRate = Number(speed.value)));
  audio.addEventListener("ratechange", () => (speed.value = String(audio.playbackRate)));
  audio.addEventListener("error", () => (said.textContent = t("play.failed")));
  const loop = (place) => () => setLoop(view, place);
  const files = play.files.length > 1 && h("select", { "aria-label": t("file"), class: "files" });
  if (files) {
    put(files, play.files.map((file) => {
      const copy = view.copies.get(file.name);
      return option(file.url, copy ? t("file.copy", { number: copy.version }) : t("file.original"));
    }));
    files.value = (play.files.find((file) => !view.copies.has(file.name)) ?? play.files[0]).url;
    files.addEventListener("change", () => hear(view, play.files.find((file) => file.url === files.value)));
  }
  replace(
    controls,
    toggle,
    button(t("back"), { onclick: () => seek(view, all.at - STEP_S), "aria-label": t("back.is") }),
    button(t("forward"), { onclick: () => seek(view, all.at + STEP_S), "aria-label": t("forward.is") }),
    clock,
    h("span", { class: "group" },
      speed,
      button(t("loop.from"), { onclick: loop(0) }),
      button(t("loop.to"), { onclick: loop(1) }),
      button(t("loop.clear"), { onclick: loop(null) })),
    files,
    h("details", { class: "keys" }, h("summary", {}, t("keys")), h("p", {}, t("keys.are"))),
  );
  slider.title = t("keys.are");
}

function listen(view) {
  const { all, audio, element, slider } = view;
  let frame = 0;
  const step = () => {
    all.at = audio.currentTime;
    const [from, to] = all.loop;
    if (from !== null && to !== null && (all.at >= to || audio.ended)) {
      audio.currentTime = all.at = from;
      if (audio.ended) audio.play();
    }
    show(view);
  };
  const tick = () => {
    step();
    frame = audio.paused ? 0 : requestAnimationFrame(tick);
  };
  audio.addEventListener("play", () => (frame ||= requestAnimationFrame(tick)));
  // Also where nothing is drawn, because the tab is behind others.
  audio.addEventListener("timeupdate", step);
  audio.addEventListener("loadedmetadata", () => {
    if (Number.isFinite(audio.duration)) all.seconds = Math.max(all.seconds, audio.duration);
    show(view);
  });
  const point = (event) => {
    const box = slider.getBoundingClientRect();
    seek(view, ((event.clientX - box.left) / box.width) * all.seconds);
  };
  slider.addEventListener("pointerdown", (event) => {
    slider.setPointerCapture(event.pointerId);
    point(event);
    // From where it is pressed to where it is let go: a loop, or what is to be silenced.
    view.from = event.shiftKey ? all.at : null;
    if (event.shiftKey) all.loop = [all.at, null];
  });
  slider.addEventListener("pointerup", () => {
    if (view.from === null || view.from === undefined) return;
    const [from, to] = [Math.min(view.from, all.at), Math.max(view.from, all.at)];
    all.loop = to - from > 0.05 ? [from, to] : [null, null];
    view.from = null;
    announce(t("loop.is", { from: length(from, true), to: length(to, true) }));
    paint(view);
  });
  slider.addEventListener("pointermove", (event) => event.buttons === 1 && point(event));
  element.addEventListener("keydown", (event) => key(view, event));
}

// Keys count where the player has the focus: elsewhere they are the reader's own.
function key(view, event) {
  const { all, audio, slider } = view;
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const onSlider = event.target === slider;
  if (!onSlider && ["SELECT", "INPUT", "SUMMARY"].includes(event.target.tagName)) return;
  const acts = {
    ArrowLeft: () => seek(view, all.at - STEP_S),
    ArrowRight: () => seek(view, all.at + STEP_S),
    ArrowDown: () => seek(view, all.at - STEP_S),
    ArrowUp: () => seek(view, all.at + STEP_S),
    PageDown: () => seek(view, all.at - FAR_S),
    PageUp: () => seek(view, all.at + FAR_S),
    Home: () => seek(view, 0),
    End: () => seek(view, all.seconds),
    "+": () => faster(audio, 1),
    "-": () => faster(audio, -1),
    "[": () => setLoop(view, 0),
    "]": () => setLoop(view, 1),
    "\\": () => setLoop(view, null),
  };
  // A button has its own space.
  if (onSlider) acts[" "] = () => playOrPause(view);
  const act = acts[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function playOrPause({ audio }) {
  if (!audio.hasAttribute("src")) return;
  if (audio.paused) audio.play();
  else audio.pause();
}

function faster(audio, by) {
  const place = SPEEDS.findIndex((speed) => speed >= audio.playbackRate);
  audio.playbackRate = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, place + by))];
  announce(`${audio.playbackRate}×`);
}

function setLoop(view, place) {
  const { all } = view;
  if (place === null) all.loop = [null, null];
  else all.loop[place] = all.at;
  const [from, to] = all.loop;
  if (from !== null && to !== null && from >= to) all.loop[1 - place] = null;
  announce(t(place === null ? "loop.none" : "loop.set", { at: length(all.at, true) }));
  paint(view);
}

function seek(view, to) {
  const { all, audio } = view;
  all.at = Math.min(all.seconds, Math.max(0, to));
  if (audio.hasAttribute("src")) audio.currentTime = all.at;
  show(view);
}

function show(view) {
  const { all, clock, slider } = view;
  const text = `${length(all.at, true)} / ${length(all.seconds, true)}`;
  if (clock.textContent !== text) clock.textContent = text;
  slider.setAttribute("aria-valuemax", Math.round(all.seconds));
  slider.setAttribute("aria-valuenow", Math.round(all.at));
  slider.setAttribute("aria-valuetext", t("position.is", { at: length(all.at), of: length(all.seconds) }));
  paint(view);
}

function paint({ all, canvas }) {
  draw(canvas, all);
}
