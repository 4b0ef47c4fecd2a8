//! One endpoint: method, path, the permission it needs, and the handler that gets the proof of that permission. Decides
//! the order in which a request is judged (signature and permission first, then form), and lets no answer out that the
//! description does not have. Which endpoints there are is said in `table`.
//!
//! An endpoint cannot be declared without a permission, and its handler gets no more than that permission proves:
//!
//! ```
//! use caponier::app::App;
//! use caponier::flow::permission::SignedIn;
//! use caponier::web::endpoint::{Endpoint, SIGNED_IN};
//! use caponier::web::error::Failed;
//! use caponier::web::shape::NoContent;
//! async fn wave(_: App, _: SignedIn, (): ()) -> Result<NoContent, Failed<std::convert::Infallible>> {
//!     Ok(NoContent)
//! }
//! Endpoint::post("/v1/wave", SIGNED_IN, "wave", "Wave.", wave);
//! ```
//! Without one:
//! ```compile_fail,E0061
//! # use caponier::app::App;
//! # use caponier::flow::permission::SignedIn;
//! # use caponier::web::endpoint::{Endpoint, SIGNED_IN};
//! # use caponier::web::error::Failed;
//! # use caponier::web::shape::NoContent;
//! # async fn wave(_: App, _: SignedIn, (): ()) -> Result<NoContent, Failed<std::convert::Infallible>> {
//! #     Ok(NoContent)
//! # }
//! Endpoint::post("/v1/wave", "wave", "Wave.", wave);
//! ```
//! With another than its handler takes:
//! ```compile_fail,E0631
//! # use caponier::app::App;
//! # use caponier::flow::permission::SignedIn;
//! # use caponier::web::endpoint::{Endpoint, SIGNED_KEY};
//! # use caponier::web::error::Failed;
//! # use caponier::web::shape::NoContent;
//! # async fn wave(_: App, _: SignedIn, (): ()) -> Result<NoContent, Failed<std::convert::Infallible>> {
//! #     Ok(NoContent)
//! # }
//! Endpoint::post("/v1/wave", SIGNED_KEY, "wave", "Wave.", wave);
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{FromRequest as _, FromRequestParts as _, RawPathParams};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use schemars::SchemaGenerator;
use url::form_urlencoded;

use super::address::From;
use super::error::{ApiError, Failed, Refused, of_permission};
use super::shape::{Gives, Incoming, Input, Output, Takes};
use crate::app::App;
use crate::flow::permission::{Admin, Anybody, Auditor, Killer, Permission, Proof, SignedIn, Watcher};
use crate::flow::recognise::{Request, SignedBy};
use crate::identity::proof::{HEADER_KEY, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TIME, Shown};

/// The declaration of a permission whose proof is `P`.
pub struct Needs<P>(PhantomData<fn() -> P>);

/// Everybody may, without a signature.
pub const PUBLIC: Needs<Anybody> = Needs(PhantomData);
/// Whoever signs with any SSH key.
pub const SIGNED_KEY: Needs<SignedBy> = Needs(PhantomData);
/// Whoever is signed in.
pub const SIGNED_IN: Needs<SignedIn> = Needs(PhantomData);
/// `sign_in.auditors`, and admins.
pub const AUDITOR: Needs<Auditor> = Needs(PhantomData);
/// `sign_in.watchers`, auditors and admins.
pub const WATCHER: Needs<Watcher> = Needs(PhantomData);
/// `sign_in.killers`, and admins.
pub const KILLER: Needs<Killer> = Needs(PhantomData);
/// `sign_in.admins`.
pub const ADMIN: Needs<Admin> = Needs(PhantomData);

/// An answer in the making.
pub type Answering = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;
type Answer = dyn Fn(App, Asked) -> Answering + Send + Sync;

/// What an endpoint does: a function of the application, the proof of the permission, and the input.
pub trait Run<P, I>: Clone + Send + Sync + 'static {
    /// What it gives.
    type Output: Output;
    /// How it says no.
    type Refused: Refused;
    /// Does it.
    fn run(&self, app: App, by: P, input: I) -> Answering;
}

impl<P, I, O, E, F, Fut> Run<P, I> for F
where
    O: Output,
    E: Refused,
    F: Fn(App, P, I) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<O, Failed<E>>> + Send + 'static,
{
    type Output = O;
    type Refused = E;
    fn run(&self, app: App, by: P, input: I) -> Answering {
        let running = self(app.clone(), by, input);
        Box::pin(async move { running.await.map(Output::respond).map_err(|failed| failed.answer(&app)) })
    }
}

