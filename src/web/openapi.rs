//! The OpenAPI 3.1 document, made from the table of routes.

use std::sync::Arc;

use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::archive::access::Role;
use crate::web::call::{Call, ok};
use crate::web::problem::Problem;
use crate::web::shared::Shared;
use crate::web::table::{Field, Kind, ROUTES, Route, Rule};

/// Serves it.
pub(super) async fn serve(_: Arc<Shared>, _: Call) -> Result<Response, Problem> {
    Ok(ok(&document()))
}

/// All of it.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES.iter().filter(|route| route.rule != Rule::Public) {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sejf vault",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "With a cookie, whatever changes something takes the headers Origin and Sejf-CSRF. Errors \
                            are RFC 9457, told apart by their `type`.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "session": { "type": "apiKey", "in": "cookie", "name": crate::web::sign_in::COOKIE },
                "token": { "type": "http", "scheme": "bearer" },
            },
            "schemas": { "Problem": problem(), "Reason": reason(), "Roles": roles() },
            "responses": {
                "Problem": {
                    "description": "Why not.",
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
                },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if !route.changes() {
        parameters.extend(route.fields.iter().map(|field| {
            json!({ "name": field.name, "in": "query", "description": field.about, "schema": schema(field.kind) })
        }));
    }
    let kind = match route.id {
        "sound" => "audio/*",
        "bundle" => "application/x-tar",
        "reviewReport" => "text/html",
        _ => "application/json",
    };
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.about,
        "parameters": parameters,
        "responses": {
            "2XX": { "description": "Done.", "content": { kind: {} } },
            "default": { "$ref": "#/components/responses/Problem" },
        },
        "security": security(route),
    });
    if let Rule::Action(action, _) = route.rule {
        operation["x-sejf-action"] = json!(action);
    }
    if route.changes() && !route.fields.is_empty() {
        let body = json!({ "application/json": { "schema": object(route.fields) } });
        operation["requestBody"] = json!({ "required": true, "content": body });
    }
    operation
}

fn security(route: &Route) -> Value {
    match route.rule {
        Rule::Public | Rule::Anybody => json!([]),
        Rule::SignedIn | Rule::Action(..) => json!([{ "session": [] }, { "token": [] }]),
    }
}

fn object(fields: &[Field]) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut schema = schema(field.kind);
        schema["description"] = json!(field.about);
        properties.insert(field.name.into(), schema);
    }
    let required: Vec<_> = fields.iter().filter(|field| field.is_needed).map(|field| field.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn schema(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Number => json!({ "type": "integer", "minimum": 0 }),
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Roles => json!({ "$ref": "#/components/schemas/Roles" }),
        Kind::Passkey => json!({ "type": "object", "required": ["id", "response"] }),
        Kind::Reason => json!({ "$ref": "#/components/schemas/Reason" }),
    }
}

fn problem() -> Value {
    let text = json!({ "type": "string" });
    let properties = json!({ "type": text, "title": text, "status": { "type": "integer" }, "detail": text });
    json!({ "type": "object", "properties": properties, "required": ["type", "title", "status", "detail"] })
}

fn reason() -> Value {
    let properties = json!({ "code": { "type": "string" }, "text": { "type": "string", "maxLength": 1024 } });
    json!({ "type": "object", "properties": properties, "required": ["code"], "additionalProperties": false })
}

fn roles() -> Value {
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let some = json!({
        "type": "object", "properties": { "teams": texts, "trunks": texts }, "additionalProperties": false,
    });
    let reach = json!({ "oneOf": [{ "const": "all" }, some] });
    let names = Role::ALL.map(Role::as_str);
    json!({ "type": "object", "propertyNames": { "enum": names }, "additionalProperties": reach })
}
