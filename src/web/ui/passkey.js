// Passkeys: the browser's part. What it asks them with comes from the vault, and what they answer goes there.

import { Problem } from "./api.js";

// An address has no passkeys, only a name has.
export function usable() {
  const isName = !/^[\d.]+$|:/.test(location.hostname);
  return isName && Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON);
}

export async function create(options) {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  return answer(() => navigator.credentials.create({ publicKey }));
}

export async function use(options) {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return answer(() => navigator.credentials.get({ publicKey }));
}

async function answer(ask) {
  try {
    return (await ask()).toJSON();
  } catch (thrown) {
    const kind = thrown.name === "InvalidStateError" ? "passkey-known" : "passkey-cancelled";
    throw new Problem(0, kind, thrown.message, 0);
  }
}
