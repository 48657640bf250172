// Why something is done: a code of the vault's, and a ticket or text. The log has it.

import { field, h, option, put } from "./dom.js";
import { word } from "./format.js";
import { t } from "./strings.js";

// Fields of a form.
export function reasonFields(context, chosen = "") {
  const codes = h("select", { name: "code", required: true }, option("", t("choose"), !chosen));
  put(codes, context.me.reason_codes.map((code) => option(code, word("reason", code), code === chosen)));
  const text = h("input", { name: "why", maxlength: 500, autocomplete: "off" });
  return [field(t("reason"), codes), field(t("reason.text"), text, t("reason.hint"))];
}

// What was given in them.
export function reasonOf(form) {
  return { code: form.get("code"), text: form.get("why").trim() };
}
