//! What requests bring and answers hold, as types: a handler's arguments and result say it, and the router, the
//! description and the tests read it off there. Decides forms only.
//!
//! `takes` are the arguments: [`Json`], [`Form`], [`Query`], [`Id`], [`IfNoneMatch`], [`IdempotencyKey`], and tuples
//! of them · `gives` are the results: [`Json`], [`Created`], [`Made`], [`Soon`], [`NoContent`], [`Tagged`] · `paging` is for lists.

mod gives;
mod paging;
mod takes;

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use schemars::{Schema, SchemaGenerator};

use super::error::ApiError;

pub use gives::{Content, Created, Gives, JsonText, Made, NoContent, Octets, Output, Soon, Tagged};
pub use paging::{Page, Paging};
pub use takes::{Form, Id, IdempotencyKey, IfNoneMatch, Query, WireId};

/// An object as JSON, in either direction; with status 200 where it is an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// A request after it was read and before it is understood.
#[derive(Debug)]
pub struct Incoming {
    pub(super) path: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the path, `{id}`.
    Path,
    /// In the query.
    Query,
    /// A header.
    Header,
}

impl Place {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

/// One parameter as the description shows it.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Where.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// Whether it may be left out.
    pub required: bool,
    /// What it is for.
    pub description: String,
    /// Its form.
    pub schema: Schema,
}

/// Everything that an argument takes out of a request.
#[derive(Clone, Debug, Default)]
pub struct Takes {
    /// Parameters.
    pub parameters: Vec<Parameter>,
    /// Content type and form of the body.
    pub body: Option<(&'static str, Schema)>,
    /// What may be answered because of it.
    pub statuses: Vec<(StatusCode, &'static str)>,
}

impl Takes {
    /// Names of the query's parameters; there may be no others in a request.
    pub(super) fn query_names(&self) -> Vec<String> {
        let query = self.parameters.iter().filter(|one| one.place == Place::Query);
        query.map(|one| one.name.clone()).collect()
    }
}

/// An argument of a handler: what it takes, and how it is read.
pub trait Input: Sized + Send + 'static {
    /// What it takes.
    fn describe(takes: &mut Takes, schemas: &mut SchemaGenerator);
    /// Reads it.
    fn read(incoming: &Incoming) -> Result<Self, ApiError>;
}

impl Input for () {
    fn describe(_: &mut Takes, _: &mut SchemaGenerator) {}
    fn read(_: &Incoming) -> Result<Self, ApiError> {
        Ok(())
    }
}

impl<A: Input, B: Input> Input for (A, B) {
    fn describe(takes: &mut Takes, schemas: &mut SchemaGenerator) {
        A::describe(takes, schemas);
        B::describe(takes, schemas);
    }
    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        Ok((A::read(incoming)?, B::read(incoming)?))
    }
}

impl<A: Input, B: Input, C: Input> Input for (A, B, C) {
    fn describe(takes: &mut Takes, schemas: &mut SchemaGenerator) {
        <(A, B)>::describe(takes, schemas);
        C::describe(takes, schemas);
    }
    fn read(incoming: &Incoming) -> Result<Self, ApiError> {
        Ok((A::read(incoming)?, B::read(incoming)?, C::read(incoming)?))
    }
}
