//! The description of the API: an OpenAPI 3.1 document (spec.openapis.org/oas/v3.1.1), made of the table and the types
//! and of nothing else. It is the same on every server, so that it can be printed without one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::api::ErrorBody;
use super::endpoint::Endpoint;
use super::shape::Takes;
use super::table;
use crate::flow::permission::Permission;
use crate::identity::proof::{
    HEADER_KEY, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIME, NAMESPACE, SKEW_MAX_SECS,
};

static TEXT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document(table::endpoints())));

/// The description of this server's API as JSON, as it is served and printed.
pub fn text() -> &'static str {
    &TEXT
}

/// The schemas of both directions: a field that may be left out of a request may be always there in an answer.
struct Schemas {
    asked: SchemaGenerator,
    given: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let given = settings.clone().for_serialize().into_generator();
        Self { asked: settings.for_deserialize().into_generator(), given }
    }

    /// All of them by name. A type that goes both ways must have one form (see the test).
    fn into_components(mut self) -> Map<String, Value> {
        let mut all = self.given.take_definitions(true);
        all.extend(self.asked.take_definitions(true));
        all
    }
}

/// The description of these endpoints.
fn document(endpoints: &[Endpoint]) -> Value {
    let mut schemas = Schemas::new();
    let error = schemas.given.subschema_for::<ErrorBody>().to_value();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for endpoint in endpoints {
        let method = endpoint.method.as_str().to_ascii_lowercase();
        paths.entry(endpoint.path).or_default().insert(method, operation(endpoint, &error, &mut schemas));
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Caponier",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "SSH bastion and SSH certificate authority",
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The address that `caponier login` is given." }],
        "tags": tags(endpoints),
        "paths": paths,
        "components": { "schemas": schemas.into_components(), "securitySchemes": security_schemes() },
    })
}

const ABOUT: &str = "Requests are signed with an SSH key (see the security schemes); there are no tokens. \
    `x-caponier-permission` says who may call an operation: `public`, `signed-key` (any acceptable SSH key), `signed-in` \
    (the key has a live sign-in), `watcher` (the setting `sign_in.watchers`, auditors and admins), `auditor` (`sign_in.auditors`, and admins), \
    `killer` (`sign_in.killers`, and admins), `admin` (`sign_in.admins`). \
    Each signed request that changes something works once; sending its bytes again is answered with 409 (`beginSignIn` begins \
    another sign-in, which is nobody else's). Nothing is served \
    beside what is described here: another path answers 404, another method 405, another query parameter or field 400, \
    each with an `ErrorBody`.";

