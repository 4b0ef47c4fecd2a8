//! The arguments of handlers: bodies, queries, ids in paths, headers. Each knows its own form and says so in the
//! description, so that what is described is what is read.

use std::borrow::Cow;
use std::str::FromStr;

use axum::http::{HeaderName, StatusCode, Uri, header};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded;

use super::{Incoming, Input, Json, Parameter, Place, Takes};
use crate::ids::{AlertId, CaseId, GrantId, LockId, NoticeId, RevocationId, SessionId, SignInId};
use crate::web::error::ApiError;

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Input for Json<T> {
    fn describe(takes: &mut Takes, schemas: &mut SchemaGenerator) {
        takes.body = Some(("application/json", schemas.subschema_for::<T>()));
    }

    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        // serde would take an array for a struct too, field by field.
        if incoming.body.trim_ascii_start().first() != Some(&b'{') {
            return Err(ApiError::bad("the request's body is not a JSON object"));
        }
        serde_json::from_slice(&incoming.body).map(Self).map_err(|error| {
            ApiError::bad(format!("the request's body: {error}; the client may be too new or too old"))
        })
    }
}

/// A body as HTML forms send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Input for Form<T> {
    fn describe(takes: &mut Takes, schemas: &mut SchemaGenerator) {
        takes.body = Some(("application/x-www-form-urlencoded", schemas.subschema_for::<T>()));
    }

    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        of_pairs(form_urlencoded::parse(&incoming.body)).map(Self)
    }
}

/// Parameters of the query, one for each field of `T`: text, numbers, `true` and `false`, none of them nested. Their
/// documentation is that of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Input for Query<T> {
    fn describe(takes: &mut Takes, schemas: &mut SchemaGenerator) {
        takes.parameters.extend(fields::<T>(schemas));
    }

    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        // The others are those of other arguments; that there are no strange ones was judged before.
        let own: Vec<String> =
            fields::<T>(&mut SchemaGenerator::default()).into_iter().map(|field| field.name).collect();
        let pairs = incoming.query.iter().filter(|(name, _)| own.contains(name));
        of_pairs(pairs.map(|(name, value)| (name.into(), value.into()))).map(Self)
    }
}

fn fields<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Vec<Parameter> {
    let mut whole = T::json_schema(schemas).to_value();
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let required = whole.get("required").map(texts).unwrap_or_default();
    let Some(Value::Object(properties)) = whole.get_mut("properties").map(Value::take) else {
        return Vec::new();
    };
    let parameter = |(name, mut schema): (String, Value)| {
        let fields = schema.as_object_mut();
        let description = fields.and_then(|fields| {
            // What may be left out is left out: there is no null in a query.
            let kinds = fields.get("type").map(texts).unwrap_or_default();
            if let Some(kind) = kinds.into_iter().find(|kind| kind != "null") {
                fields.insert("type".to_owned(), kind.into());
            }
            fields.remove("description").and_then(|text| text.as_str().map(str::to_owned))
        });
        Parameter {
            place: Place::Query,
            required: required.contains(&name),
            name,
            description: description.unwrap_or_default(),
            schema: Schema::try_from(schema).unwrap_or_default(),
        }
    };
    properties.into_iter().map(parameter).collect()
}

/// `T` out of pairs of text, as form-encoding means it.
fn of_pairs<'a, T: DeserializeOwned>(
    pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
) -> Result<T, ApiError> {
    let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let uri: Uri = format!("/?{encoded}").parse().map_err(ApiError::bad)?;
    axum::extract::Query::try_from_uri(&uri).map(|query| query.0).map_err(|error| {
        let mut innermost: &dyn std::error::Error = &error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        ApiError::bad(format!("the request's parameters: {innermost}"))
    })
}

/// Ids that stand in paths.
pub trait WireId: FromStr + Send + 'static {
    /// What every one begins with.
    const PREFIX: &'static str;
    /// What it is the id of.
    const KIND: &'static str;
}

macro_rules! wire_ids {
    ($($name:ident)*) => {
        $(impl WireId for $name {
            const PREFIX: &'static str = Self::PREFIX;
            const KIND: &'static str = Self::KIND;
        })*
    };
}
wire_ids!(AlertId CaseId GrantId LockId NoticeId RevocationId SessionId SignInId);

/// The `{id}` of the path. What is no id of the kind is nothing that anybody could find: 404.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id<T>(pub T);

impl<T: WireId> Input for Id<T> {
    fn describe(takes: &mut Takes, _: &mut SchemaGenerator) {
        takes.parameters.push(Parameter {
            place: Place::Path,
            name: "id".to_owned(),
            required: true,
            description: format!("Id of the {}.", T::KIND),
            schema: json_schema!({
                "type": "string",
                // Base 32 as in `ids`.
                "pattern": format!("^{}[0-9a-hjkmnp-tv-z]{{26}}$", T::PREFIX),
                "examples": [format!("{}0123456789abcdefghjkmnpqrs", T::PREFIX)],
            }),
        });
        takes.statuses.push((StatusCode::NOT_FOUND, "`not-found`: there is no such thing for you"));
    }

    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        let text = incoming.path.iter().find(|(name, _)| name == "id").map(|(_, value)| value.as_str());
        text.and_then(|text| text.parse().ok()).map(Self).ok_or_else(ApiError::not_found)
    }
}

/// The header `If-None-Match` (RFC 9110 section 13.1.2): the tags of what the client has already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IfNoneMatch(Vec<String>);

impl IfNoneMatch {
    /// Whether the client has what carries this tag (with its quotes).
    pub fn has(&self, tag: &str) -> bool {
        self.0.iter().any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
    }
}

impl Input for IfNoneMatch {
    fn describe(takes: &mut Takes, _: &mut SchemaGenerator) {
        let description = "Tags of what you have; when the newest is among them, the answer is 304.";
        takes.parameters.push(of_header(
            "If-None-Match",
            description,
            json_schema!({ "type": "string", "maxLength": 1024, "examples": ["\"7\""] }),
        ));
    }

    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        let lines = incoming.headers.get_all(header::IF_NONE_MATCH).iter();
        // What is no text is no tag of ours.
        let tags = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        Ok(Self(tags.map(|tag| tag.trim().to_owned()).collect()))
    }
}

/// The header `Idempotency-Key`: repetitions with the same one, by the same person, are one request, also when each is
/// signed anew. The signature does not cover it, so it must never decide what is done, only whether it is done again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl Input for IdempotencyKey {
    fn describe(takes: &mut Takes, _: &mut SchemaGenerator) {
        let description = "A word of your choice for this request, new for each that you mean: sending it again \
            with the same word, signed anew, does nothing twice and has the answer of the first.";
        takes.parameters.push(of_header(
            "Idempotency-Key",
            description,
            json_schema!({
                "type": "string",
                "pattern": "^[A-Za-z0-9_-]{16,64}$",
                "examples": ["9f1c7b0e5a2d4c68"],
            }),
        ));
    }

    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        let mut lines = incoming.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(first) = lines.next() else { return Ok(Self(None)) };
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        match first.to_str() {
            Ok(key) if (16..=64).contains(&key.len()) && key.bytes().all(known) && lines.next().is_none() => {
                Ok(Self(Some(key.to_owned())))
            }
            _ => Err(ApiError::bad(
                "the header Idempotency-Key must be one word of 16 to 64 of A-Z a-z 0-9 _ -",
            )),
        }
    }
}

fn of_header(name: &str, description: &str, schema: Schema) -> Parameter {
    let (name, description) = (name.to_owned(), description.to_owned());
    Parameter { place: Place::Header, name, required: false, description, schema }
}
