// Elements. What is shown is text: nothing that somebody has put into a name becomes markup or an address.

import { t } from "./strings.js";

// Makes an element. Attributes that begin with `on` are listeners; `true` is an attribute without value.
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

// The same for drawings.
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  put(element, ...children);
  return element;
}

// Appends text and elements; what is nothing is left out.
export function put(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

export function replace(element, ...children) {
  element.replaceChildren();
  put(element, ...children);
}

let count = 0;

// A control under its label, with a hint where there is one.
export function field(label, control, hint) {
  const id = `f${(count += 1)}`;
  control.id = id;
  const told = hint && h("span", { class: "hint", id: `${id}-hint` }, hint);
  if (told) control.setAttribute("aria-describedby", `${id}-hint`);
  return h("div", { class: "field" }, h("label", { for: id }, label), control, told);
}

// The heading of a page, which is its title as well.
export function heading(text) {
  document.title = `${text} · Sejf`;
  return h("h1", { tabindex: "-1" }, text);
}

export function option(value, label, selected) {
  return h("option", { value, selected }, label);
}

// Text of a program that is long: seen where somebody wants to.
export function folded(text, label) {
  if (text.length <= 40) return h("code", { class: "uri" }, text);
  return h("details", {}, h("summary", {}, label), h("code", { class: "uri" }, text));
}

export function button(label, attributes = {}) {
  return h("button", { type: "button", ...attributes }, label);
}

// A table that becomes a list of cards where there is little room, unless it is a brief one: each cell knows its column.
export function table(caption, columns, rows, attributes = {}) {
  const head = h("tr", { role: "row" }, columns.map((column) => h("th", { scope: "col", role: "columnheader" }, column)));
  const body = h("tbody", { role: "rowgroup" });
  // The roles are said, because a browser forgets them where the rows are drawn as cards.
  const made = h("table", { role: "table", ...attributes }, h("caption", { class: "unseen" }, caption), h("thead", { role: "rowgroup" }, head), body);
  rows.forEach((cells) => addRow(made, columns, cells));
  return made;
}

export function addRow(made, columns, cells) {
  // Several things in a cell stay together where it is drawn as a line of a card.
  const whole = (cell) => (Array.isArray(cell) && cell.length > 1 ? h("div", {}, cell) : cell);
  const row = cells.map((cell, place) => h("td", { role: "cell", "data-column": columns[place] }, whole(cell)));
  made.tBodies[0].append(h("tr", { role: "row" }, row));
}

// Says something to who does not see it.
export function announce(text) {
  const live = document.getElementById("live");
  if (live) live.textContent = text;
}

// Asks in a dialog. `act` gets the form's data; what it throws is shown, and the dialog stays.
export function ask(title, content, label, act, explain) {
  return new Promise((settle) => {
    const fault = h("p", { class: "fault", role: "alert" });
    const go = h("button", { type: "submit", class: "main" }, label);
    const close = button(t("cancel"), { onclick: () => dialog.close() });
    const form = h("form", { method: "dialog" }, h("h2", { id: "dialog-title" }, title), content, fault);
    put(form, h("div", { class: "actions" }, go, close));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    let done = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      go.disabled = true;
      fault.textContent = "";
      try {
        done = (await act(new FormData(form))) ?? true;
        dialog.close();
      } catch (thrown) {
        fault.textContent = explain(thrown);
      }
      go.disabled = false;
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      settle(done);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