fn tags(endpoints: &[Endpoint]) -> Vec<Value> {
    let mut names: Vec<&str> = Vec::new();
    for name in endpoints.iter().map(|endpoint| tag(endpoint.path)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

/// The first word of the path behind the version.
fn tag(path: &str) -> &str {
    path.split('/').nth(2).unwrap_or_default()
}

fn operation(endpoint: &Endpoint, error: &Value, schemas: &mut Schemas) -> Value {
    let mut takes = Takes::default();
    (endpoint.takes)(&mut takes, &mut schemas.asked);
    let mut operation = json!({
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [tag(endpoint.path)],
        "x-caponier-permission": endpoint.permission.as_str(),
        "security": security(endpoint.permission),
        "responses": responses(endpoint, &takes, error, schemas),
    });
    let mut more = Map::new();
    if !endpoint.details.is_empty() {
        more.insert("description".to_owned(), endpoint.details.into());
    }
    let parameters: Vec<Value> = takes
        .parameters
        .iter()
        .map(|one| {
            json!({
                "name": one.name,
                "in": one.place.as_str(),
                "required": one.required,
                "description": one.description,
                "schema": one.schema,
            })
        })
        .collect();
    if !parameters.is_empty() {
        more.insert("parameters".to_owned(), parameters.into());
    }
    if let Some((content, schema)) = &takes.body {
        let body = json!({ "required": true, "content": { *content: { "schema": schema } } });
        more.insert("requestBody".to_owned(), body);
    }
    if let Some(fields) = operation.as_object_mut() {
        fields.extend(more);
    }
    operation
}

/// Every answer. Errors with the same status are one, with the meanings in a row.
fn responses(endpoint: &Endpoint, takes: &Takes, error: &Value, schemas: &mut Schemas) -> Map<String, Value> {
    let mut responses = Map::new();
    for gives in (endpoint.gives)(&mut schemas.given) {
        let mut response = Map::from_iter([("description".to_owned(), gives.description.into())]);
        if let Some((content, schema)) = &gives.content {
            response.insert("content".to_owned(), json!({ *content: { "schema": schema } }));
        }
        if gives.tagged {
            let tag = json!({ "description": "Send it as `If-None-Match` next time.", "schema": { "type": "string" } });
            response.insert("headers".to_owned(), json!({ "ETag": tag }));
        }
        responses.insert(gives.status.as_str().to_owned(), response.into());
    }
    let mut meanings: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for (status, meaning) in endpoint.errors(takes) {
        let known = meanings.entry(status.as_u16()).or_default();
        if !known.contains(&meaning) {
            known.push(meaning);
        }
    }
    for (status, meaning) in meanings {
        // RFC 9110 section 11.6.1 wants a challenge with every 401.
        let challenge = json!({ "description": "`Caponier`", "schema": { "type": "string" } });
        let headers = if status == 401 { json!({ "WWW-Authenticate": challenge }) } else { json!({}) };
        let response = json!({
            "description": format!("{}.", meaning.join("; ")),
            "headers": headers,
            "content": { "application/json": { "schema": error } },
        });
        responses.insert(status.to_string(), response);
    }
    responses
}

/// The four headers together are one proof.
const SCHEMES: [(&str, &str); 4] = [
    ("signedRequestKey", HEADER_KEY),
    ("signedRequestTime", HEADER_TIME),
    ("signedRequestNonce", HEADER_NONCE),
    ("signedRequestSignature", HEADER_SIGNATURE),
];

fn security(permission: Permission) -> Value {
    match permission {
        Permission::Public => json!([]),
        Permission::SignedKey
        | Permission::SignedIn
        | Permission::Watcher
        | Permission::Auditor
        | Permission::Killer
        | Permission::Admin => {
            let all: Map<String, Value> =
                SCHEMES.iter().map(|(scheme, _)| ((*scheme).to_owned(), json!([]))).collect();
            json!([all])
        }
    }
}

fn security_schemes() -> Map<String, Value> {
    let signature = format!(
        "The SSHSIG blob (OpenSSH PROTOCOL.sshsig) in base64 without armour, with namespace `{NAMESPACE}` and hash \
         SHA-512, over these lines, each ended by a line feed: `caponier-request-v1`, the method, the host of the \
         server's public URL (with `:port` unless it is the scheme's own), the path with query, the time, the nonce, \
         and the SHA-256 of the body in lower-case hex. ssh-agent and `ssh-keygen -Y sign` can make it."
    );
    let about = |header: &str| {
        match header {
        HEADER_KEY => {
            "The public key, `ssh-ed25519 AAAA...`, without comment: Ed25519, ECDSA on a NIST curve, or RSA of 2048 to \
             4096 bits."
                .to_owned()
        }
        HEADER_TIME => {
            format!("The time in Unix seconds, at most {SKEW_MAX_SECS} seconds from the server's.")
        }
        HEADER_NONCE => "43 random characters of A-Z a-z 0-9 _ -, new for each request.".to_owned(),
        _ => signature.clone(),
    }
    };
    let scheme = |header: &str| json!({ "type": "apiKey", "in": "header", "name": header, "description": about(header) });
    SCHEMES.iter().map(|(name, header)| ((*name).to_owned(), scheme(header))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_type_that_goes_both_ways_has_one_form() {
        let mut schemas = Schemas::new();
        for endpoint in table::endpoints() {
            (endpoint.takes)(&mut Takes::default(), &mut schemas.asked);
            (endpoint.gives)(&mut schemas.given);
        }
        let given = schemas.given.take_definitions(true);
        let asked = schemas.asked.take_definitions(true);
        assert!(given.len() >= 3 && asked.len() >= 3, "{given:?} {asked:?}");
        for (name, form) in &asked {
            assert!(given.get(name).is_none_or(|other| other == form), "{name} has two forms: split it");
        }
    }

    #[test]
    fn what_may_be_answered_is_what_is_described() {
        let whole = document(table::endpoints());
        for endpoint in table::endpoints() {
            let method = endpoint.method.as_str().to_ascii_lowercase();
            let described = whole["paths"][endpoint.path][&method]["responses"].as_object().unwrap();
            let described: BTreeSet<u16> = described.keys().map(|status| status.parse().unwrap()).collect();
            let answered = (100..600).filter(|status| endpoint.may_answer((*status).try_into().unwrap()));
            assert_eq!(answered.collect::<BTreeSet<u16>>(), described, "{endpoint:?}");
        }
    }
}
