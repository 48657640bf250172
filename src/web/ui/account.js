// Who one is: roles, second factor, tokens.

import { explain, get, proven, stepUp } from "./api.js";
import { announce, ask, button, field, h, heading, option, put, table } from "./dom.js";
import { time, word } from "./format.js";
import * as security from "./security.js";
import { t } from "./strings.js";
import { rolesOf } from "./users.js";

const FOR = ["search", "show", "read-log", "list-users"];

export async function show(context) {
  const me = await get("/api/v1/me");
  context.change(me);
  const facts = h("dl", { class: "facts" });
  const fact = (label, ...value) => put(facts, h("div", {}, h("dt", {}, label), h("dd", {}, value)));
  fact(t("user"), me.user);
  fact(t("vault"), me.vault);
  fact(t("roles"), rolesOf(me.roles));
  fact(t("session.begun"), time(me.session.begun));
  fact(t("session.ends"), time(me.session.ends));
  fact(t("session.factor"), me.session.second_factor ? time(me.session.second_factor) : t("unknown"));
  fact(t("recovery.left"), me.recovery_codes, me.recovery_codes < 3 && h("span", { class: "hint" }, t("recovery.few")));
  if (me.session.glass_broken_until) fact(t("glass.until"), time(me.session.glass_broken_until));
  const again = button(t("stepUp"), { onclick: async () => (await stepUp()) && context.refresh() });
  const hears = me.roles.reviewer || me.roles.compliance;
  return [
    heading(t("nav.account")),
    facts,
    h("p", { class: "actions" }, again, hears && button(t("glass"), { class: "danger", onclick: () => breakGlass(context) })),
    await security.show(context, me),
    tokens(context, me),
  ];
}

async function breakGlass(context) {
  const codes = h("select", { name: "code", required: true }, option("", t("choose")));
  put(codes, context.me.reason_codes.map((code) => option(code, word("reason", code))));
  const text = h("input", { name: "text", required: true, maxlength: 500, autocomplete: "off" });
  const content = [h("p", {}, t("glass.why")), field(t("reason"), codes), field(t("reason.text"), text)];
  const act = (form) => {
    const reason = { code: form.get("code"), text: form.get("text").trim() };
    return proven("POST", "/api/v1/break-glass", { reason });
  };
  if (await ask(t("glass"), content, t("glass"), act, explain)) context.refresh();
}

function tokens(context, me) {
  const rows = me.tokens.map((token) => {
    const revoke = button(t("revoke"), {
      class: "danger",
      "aria-label": t("revoke.of", { label: token.label }),
      onclick: async () => {
        await proven("DELETE", `/api/v1/tokens/${token.number}`).catch((thrown) => announce(explain(thrown)));
        context.refresh();
      },
    });
    return [token.label, token.only.map((one) => h("span", { class: "tag" }, word("token", one))), time(token.until), revoke];
  });
  const columns = ["token.label", "token.only", "until", "actions"].map((key) => t(key));
  return h(
    "section",
    { "aria-labelledby": "tokens" },
    h("h2", { id: "tokens" }, t("tokens")),
    h("p", { class: "hint" }, t("tokens.how")),
    rows.length > 0 && table(t("tokens"), columns, rows),
    h("p", { class: "actions" }, button(t("token.make"), { onclick: () => make(context) })),
  );
}

async function make(context) {
  const boxes = FOR.map((one) =>
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "only", value: one }), " ", word("token", one)),
  );
  const days = h("input", { name: "days", type: "number", min: 1, max: 90, value: 30, required: true });
  const content = [
    field(t("token.label"), h("input", { name: "label", required: true, maxlength: 64, autocomplete: "off" })),
    h("fieldset", {}, h("legend", {}, t("token.only")), boxes),
    field(t("token.days"), days),
  ];
  const done = await ask(t("token.make"), content, t("token.make"), (form) => {
    const body = { label: form.get("label").trim(), only: form.getAll("only"), days: Number(form.get("days")) };
    return proven("POST", "/api/v1/tokens", body);
  }, explain);
  if (!done) return;
  const shown = h("textarea", { readonly: true, rows: 2, class: "uri" }, done.token);
  await ask(t("token.made"), [h("p", {}, t("token.once")), field(t("token"), shown)], t("done"), () => true, explain);
  context.refresh();
}
