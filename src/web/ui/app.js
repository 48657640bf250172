// The page: who is there, where they are, what stands around it.

import * as account from "./account.js";
import { explain, get, signOut as endSession } from "./api.js";
import * as approvals from "./approvals.js";
import { announce, button, h, heading, put, replace } from "./dom.js";
import * as exporting from "./exports.js";
import * as holds from "./holds.js";
import * as keys from "./keys.js";
import * as live from "./live.js";
import * as log from "./log.js";
import * as media from "./media.js";
import * as recording from "./recording.js";
import * as retention from "./retention.js";
import * as review from "./review.js";
import * as sampling from "./sampling.js";
import * as search from "./search.js";
import * as signIn from "./sign_in.js";
import * as stock from "./stock.js";
import { language, setLanguage, t } from "./strings.js";
import * as users from "./users.js";

const KEEPS = ["operator", "compliance", "custodian", "auditor"];
const MATTERS = ["compliance", "custodian", "auditor", "dpo"];
// Where one can be. `for` is the roles that have something there.
const PLACES = [
  { path: "recordings", label: "nav.recordings", for: ["reviewer", "compliance", "auditor", "dpo"], show: search.show },
  { path: "live", label: "nav.live", for: ["operator", "reviewer", "compliance"], show: live.show },
  { path: "sampling", label: "nav.sampling", for: ["reviewer"], show: sampling.show },
  { path: "holds", label: "nav.holds", for: MATTERS, show: holds.show },
  { path: "exports", label: "nav.exports", for: MATTERS, show: exporting.show },
  { path: "retention", label: "nav.retention", for: MATTERS, show: retention.show },
  { path: "approvals", label: "nav.approvals", for: [...MATTERS, "admin"], show: approvals.show },
  { path: "copies", label: "nav.copies", for: KEEPS, show: stock.show },
  { path: "media", label: "nav.media", for: KEEPS, show: media.show },
  { path: "keys", label: "nav.keys", for: KEEPS, show: keys.show },
  { path: "review", label: "nav.review", for: ["operator", "compliance", "custodian", "auditor", "admin", "dpo"], show: review.show },
  { path: "log", label: "nav.log", for: ["auditor"], show: log.show },
  { path: "users", label: "nav.users", for: ["admin", "auditor"], show: users.show },
  { path: "account", label: "nav.account", for: null, show: account.show },
];
const THEMES = ["auto", "light", "dark"];
const THEME = "sejf.theme";

let me = null;
let leave = null;
let turn = 0;

const may = (place) => me && (!place.for || place.for.some((role) => me.roles[role]));
const parts = () => location.hash.replace(/^#\/?/, "").split("/");

function theme() {
  const kept = localStorage.getItem(THEME);
  return THEMES.includes(kept) ? kept : "auto";
}

function settings() {
  document.documentElement.lang = language();
  document.documentElement.dataset.theme = theme();
}

function frame(main) {
  settings();
  const place = parts()[0] || "recordings";
  const links = PLACES.filter(may).map((one) => {
    const current = one.path === place && "page";
    return h("li", {}, h("a", { href: `#/${one.path}`, "aria-current": current }, t(one.label)));
  });
  const look = button("", { onclick: nextTheme });
  named(look);
  const header = h(
    "header",
    { class: "top" },
    h("a", { class: "skip", href: "#main", onclick: skip }, t("skip")),
    h("span", { class: "brand" }, h("img", { src: "/ui/icon.svg", alt: "", width: 22, height: 22 }), "Sejf"),
    links.length > 0 && h("nav", { "aria-label": t("nav") }, h("ul", {}, links)),
    h(
      "div",
      { class: "who" },
      me && h("span", { class: "user" }, me.user),
      button(t("language.other"), {
        id: "language",
        lang: language() === "pl" ? "en" : "pl",
        onclick: nextLanguage,
      }),
      look,
      me && button(t("signOut"), { onclick: signOut }),
    ),
  );
  replace(document.body, header, main, h("div", { id: "live", role: "status", class: "unseen" }));
}

function skip(event) {
  event.preventDefault();
  document.querySelector("h1")?.focus();
}

function named(look) {
  look.textContent = t(`theme.${theme()}`);
  look.setAttribute("aria-label", t("theme.is", { theme: look.textContent }));
}

// What is heard goes on.
function nextTheme({ currentTarget }) {
  localStorage.setItem(THEME, THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
  settings();
  named(currentTarget);
  dispatchEvent(new Event("sejf-theme"));
}

function nextLanguage() {
  setLanguage(language() === "pl" ? "en" : "pl");
  route().then(() => document.getElementById("language")?.focus());
}

async function signOut() {
  await endSession();
  forget();
  location.hash = "#/";
  route();
}

// Nothing of what was seen stays for whoever comes next.
function forget() {
  me = null;
  search.forget();
  recording.forget();
  sampling.forget();
}

async function route() {
  const mine = (turn += 1);
  leave?.();
  leave = null;
  const [name, more] = parts();
  const main = h("main", { id: "main" });
  if (name === "enrol" && more) {
    // Not to be found in the browser's history.
    history.replaceState(null, "", "#/enrol");
    forget();
    frame(main);
    return arrive(main, signIn.enrol(more, () => enter("#/")));
  }
  if (location.pathname === "/oidc") {
    // Neither the code nor the way back stays in the browser's history.
    const came = new URLSearchParams(location.search);
    history.replaceState(null, "", "/");
    forget();
    frame(main);
    return arrive(main, signIn.finish(came, () => enter("#/")));
  }
  if (!me) me = await get("/api/v1/me").catch(() => null);
  if (mine !== turn) return;
  frame(main);
  if (!me) return arrive(main, signIn.show(() => enter(location.hash)));
  const place = PLACES.find((one) => one.path === (name || "recordings"));
  const home = PLACES.find(may);
  if (!place || (!may(place) && !more)) {
    location.replace(`#/${home.path}`);
    return;
  }
  const context = {
    me,
    refresh: route,
    // Of a place that arrives after it was left, it is time already.
    onLeave: (done) => (mine === turn ? (leave = done) : done()),
    change: (now) => Object.assign(me, now),
  };
  try {
    const shown = name === "recordings" && more ? recording.show(context, more) : place.show(context, more);
    put(main, h("p", { class: "busy" }, t("loading")));
    const content = await shown;
    const below = name === "recordings" && more ? sampling.bar(context, more) : null;
    if (mine === turn) arrive(main, [content, below]);
  } catch (thrown) {
    if (mine === turn) arrive(main, [heading(t("sorry")), h("p", { class: "fault" }, explain(thrown))]);
  }
}

function arrive(main, content) {
  replace(main, content);
  const first = main.querySelector("[autofocus]") ?? main.querySelector("h1");
  first?.focus({ preventScroll: true });
  announce(document.title);
}

function enter(hash) {
  me = null;
  if (location.hash === hash || !hash) route();
  else location.hash = hash;
}

addEventListener("hashchange", route);
addEventListener("sejf-signed-out", () => {
  if (!me) return;
  forget();
  route();
});
settings();
route();
