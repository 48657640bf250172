// Recordings that were drawn for a reviewer, and what they say of them: by keyboard, one after the other.

import { explain, get, post } from "./api.js";
import { announce, ask, button, field, h, heading, option, put, replace } from "./dom.js";
import { length, time, word } from "./format.js";
import { t } from "./strings.js";

// What was drawn: also for the bar on a recording's page.
let drawn = null;

export function forget() {
  drawn = null;
}

async function load() {
  drawn = await get("/api/v1/samples");
  return drawn;
}

export async function show(context) {
  const { quarter, of, samples, verdicts } = await load();
  const count = h("p", { class: "count" });
  const tell = () => {
    const judged = samples.filter((one) => one.verdict).length;
    count.textContent = t("sampling.count", { judged, of: samples.length, all: of });
  };
  tell();
  const rows = samples.map((one) => row(context, one, verdicts, tell));
  const rest = rows.find((_, place) => !samples[place].verdict);
  rest?.setAttribute("autofocus", "");
  return [
    heading(t("nav.sampling")),
    h("p", {}, t("sampling.how", { quarter })),
    h("p", { class: "hint" }, t("sampling.keys")),
    count,
    rows.length > 0 ? h("ol", { class: "samples" }, rows) : h("p", {}, t("sampling.none")),
  ];
}

function row(context, one, verdicts, tell) {
  const label = one.details ? t("recording.of", { caller: one.details.caller, callee: one.details.callee }) : one.id;
  const link = h("a", { href: `#/recordings/${one.id}`, tabindex: "-1" }, label);
  const facts = h(
    "span",
    { class: "hint" },
    one.start && time(one.start),
    one.seconds !== null && [" · ", length(one.seconds)],
    !one.there && [" · ", t("sampling.gone")],
    one.there && !one.reached && [" · ", t("problem.reach")],
  );
  const judge = choice(context, one, verdicts, () => {
    tell();
    next(item);
  });
  const item = h("li", { class: "sample", tabindex: "0", "aria-label": label }, h("div", {}, link, " ", facts), judge.element);
  item.addEventListener("keydown", (event) => {
    if (event.target !== item || event.ctrlKey || event.metaKey || event.altKey) return;
    const place = Number(event.key) - 1;
    if (verdicts[place]) judge.give(verdicts[place]);
    else if (event.key === "Enter") location.hash = `#/recordings/${one.id}`;
    else if (event.key === "ArrowDown" || event.key === "j") item.nextElementSibling?.focus();
    else if (event.key === "ArrowUp" || event.key === "k") item.previousElementSibling?.focus();
    else return;
    event.preventDefault();
  });
  return item;
}

// The next one that has no verdict.
function next(item) {
  let other = item.nextElementSibling;
  while (other?.querySelector("[aria-pressed=true]")) other = other.nextElementSibling;
  other?.focus();
}

function choice(context, one, verdicts, done) {
  const element = h("div", { class: "actions", role: "group", "aria-label": t("verdict") });
  const fault = h("p", { class: "fault", role: "alert" });
  const draw = () => {
    const buttons = verdicts.map((verdict, place) =>
      button(`${place + 1} ${word("verdict", verdict)}`, { "aria-pressed": String(one.verdict === verdict), onclick: () => give(verdict) }),
    );
    replace(element, buttons, button(t("verdict.note"), { onclick: noted }), one.version && h("span", { class: "hint" }, t("verdict.noted")), fault);
  };
  const send = async (verdict, more) => {
    const answer = await post(`/api/v1/recordings/${one.id}/verdict`, { verdict, ...more });
    one.verdict = answer.verdict;
    one.version = answer.version ?? one.version;
    announce(`${t("verdict")}: ${word("verdict", answer.verdict)}`);
  };
  const give = async (verdict) => {
    fault.textContent = "";
    try {
      await send(verdict);
    } catch (thrown) {
      fault.textContent = explain(thrown);
      return;
    }
    draw();
    done?.();
  };
  const noted = async () => {
    const kinds = h("select", { name: "verdict", required: true }, verdicts.map((verdict) => option(verdict, word("verdict", verdict), verdict === one.verdict)));
    const note = h("textarea", { name: "note", required: true, rows: 4, maxlength: 4000 });
    const codes = h("select", { name: "code", required: true }, option("", t("choose")));
    put(codes, context.me.reason_codes.map((code) => option(code, word("reason", code), code === "quality")));
    const fields = [field(t("verdict"), kinds), field(t("verdict.note"), note, t("verdict.note.hint")), field(t("reason"), codes)];
    const act = (form) => send(form.get("verdict"), { note: form.get("note").trim(), reason: { code: form.get("code"), text: "" } });
    if (!(await ask(t("verdict.note"), fields, t("save"), act, explain))) return;
    draw();
    done?.();
  };
  draw();
  return { element, give };
}

// Under a recording that was drawn: nothing under others, and before the page Sampling was seen.
export function bar(context, id) {
  const one = drawn?.samples.find((sample) => sample.id === id);
  if (!one || !context.me.roles.reviewer) return null;
  const judge = choice(context, one, drawn.verdicts);
  return h(
    "section",
    { class: "waiting", "aria-labelledby": "verdict" },
    h("h2", { id: "verdict" }, t("verdict")),
    judge.element,
    h("p", {}, h("a", { href: "#/sampling" }, t("sampling.back"))),
  );
}
