// What was said of a recording later, and saying something. The recording itself is never changed.

import { explain, get, proven } from "./api.js";
import { announce, button, field, h, option, put, replace, table } from "./dom.js";
import { length, time, word } from "./format.js";
import { reasonFields, reasonOf } from "./reason.js";
import { t } from "./strings.js";

const KINDS = ["note", "labels", "agents", "correction", "redacted"];
const FIELDS = ["caller", "callee", "from", "to", "trunk"];

const path = (id) => `/api/v1/recordings/${encodeURIComponent(id)}/versions`;

export const history = (id) => get(path(id));

// Which file of sound is a copy of which version, and what nobody hears in it.
export function copiesOf(told) {
  const made = (told?.versions ?? []).filter((version) => version.kind === "redacted");
  return new Map(made.map(({ version, change: { redacted } }) => [redacted.file.name, { version, spans: redacted.spans }]));
}

// The section. `view` is the player, whose loop is a span to be silenced; `changed` is told when something was said.
export function versions(context, one, told, fault, view, changed) {
  const section = h("section", { class: "versions", "aria-labelledby": "versions" }, h("h2", { id: "versions" }, t("versions")));
  if (!told) {
    section.append(h("p", { class: "hint" }, explain(fault)));
    return section;
  }
  const list = h("div", {});
  const show = (now) => replace(list, shown(now));
  show(told);
  section.append(list);
  if (context.me.roles.reviewer || context.me.roles.compliance) {
    const adding = h("details", { class: "adding" }, h("summary", {}, t("version.add")));
    const state = { told };
    const draw = (kind) => {
      const made = form(context, one, state, view, kind, draw, async (version) => {
        await refresh();
        announce(t("version.added", { number: version }));
        draw(kind);
        adding.open = false;
        adding.querySelector("summary").focus();
      }, refresh);
      const old = adding.querySelector("form");
      if (old) old.replaceWith(made);
      else adding.append(made);
    };
    const refresh = async () => {
      state.told = await history(one.id);
      show(state.told);
      await changed(state.told);
    };
    draw("note");
    section.append(adding);
  }
  return section;
}

function shown(told) {
  if (told.versions.length === 0) return h("p", { class: "hint" }, t("versions.none"));
  const columns = ["version", "log.at", "version.author", "version.what", "reason"].map((key) => t(key));
  const rows = [...told.versions].reverse().map((version) => [
    h("span", { class: "number" }, version.version),
    time(version.at),
    version.author,
    said(version),
    [word("reason", version.reason.code), version.reason.text && h("span", { class: "hint" }, ` ${version.reason.text}`)],
  ]);
  return table(t("versions"), columns, rows);
}

function said({ kind, change, before }) {
  const name = h("strong", {}, word("version", kind));
  if (kind === "note") return [name, h("p", { class: "note" }, change.note.text)];
  if (kind === "labels" || kind === "agents") {
    const { add, remove } = change[kind];
    const was = before?.length > 0 && h("span", { class: "hint" }, t("version.before", { names: before.join(", ") }));
    return [name, " ", add.map((one) => h("span", { class: "tag put" }, "+ ", one)), remove.map((one) => h("span", { class: "tag taken" }, "− ", one)), was];
  }
  if (kind === "correction") {
    const { field: of, was, is } = change.correction;
    return [name, " ", word("field", of), ": ", h("del", {}, was || t("nothing")), " → ", h("ins", {}, is || t("nothing"))];
  }
  const spans = change.redacted.spans.map((span) => h(
    "button",
    { type: "button", class: "plain number", "data-jump": span.from_ms / 1000, title: t("mark.jump", { at: length(span.from_ms / 1000, true) }) },
    `${length(span.from_ms / 1000, true)}–${length(span.to_ms / 1000, true)}`,
  ));
  return [name, " ", spans];
}

