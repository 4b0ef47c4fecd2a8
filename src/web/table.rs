//! The API: every endpoint there is. The router, the OpenAPI description, the command that prints it and the test of
//! permissions all come from here; nothing is routed beside it (`tests/it/api` holds that).
//!
//! To add one:
//! 1. wire types into `api` (request types `deny_unknown_fields`, every field documented, with bounds, patterns and one
//!    example for the whole);
//! 2. how the flow's refusals are answered into `v1::refused`: an `impl Refused`, all statuses listed;
//! 3. the handler into `v1`: `async fn(App, PROOF, INPUT) -> Result<OUTPUT, Failed<REFUSAL>>`. PROOF is the type of the
//!    permission (`Anybody`, `SignedBy`, `SignedIn`, `Watcher`, `Auditor`, `Killer`, `Admin`); INPUT and OUTPUT are made of what `shape` has,
//!    `()` for none; lists take `Paging` and give `Json<Page<T>>`;
//! 4. a row below; then `CAPONIER_WRITE_SNAPSHOT=1 contrib/test api::` writes the table of permissions anew: read it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{MethodFilter, MethodRouter, any};

use super::endpoint::{ADMIN, AUDITOR, Endpoint, KILLER, PUBLIC, SIGNED_IN, SIGNED_KEY, WATCHER};
use super::error::ApiError;
use super::v1::{
    alerts, certificate, description, locks, looking, requests, revocations, sessions, sign_in, workloads,
};
use crate::app::App;

/// The table.
static TABLE: LazyLock<Vec<Endpoint>> = LazyLock::new(rows);

/// Every endpoint.
pub fn endpoints() -> &'static [Endpoint] {
    &TABLE
}

