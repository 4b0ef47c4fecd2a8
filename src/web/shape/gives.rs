//! The results of handlers: which status they have, and what they hold.

use std::marker::PhantomData;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{IfNoneMatch, Json};

/// One answer as the description shows it.
#[derive(Clone, Debug)]
pub struct Gives {
    /// Its status.
    pub status: StatusCode,
    /// What it means.
    pub description: &'static str,
    /// Content type and form of its body; none when it has none.
    pub content: Option<(&'static str, Schema)>,
    /// Whether it has a header `ETag`.
    pub tagged: bool,
}

/// A result of a handler.
pub trait Output: Send + 'static {
    /// Every answer that it can become.
    fn describe(schemas: &mut SchemaGenerator) -> Vec<Gives>;
    /// The answer.
    fn respond(self) -> Response;
}

fn one(status: StatusCode, description: &'static str, content: Option<(&'static str, Schema)>) -> Gives {
    Gives { status, description, content, tagged: false }
}

fn json<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Option<(&'static str, Schema)> {
    Some(("application/json", schemas.subschema_for::<T>()))
}

impl<T: Serialize + JsonSchema + Send + 'static> Output for Json<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Vec<Gives> {
        vec![one(StatusCode::OK, "Done.", json::<T>(schemas))]
    }
    fn respond(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Something that exists from now on: 201.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created<T>(pub T);

impl<T: Serialize + JsonSchema + Send + 'static> Output for Created<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Vec<Gives> {
        vec![one(StatusCode::CREATED, "Made.", json::<T>(schemas))]
    }
    fn respond(self) -> Response {
        (StatusCode::CREATED, axum::Json(self.0)).into_response()
    }
}

/// Something that exists from now on, 201; or that was there before, or is only looked at, 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made<T> {
    /// It is new.
    New(T),
    /// Nothing was made.
    Known(T),
}

impl<T: Serialize + JsonSchema + Send + 'static> Output for Made<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Vec<Gives> {
        vec![
            one(StatusCode::CREATED, "Made.", json::<T>(schemas)),
            one(
                StatusCode::OK,
                "Nothing was made: it was there, or was only asked about.",
                json::<T>(schemas),
            ),
        ]
    }
    fn respond(self) -> Response {
        match self {
            Self::New(made) => (StatusCode::CREATED, axum::Json(made)).into_response(),
            Self::Known(known) => axum::Json(known).into_response(),
        }
    }
}

/// Something that may take a while: 200 when it is there, 202 with an empty object until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Soon<T> {
    /// Ask again.
    Waiting,
    /// Here it is.
    Done(T),
}

impl<T: Serialize + JsonSchema + Send + 'static> Output for Soon<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Vec<Gives> {
        let empty = json_schema!({ "type": "object", "maxProperties": 0 });
        vec![
            one(StatusCode::OK, "Done.", json::<T>(schemas)),
            one(StatusCode::ACCEPTED, "Not yet; ask again.", Some(("application/json", empty))),
        ]
    }
    fn respond(self) -> Response {
        match self {
            Self::Waiting => (StatusCode::ACCEPTED, axum::Json(serde_json::json!({}))).into_response(),
            Self::Done(done) => axum::Json(done).into_response(),
        }
    }
}

/// Done, and there is nothing to say: 204.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoContent;

impl Output for NoContent {
    fn describe(_: &mut SchemaGenerator) -> Vec<Gives> {
        vec![one(StatusCode::NO_CONTENT, "Done.", None)]
    }
    fn respond(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// What the bytes of a [`Tagged`] are.
pub trait Content: Send + 'static {
    /// The content type.
    const TYPE: &'static str;
    /// The form.
    fn schema() -> Schema;
}

/// Bytes with no form that JSON Schema could tell.
#[derive(Clone, Copy, Debug)]
pub struct Octets;

impl Content for Octets {
    const TYPE: &'static str = "application/octet-stream";
    fn schema() -> Schema {
        // OpenAPI 3.1: binary content has an empty schema.
        json_schema!({})
    }
}

/// One JSON object that was made before.
#[derive(Clone, Copy, Debug)]
pub struct JsonText;

impl Content for JsonText {
    const TYPE: &'static str = "application/json";
    fn schema() -> Schema {
        json_schema!({ "type": "object" })
    }
}

/// Bytes with an `ETag`, for clients that come back and may have them already: 200, or 304 without them.
#[derive(Clone, Debug)]
pub struct Tagged<C> {
    tag: String,
    bytes: Option<Bytes>,
    content: PhantomData<C>,
}

impl<C: Content> Tagged<C> {
    /// `bytes`, unless the client has them. The tag is their digest.
    pub fn unless(known: &IfNoneMatch, bytes: Bytes) -> Self {
        let digest = Sha256::digest(&bytes);
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let tag = format!("\"{hex}\"");
        let bytes = (!known.has(&tag)).then_some(bytes);
        Self { tag, bytes, content: PhantomData }
    }
}

impl<C: Content> Output for Tagged<C> {
    fn describe(_: &mut SchemaGenerator) -> Vec<Gives> {
        vec![
            Gives {
                status: StatusCode::OK,
                description: "The newest.",
                content: Some((C::TYPE, C::schema())),
                tagged: true,
            },
            Gives {
                status: StatusCode::NOT_MODIFIED,
                description: "You have the newest.",
                content: None,
                tagged: true,
            },
        ]
    }

    fn respond(self) -> Response {
        let tag = HeaderValue::from_str(&self.tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
        // May be kept, and is asked about each time.
        let same = [(header::ETAG, tag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        match self.bytes {
            None => (StatusCode::NOT_MODIFIED, same).into_response(),
            Some(bytes) => {
                let content = HeaderValue::from_static(C::TYPE);
                (same, [(header::CONTENT_TYPE, content)], bytes).into_response()
            }
        }
    }
}