function form(context, one, state, view, kind, draw, done, refresh) {
  const kinds = h("select", { name: "kind" }, KINDS.filter((name) => name !== "redacted" || one.audio.length > 0).map((name) => option(name, word("version", name), name === kind)));
  const fault = h("p", { class: "fault", role: "alert" });
  const go = h("button", { type: "submit", class: "main" }, t("version.save"));
  const { content, body } = PARTS[kind](state.told, view, one);
  const made = h("form", { class: "say" }, field(t("version.kind"), kinds), content, reasonFields(context), fault, h("div", { class: "actions" }, go));
  kinds.addEventListener("change", () => {
    draw(kinds.value);
    document.querySelector("select[name=kind]")?.focus();
  });
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = new FormData(made);
    go.disabled = true;
    fault.textContent = "";
    try {
      const sent = { kind, after: state.told.number, ...body(given), reason: reasonOf(given) };
      const { version } = await proven("POST", path(one.id), sent);
      await done(version);
    } catch (thrown) {
      if (thrown.kind !== "cancelled") fault.textContent = explain(thrown);
      // What another has said meanwhile is seen before it is said again.
      if (thrown.kind === "meanwhile") await refresh().catch(() => null);
    }
    go.disabled = false;
  });
  return made;
}

const names = (text) => String(text ?? "").split(",").map((name) => name.trim()).filter(Boolean);

function named(current) {
  return () => {
    const add = h("input", { name: "add", maxlength: 500, autocomplete: "off" });
    const off = current.map((name) => h("label", { class: "check" }, h("input", { type: "checkbox", name: "remove", value: name }), " ", name));
    const content = [
      field(t("version.put"), add, t("version.names")),
      off.length > 0 && h("fieldset", {}, h("legend", {}, t("version.take")), off),
    ];
    return { content, body: (given) => ({ add: names(given.get("add")), remove: given.getAll("remove") }) };
  };
}

const PARTS = {
  note: () => ({
    content: field(t("version.note"), h("textarea", { name: "text", rows: 3, required: true, maxlength: 8000 })),
    body: (given) => ({ text: given.get("text").replaceAll("\r\n", "\n").trim() }),
  }),
  labels: (told) => named(told.now.tags ?? [])(),
  agents: (told) => named(told.now.agents ?? [])(),
  correction: (told) => {
    const which = h("select", { name: "field" }, FIELDS.map((name) => option(name, word("field", name))));
    const was = h("output", { class: "was uri" });
    const show = () => (was.textContent = told.now[which.value] || t("nothing"));
    which.addEventListener("change", show);
    show();
    const is = h("input", { name: "is", maxlength: 1000, autocomplete: "off", spellcheck: "false" });
    const content = [field(t("version.field"), which), field(t("version.was"), was), field(t("version.is"), is, t("version.is.hint"))];
    return { content, body: (given) => ({ field: given.get("field"), was: told.now[given.get("field")] ?? "", is: given.get("is").trim() }) };
  },
  redacted: (told, view, one) => spans(view, one),
};

// Spans are taken from the waveform's loop, or typed in seconds.
function spans(view, one) {
  const rows = h("div", { class: "spans" });
  const add = (from, to) => {
    const inputs = ["from_s", "to_s"].map((name, place) => {
      const key = place === 0 ? "version.from" : "version.to";
      const input = h("input", { name, required: true, inputmode: "decimal", pattern: "\\d+([.,]\\d{1,3})?", autocomplete: "off" });
      input.value = [from, to][place] ?? "";
      return field(t(key), input);
    });
    const row = h("div", { class: "span" }, inputs, button(t("version.drop"), { onclick: () => row.remove() }));
    rows.append(row);
    return row;
  };
  const said = h("p", { class: "hint", role: "status" }, t("version.span.hint", { length: length(one.seconds, true) }));
  const take = () => {
    const [from, to] = view.loop();
    if (from === null || to === null) {
      said.textContent = t("version.noLoop");
      return;
    }
    for (const row of rows.querySelectorAll(".span")) if ([...row.querySelectorAll("input")].every((input) => !input.value)) row.remove();
    add(from.toFixed(2), to.toFixed(2));
    said.textContent = t("version.taken", { from: length(from, true), to: length(to, true) });
  };
  add();
  const content = h(
    "fieldset",
    {},
    h("legend", {}, t("version.spans")),
    said,
    rows,
    h("div", { class: "actions" }, button(t("version.take.loop"), { onclick: take }), button(t("version.more"), { onclick: () => add().querySelector("input").focus() })),
  );
  const plain = (text) => text.trim().replace(",", ".");
  const body = (given) => {
    const to = given.getAll("to_s");
    return { spans: given.getAll("from_s").map((from, place) => `${plain(from)}-${plain(to[place])}`) };
  };
  return { content, body };
}
