// Times and lengths as people read them.

import { h } from "./dom.js";
import { language, t } from "./strings.js";

const locale = () => (language() === "pl" ? "pl-PL" : "en-GB");

// A time in the local zone; in UTC where somebody points at it.
export function time(stamp, options = { dateStyle: "medium", timeStyle: "medium" }) {
  const at = new Date(stamp);
  if (Number.isNaN(at.getTime())) return String(stamp);
  const local = new Intl.DateTimeFormat(locale(), options).format(at);
  return h("time", { datetime: at.toISOString(), title: utc(stamp) }, local);
}

export function utc(stamp) {
  return `${new Date(stamp).toISOString().replace("T", " ").replace(/\.\d+Z$/, "")} UTC`;
}

// 1:02:03 or 2:03; with tenths where they matter.
export function length(seconds, tenths = false) {
  const whole = Math.max(0, tenths ? Math.floor(seconds * 10) / 10 : Math.round(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const rest = whole % 60;
  const shown = tenths ? rest.toFixed(1).padStart(4, "0") : two(rest);
  return hours ? `${hours}:${two(minutes)}:${shown}` : `${minutes}:${shown}`;
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: digits, minimumFractionDigits: digits }).format(value);
}

// A word of the vault's that people know under another.
export function word(kind, value) {
  return t(`${kind}.${value}`, {}, String(value ?? ""));
}

// 12.3 MB; in the units of disks.
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const unit = value < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  return `${number(value / 1000 ** unit, unit === 0 ? 0 : 1)} ${units[unit]}`;
}
