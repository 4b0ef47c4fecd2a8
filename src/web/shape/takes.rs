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
        serde_json::from_slice(&without_zero_fractions(&incoming.body)).map(Self).map_err(|error| {
            ApiError::bad(format!("the request's body: {error}; the client may be too new or too old"))
        })
    }
}

/// JSON with `60.0` written as `60`: both are the same integer to JSON Schema (and the same number to JavaScript), and
/// serde takes the second only. Strings stay as they are, and what is no JSON stays none.
fn without_zero_fractions(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = json;
    while let Some((&byte, after)) = rest.split_first() {
        if !in_string && byte == b'.' && out.last().is_some_and(u8::is_ascii_digit) {
            let zeros = after.iter().take_while(|b| **b == b'0').count();
            let beyond = after.get(zeros..).unwrap_or_default();
            if zeros > 0 && !matches!(beyond.first(), Some(b'0'..=b'9' | b'e' | b'E')) {
                rest = beyond;
                continue;
            }
        }
        (in_string, escaped) = match (in_string, escaped, byte) {
            (true, true, _) => (true, false),
            (true, false, b'\\') => (true, true),
            (true, false, b'"') => (false, false),
            (false, _, b'"') => (true, false),
            (in_string, _, _) => (in_string, false),
        };
        out.push(byte);
        rest = after;
    }
    out
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
            if fields.get("default").is_some_and(Value::is_null) {
                fields.remove("default");
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
            json_schema!({ "type": "string", "examples": ["\"7\""] }),
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

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use serde::Deserialize;

    use super::super::{Page, Paging};
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Wish {
        /// A number.
        number: u8,
        /// A text.
        text: Option<String>,
    }

    fn incoming(query: &str, body: &str, headers: &[(&'static str, &str)]) -> Incoming {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), value.parse::<axum::http::HeaderValue>().unwrap())
        });
        Incoming {
            path: vec![("id".into(), "sgn_0123456789abcdefghjkmnpqrs".into())],
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: headers.collect::<HeaderMap>(),
            body: body.as_bytes().to_vec().into(),
        }
    }

    #[test]
    fn bodies() {
        let wish = |number, text: Option<&str>| Wish { number, text: text.map(str::to_owned) };
        let rows = [
            (r#"{"number":1}"#, Some(wish(1, None))),
            (r#" {"number":1.0,"text":"2.0\"3.0"}"#, Some(wish(1, Some("2.0\"3.0")))),
            (r#"{"number":1.5}"#, None),
            (r#"{"number":10.05}"#, None),
            (r#"{"number":1.0e1}"#, None),
            (r#"{"number":1.}"#, None),
            (r#"{"number":.0}"#, None),
            (r#"{"number":256.0}"#, None),
            (r#"{"number":1,"number":1}"#, None),
            (r#"{"number":1,"more":1}"#, None),
            (r#"[1,"x"]"#, None),
            ("", None),
        ];
        for (body, expect) in rows {
            let read = Json::<Wish>::read(&incoming("", body, &[])).ok().map(|Json(wish)| wish);
            assert_eq!(read, expect, "{body}");
        }
        for (body, expect) in [
            ("number=7&text=a+%26b", Some(wish(7, Some("a &b")))),
            ("number=7&number=8", None),
            ("number=x", None),
            ("number=7&more=1", None),
            ("", None),
        ] {
            let read = Form::<Wish>::read(&incoming("", body, &[])).ok().map(|Form(wish)| wish);
            assert_eq!(read, expect, "{body}");
        }
    }

    #[test]
    fn queries_are_read_beside_each_other() {
        type Both = (Query<Wish>, Paging);
        let mut takes = Takes::default();
        Both::describe(&mut takes, &mut SchemaGenerator::default());
        assert_eq!(takes.query_names(), ["number", "text", "after", "limit"]);
        let required: Vec<bool> = takes.parameters.iter().map(|one| one.required).collect();
        assert_eq!(required, [true, false, false, false]);
        assert!(takes.parameters.iter().all(|one| !one.description.is_empty()));
        let text = takes.parameters.iter().find(|one| one.name == "text").unwrap();
        assert_eq!(text.schema.get("type"), Some(&"string".into()), "no null in a query");

        let read = |query: &str| Both::read(&incoming(query, "", &[])).map_err(|error| format!("{error:?}"));
        let (Query(wish), first) = read("limit=2&number=3").unwrap();
        assert_eq!((wish.number, first.rows(), first.after.clone()), (3, 3, None));
        let page: Page<u8> = first.page(vec![10, 11, 12], ToString::to_string, |row| row);
        assert_eq!(page.items, [10, 11]);
        let next = page.next.unwrap();
        let (_, second) = read(&format!("number=3&after={next}")).unwrap();
        assert_eq!((second.after.as_deref(), second.rows()), (Some("11"), 51));
        let last: Page<u8> = second.page(vec![12], ToString::to_string, |row| row);
        assert_eq!((last.items, last.next), (vec![12], None));
        for bad in [
            "",
            "number=3&number=4",
            "number=300",
            "number=3&limit=0",
            "number=3&limit=201",
            "number=3&limit=x",
            "number=3&after=!",
            "number=3&after=_w",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_and_ids() {
        let key = "k".repeat(16);
        for (headers, expect) in [
            (vec![], Some(None)),
            (vec![("idempotency-key", key.as_str())], Some(Some(key.clone()))),
            (vec![("idempotency-key", "short")], None),
            (vec![("idempotency-key", "spaces are no word")], None),
        ] {
            let read = IdempotencyKey::read(&incoming("", "", &headers)).ok().map(|IdempotencyKey(key)| key);
            assert_eq!(read, expect, "{headers:?}");
        }
        let known = IfNoneMatch::read(&incoming("", "", &[("if-none-match", "\"a\", W/\"b\"")])).unwrap();
        assert!(known.has("\"a\"") && known.has("\"b\"") && !known.has("\"c\"") && !known.has("a"));
        assert!(Id::<SignInId>::read(&incoming("", "", &[])).is_ok());
        assert!(Id::<CaseId>::read(&incoming("", "", &[])).is_err(), "another kind of thing");
    }
}