#[rustfmt::skip]
fn rows() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/v1/openapi.json", PUBLIC, "describe", "This description.", description::openapi),

        Endpoint::post("/v1/sign-in/begin", SIGNED_KEY, "beginSignIn", "Begin a sign-in for the signing key.", sign_in::begin)
            .details("Then send the browser to `url`. `loopback` hands a code over at 127.0.0.1:`port`, by redirect to \
                `/?code=CODE&id=ID` or `/?error=TEXT&id=ID`; with `device`, the person types `user_code` at `url`, and \
                `finish` is polled every `interval` seconds."),
        Endpoint::post("/v1/sign-in/finish", SIGNED_KEY, "finishSignIn", "Finish it, by the same key; 202 while the browser is not done.", sign_in::finish),
        Endpoint::get("/v1/sign-in", SIGNED_IN, "showSignIn", "Who am I, until when?", sign_in::show),
        Endpoint::delete("/v1/sign-in", SIGNED_KEY, "endMySignIn", "End the sign-in of the signing key.", sign_in::end_mine),
        Endpoint::delete("/v1/sign-in/{id}", SIGNED_IN, "endSignIn", "End one of your own sign-ins, or anybody's as an admin.", sign_in::end),

        Endpoint::post("/v1/certificate", SIGNED_IN, "issueCertificate", "A certificate for the signing key. What is asked for can only narrow it.", certificate::issue),

        Endpoint::get("/v1/workloads", PUBLIC, "showWorkloadSettings", "The issuers of jobs' tokens that are believed here, and the host CA.", workloads::settings),
        Endpoint::post("/v1/certificates", SIGNED_KEY, "exchangeToken", "A job's token, or a service account's statement, for a sign-in of the signing key and its first certificate.", workloads::exchange)
            .details("The signing key is a new one, made for this run; the token is bound to it and used up. `POST /v1/certificate` \
                gives further certificates while the sign-in lasts."),
        Endpoint::post("/v1/certificates/check", SIGNED_KEY, "checkToken", "What that exchange would come to. Uses nothing up.", workloads::check),
        Endpoint::post("/v1/runs/done", SIGNED_IN, "finishRun", "The calling job is done: its sign-in ends, its certificates are revoked, its sessions cut.", workloads::done),

        Endpoint::get("/v1/eligible", SIGNED_IN, "listEligible", "What you may ask for, or have without asking: your roles.", requests::eligible),
        Endpoint::post("/v1/requests", SIGNED_IN, "askForAccess", "Ask for access, or with `dry_run` what would become of it.", requests::ask)
            .details("What nobody needs to approve is granted at once: look at `request.state`. A role's rules are \
                checked here, whatever the client checked. What is too long is refused, never shortened."),
        Endpoint::get("/v1/requests", SIGNED_IN, "listRequests", "Your requests, newest first; everybody's for auditors.", requests::list),
        Endpoint::get("/v1/requests/{id}", SIGNED_IN, "showRequest", "One request: your own, one that you decide, or any as an auditor.", requests::show),
        Endpoint::post("/v1/requests/{id}/approve", SIGNED_IN, "approveRequest", "Say yes, and perhaps to less than was asked for.", requests::approve),
        Endpoint::post("/v1/requests/{id}/deny", SIGNED_IN, "denyRequest", "Say no, and why.", requests::deny),
        Endpoint::post("/v1/requests/{id}/cancel", SIGNED_IN, "cancelRequest", "Withdraw your waiting request, or anybody's as an admin.", requests::cancel),
        Endpoint::post("/v1/requests/{id}/release", SIGNED_IN, "releaseGrant", "Give back what it opened: what runs under it ends at once.", requests::release),
        Endpoint::post("/v1/requests/{id}/revoke", SIGNED_IN, "revokeGrant", "Take away what it opened, as an approver of it or an admin.", requests::revoke),
        Endpoint::post("/v1/requests/{id}/review", SIGNED_IN, "reviewRequest", "Close the review of an emergency of somebody else.", requests::review),
        Endpoint::get("/v1/inbox", SIGNED_IN, "listInbox", "What waits for you: requests to decide, emergencies to review; oldest first.", requests::inbox),

        Endpoint::get("/v1/locks", AUDITOR, "listLocks", "The locks that hold, oldest first.", locks::list),
        Endpoint::post("/v1/locks", ADMIN, "lock", "Lock a person, a target or a role: what is open under it ends at once.", locks::lock),
        Endpoint::delete("/v1/locks/{id}", ADMIN, "unlock", "Lift a lock.", locks::unlock),
        Endpoint::get("/v1/alerts", AUDITOR, "listAlerts", "What rules found in the audit log, newest first.", alerts::list),
        Endpoint::post("/v1/alerts/{id}/ack", AUDITOR, "acknowledgeAlert", "Say that you have looked at an alert, and what it was.", alerts::acknowledge),

        Endpoint::get("/v1/access", SIGNED_IN, "showAccess", "Who has access at this moment? Auditors see everybody, others themselves.", looking::now)
            .details("Access by request that exists, and open sessions by standing roles. With `user` or `target` also who \
                could get there: the roles, whom they are for, and who approves. A look at everybody is in the audit log."),
        Endpoint::get("/v1/access/history", SIGNED_IN, "listPastAccess", "Who had access by request, how it ended, and sessions under it.", looking::history)
            .details("Newest first. Auditors see everybody, which is in the audit log; others see themselves."),
        Endpoint::get("/v1/reports/unused", SIGNED_IN, "reportUnused", "What nobody used: roles, memberships, access, sign-ins.", looking::unused)
            .details("Auditors see everybody, which is in the audit log; others see themselves."),

        Endpoint::post("/v1/sessions/{id}/watch", WATCHER, "watchSession", "Begin to watch a live session: its screen as it stands.", sessions::watch)
            .details("It is in the audit log by then. The session must be at the bastion that is asked."),
        Endpoint::get("/v1/sessions/{id}/watch", WATCHER, "watchMore", "What has come since; waits a few seconds for something.", sessions::watch_more)
            .details("Ask again with what the answer has, until it says `over`. Whoever does not ask for 20 seconds has left."),
        Endpoint::post("/v1/sessions/{id}/kill", KILLER, "killSession", "End a live session; its user is told who and why.", sessions::kill)
            .details("It is closed within a second at whichever bastion of the same database holds it. Nothing is revoked and \
                nobody is locked out."),

        Endpoint::post("/v1/revocations", SIGNED_IN, "revoke", "Revoke something: one's own key, certificate or session; anything as an admin.", revocations::revoke)
            .details("In one transaction, and again without effect. What is open under it is closed within two seconds at every \
                bastion of the same database; targets refuse it when they have fetched the list."),
        Endpoint::get("/v1/revocations", AUDITOR, "listRevocations", "What was revoked, newest first.", revocations::list),
        Endpoint::get("/v1/krl", PUBLIC, "showRevokedKeys", "The list for the targets' sshd (`RevokedKeys`), as OpenSSH's PROTOCOL.krl has it.", revocations::krl)
            .details("Its version rises with every revocation. `contrib/krl-update` fetches it safely."),
    ]
}

/// The table as routes. What is under `/v1` and not in it is answered in the API's own words too.
pub(super) fn router() -> Router<App> {
    let mut paths: BTreeMap<&str, MethodRouter<App>> = BTreeMap::new();
    for endpoint in endpoints() {
        // An endpoint is made with a method that there is a filter for.
        let Ok(method) = MethodFilter::try_from(endpoint.method().clone()) else { continue };
        // axum adds the header `Allow`.
        let other = || MethodRouter::new().fallback(async || ApiError::not_allowed());
        let path = paths.entry(endpoint.path()).or_insert_with(other);
        let answer =
            async move |State(app): State<App>, request: Request| endpoint.answer(app, request).await;
        *path = std::mem::take(path).on(method, answer);
    }
    for path in ["/v1", "/v1/", "/v1/{*rest}"] {
        paths.entry(path).or_insert_with(|| any(async || ApiError::not_found()));
    }
    paths.into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods))
}