/// One row of the table.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) permission: Permission,
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) details: &'static str,
    pub(super) refusals: &'static [(StatusCode, &'static str)],
    pub(super) takes: fn(&mut Takes, &mut SchemaGenerator),
    pub(super) gives: fn(&mut SchemaGenerator) -> Vec<Gives>,
    /// Every status that the description has for it.
    statuses: Vec<StatusCode>,
    answer: Arc<Answer>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.method, self.path, self.permission.as_str())
    }
}

/// A request that was read and not judged.
struct Asked {
    method: Method,
    path_and_query: String,
    from: std::net::IpAddr,
    incoming: Incoming,
}

impl Endpoint {
    /// `GET`: reads, and changes nothing. A path names its parameter `{id}`; `name` is the operation's name in the
    /// description, unique; `summary` is one sentence.
    pub fn get<P: Proof, I: Input>(
        path: &'static str,
        needs: Needs<P>,
        name: &'static str,
        summary: &'static str,
        run: impl Run<P, I>,
    ) -> Self {
        Self::new(Method::GET, path, needs, name, summary, run)
    }

    /// `POST`: changes something. What it calls uses the request's nonce up in the transaction of the change.
    pub fn post<P: Proof, I: Input>(
        path: &'static str,
        needs: Needs<P>,
        name: &'static str,
        summary: &'static str,
        run: impl Run<P, I>,
    ) -> Self {
        Self::new(Method::POST, path, needs, name, summary, run)
    }

    /// `DELETE`: takes something away; as `post` otherwise.
    pub fn delete<P: Proof, I: Input>(
        path: &'static str,
        needs: Needs<P>,
        name: &'static str,
        summary: &'static str,
        run: impl Run<P, I>,
    ) -> Self {
        Self::new(Method::DELETE, path, needs, name, summary, run)
    }

    fn new<P: Proof, I: Input, R: Run<P, I>>(
        method: Method,
        path: &'static str,
        _: Needs<P>,
        name: &'static str,
        summary: &'static str,
        run: R,
    ) -> Self {
        let mut takes = Takes::default();
        I::describe(&mut takes, &mut SchemaGenerator::default());
        let query_names: Arc<[String]> = takes.query_names().into();
        let has_body = takes.body.is_some();
        let answer = move |app: App, asked: Asked| -> Answering {
            let (run, query_names) = (run.clone(), query_names.clone());
            Box::pin(async move {
                let by = prove::<P>(&app, &asked).await?;
                no_more_than(&asked.incoming, &query_names, has_body)?;
                let input = I::read(&asked.incoming)?;
                run.run(app, by, input).await
            })
        };
        let mut endpoint = Self {
            method,
            path,
            permission: P::PERMISSION,
            name,
            summary,
            details: "",
            refusals: R::Refused::STATUSES,
            takes: I::describe,
            gives: R::Output::describe,
            statuses: Vec::new(),
            answer: Arc::new(answer),
        };
        let schemas = &mut SchemaGenerator::default();
        endpoint.statuses = (endpoint.gives)(schemas).into_iter().map(|gives| gives.status).collect();
        endpoint.statuses.extend(endpoint.errors(&takes).into_iter().map(|(status, _)| status));
        endpoint
    }

    /// More about it than one sentence, in Markdown.
    #[must_use]
    pub fn details(self, details: &'static str) -> Self {
        Self { details, ..self }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path, with `{id}` for its parameter.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// Who may call it.
    pub fn permission(&self) -> Permission {
        self.permission
    }

    /// Its name in the description.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Every error that it may answer: those of all endpoints, of its permission, its arguments and its flow.
    pub(super) fn errors(&self, takes: &Takes) -> Vec<(StatusCode, &'static str)> {
        let mut errors = vec![
            (
                StatusCode::BAD_REQUEST,
                "`bad-request`: the request does not make sense, and the text says why",
            ),
            (StatusCode::REQUEST_TIMEOUT, "`limit`: the body did not come in time"),
            (StatusCode::PAYLOAD_TOO_LARGE, "`limit`: the body is larger than 16 KiB"),
            (StatusCode::INTERNAL_SERVER_ERROR, "`internal`: we are broken"),
            (StatusCode::SERVICE_UNAVAILABLE, "`limit`: there is too much to do"),
        ];
        match self.permission {
            Permission::Public => {}
            Permission::SignedKey => errors.extend(UNSIGNED),
            Permission::SignedIn => errors.extend(NOT_SIGNED_IN),
            Permission::Watcher | Permission::Auditor | Permission::Killer | Permission::Admin => {
                errors.extend(NOT_SIGNED_IN);
                errors.push((StatusCode::FORBIDDEN, "`no-access`: you may not do this"));
            }
        }
        errors.extend(takes.statuses.iter().chain(self.refusals));
        errors
    }

    /// Whether the description has this status for it.
    pub(super) fn may_answer(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status)
    }

