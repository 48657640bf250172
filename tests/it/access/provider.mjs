// An identity provider for tests: oidc-provider, which asks nobody anything and says who it was told that it is.

import { generateKeyPairSync } from "node:crypto";
import http from "node:http";
import Provider from "oidc-provider";

let provider = null;
let user = {};
let issuer = "";
let keys = 0;

function key(alg) {
  const [kind, options] = alg === "RS256" ? ["rsa", { modulusLength: 2048 }] : ["ec", { namedCurve: "P-256" }];
  const { privateKey } = generateKeyPairSync(kind, options);
  return { ...privateKey.export({ format: "jwk" }), use: "sig", alg, kid: `key-${(keys += 1)}` };
}

function make({ redirect, alg }) {
  const client = {
    client_id: "sejf",
    client_secret: "a secret & more: %",
    redirect_uris: [redirect],
    response_types: ["code"],
    grant_types: ["authorization_code"],
    id_token_signed_response_alg: alg,
  };
  const claims = (id) => ({ sub: id, email: `${id}@example.org`, email_verified: true });
  return new Provider(issuer, {
    clients: [client],
    jwks: { keys: [key(alg)] },
    cookies: { keys: ["of a test"] },
    claims: { openid: ["sub", "amr", "auth_time"], email: ["email", "email_verified"] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    findAccount: (_, id) => ({ accountId: id, claims: () => claims(id) }),
  });
}

async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    const login = { accountId: user.sub, amr: user.amr };
    return provider.interactionFinished(request, response, { login });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope("openid email");
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

async function told(request) {
  let text = "";
  for await (const part of request) text += part;
  return JSON.parse(text);
}

const server = http.createServer(async (request, response) => {
  try {
    if (request.url === "/test/make") provider = make(await told(request));
    else if (request.url === "/test/user") user = await told(request);
    else if (request.url.startsWith("/interaction/")) return await interact(request, response);
    else return provider.callback()(request, response);
    return response.end("{}");
  } catch (thrown) {
    response.statusCode = 500;
    return response.end(String(thrown?.stack ?? thrown));
  }
});
server.listen(0, "127.0.0.1", () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  console.log(issuer);
});