    /// Answers one request.
    pub(super) async fn answer(&self, app: App, request: axum::extract::Request) -> Response {
        let answer = match read(&app, request).await {
            Ok(asked) => (self.answer)(app.clone(), asked).await,
            Err(refused) => Err(refused),
        };
        let response = answer.unwrap_or_else(|error| error.into_response());
        if self.may_answer(response.status()) {
            return response;
        }
        // Clients are told of every answer that there is: another one is a mistake of ours.
        let what = std::io::Error::other(format!("{self:?} answered {}, undescribed", response.status()));
        ApiError::internal(&app, &what).into_response()
    }
}

const UNSIGNED: [(StatusCode, &str); 2] = [
    (StatusCode::UNAUTHORIZED, "`bad-signature`, `clock`, `not-signed-in`: the signature does not hold"),
    (StatusCode::TOO_MANY_REQUESTS, "`limit`: too many refused requests came from your address"),
];
const NOT_SIGNED_IN: [(StatusCode, &str); 2] = [
    (
        StatusCode::UNAUTHORIZED,
        "`bad-signature`, `clock`: the signature does not hold; `not-signed-in`: the key has no live sign-in; `revoked`: it was revoked",
    ),
    (StatusCode::TOO_MANY_REQUESTS, "`limit`: too many refused requests came from your address"),
];

/// The one place where a permission is judged: after the whole request was read, as the signature covers the body, and
/// before anything of it is understood.
async fn prove<P: Proof>(app: &App, asked: &Asked) -> Result<P, ApiError> {
    let headers = &asked.incoming.headers;
    let shown = Shown {
        key: single(headers, HEADER_KEY),
        time: single(headers, HEADER_TIME),
        nonce: single(headers, HEADER_NONCE),
        signature: single(headers, HEADER_SIGNATURE),
    };
    let request = Request {
        method: asked.method.as_str(),
        path_and_query: &asked.path_and_query,
        shown,
        body: &asked.incoming.body,
        from: asked.from,
    };
    P::of(app, request).await.map_err(|why| of_permission(app, &why))
}

/// The header; nothing, which is no proof, when it is missing, not text or there twice.
fn single<'a>(headers: &'a HeaderMap, name: &'static str) -> &'a str {
    let mut values = headers.get_all(name).iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(value), None) => value,
        _ => "",
    }
}

/// Nothing that the endpoint does not take: whoever sends it means something that would not happen.
fn no_more_than(incoming: &Incoming, query_names: &[String], has_body: bool) -> Result<(), ApiError> {
    for (name, _) in &incoming.query {
        if !query_names.contains(name) {
            let known = query_names.join(", ");
            let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            let there = if known.is_empty() { "there are none".into() } else { format!("there are {known}") };
            return Err(ApiError::bad(format!("unknown parameter {shown:?}; {there}")));
        }
    }
    if !has_body && !incoming.body.is_empty() {
        return Err(ApiError::bad("this takes no body"));
    }
    Ok(())
}

async fn read(app: &App, request: axum::extract::Request) -> Result<Asked, ApiError> {
    let (mut parts, body) = request.into_parts();
    let From(from) = From::from_request_parts(&mut parts, app).await.map_err(|status| {
        ApiError::internal(app, &std::io::Error::other(format!("a request without a peer: {status}")))
    })?;
    let path = match RawPathParams::from_request_parts(&mut parts, app).await {
        Ok(path) => path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        Err(_) => return Err(ApiError::not_found()),
    };
    let (method, headers) = (parts.method.clone(), parts.headers.clone());
    let path_and_query = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let query = parts.uri.query().unwrap_or_default();
    let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let request = axum::extract::Request::from_parts(parts, body);
    // Nobody could tell whose a body is that is too large to look at.
    let body = Bytes::from_request(request, app).await.map_err(|_| ApiError::too_large())?;
    Ok(Asked { method, path_and_query, from, incoming: Incoming { path, query, headers, body } })
}
