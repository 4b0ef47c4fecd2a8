//! What jobs and service accounts call. What a token is worth, and what follows from it, is `flow::exchange`'s and `flow::finish`'s.

use std::convert::Infallible;

use crate::app::App;
use crate::ca::Authority;
use crate::flow::exchange::{self as flow, ExchangeRefused, Shown};
use crate::flow::finish::{self, FinishRefused};
use crate::flow::issue::Wish;
use crate::flow::permission::{Anybody, SignedIn};
use crate::flow::recognise::SignedBy;
use crate::identity::Identity;
use crate::web::api::workloads::{
    ExchangeAnswer, ExchangeLook, ExchangeRequest, IssuerAnswer, NearRule, RunAnswer, WorkloadSettings,
};
use crate::web::api::{CertificateAnswer, CertificateRequest};
use crate::web::error::Failed;
use crate::web::shape::{Json, NoContent};

pub(in crate::web) async fn settings(
    app: App,
    _: Anybody,
    (): (),
) -> Result<Json<WorkloadSettings>, Failed<Infallible>> {
    let mut host_ca = app.signer.public_key(Authority::Host).clone();
    host_ca.set_comment("");
    let issuers = app.config.issuers.iter().map(|issuer| IssuerAnswer {
        name: issuer.name.to_string(),
        platform: issuer.platform.as_str().to_owned(),
        issuer: issuer.issuer.clone(),
        audience: issuer.audience.clone(),
        bind: issuer.bind.as_str().to_owned(),
    });
    Ok(Json(WorkloadSettings {
        issuers: issuers.collect(),
        host_ca: host_ca.to_openssh().map_err(Failed::broken)?,
    }))
}

pub(in crate::web) async fn exchange(
    app: App,
    by: SignedBy,
    Json(asked): Json<ExchangeRequest>,
) -> Result<Json<ExchangeAnswer>, Failed<ExchangeRefused>> {
    let (shown, wish) = understood(asked)?;
    let done = flow::exchange(&app, &by, &shown, &wish).await?;
    let issued = done.issued;
    Ok(Json(ExchangeAnswer {
        sign_in: super::sign_in::answer(&app, &done.sign_in)?,
        key_id: issued.certificate.key_id().to_owned(),
        certificate: CertificateAnswer {
            certificate: issued.certificate.to_openssh().map_err(Failed::broken)?,
            serial: issued.serial.to_string(),
            principals: issued.principals,
            valid_before: issued.valid_before.as_secs(),
            ssh: super::settings(&app, &issued.who)?,
        },
        run: run(&done.sign_in.who),
        rules: done.rules.iter().map(ToString::to_string).collect(),
        by_request: done.by_request.iter().map(ToString::to_string).collect(),
    }))
}

pub(in crate::web) async fn check(
    app: App,
    by: SignedBy,
    Json(asked): Json<ExchangeRequest>,
) -> Result<Json<ExchangeLook>, Failed<ExchangeRefused>> {
    let (shown, wish) = understood(asked)?;
    let look = flow::look(&app, &by, &shown, &wish).await?;
    let near = look.near.into_iter().map(|(rule, mismatch)| NearRule {
        rule: rule.to_string(),
        claim: mismatch.claim,
        wanted: mismatch.wanted,
        found: mismatch.found,
    });
    Ok(Json(ExchangeLook {
        run: run(&look.who),
        rules: look.rules.iter().map(ToString::to_string).collect(),
        near: near.collect(),
        principals: look.principals,
        by_request: look.by_request.iter().map(ToString::to_string).collect(),
        refusal: look.refusal,
    }))
}

pub(in crate::web) async fn done(app: App, by: SignedIn, (): ()) -> Result<NoContent, Failed<FinishRefused>> {
    finish::done(&app, &by).await?;
    Ok(NoContent)
}

fn understood(asked: ExchangeRequest) -> Result<(Shown, Wish), Failed<ExchangeRefused>> {
    let wish =
        super::certificate::wish(CertificateRequest { principals: asked.principals, life: asked.life });
    let shown = match (asked.token, asked.service) {
        (Some(token), None) => Shown::Token(token),
        (None, Some(said)) => Shown::Service {
            account: said.account,
            key: said.key,
            time: said.time,
            nonce: said.nonce,
            signature: said.signature,
        },
        (Some(_), Some(_)) | (None, None) => {
            return Err(Failed::bad("give \"token\" or \"service\", one of them"));
        }
    };
    Ok((shown, wish.map_err(Failed::bad)?))
}

fn run(who: &Identity) -> RunAnswer {
    let run = who.run.as_deref();
    let field = |of: fn(&crate::identity::Run) -> &Option<String>| run.and_then(|run| of(run).clone());
    RunAnswer {
        platform: run.map(|run| run.platform.as_str().to_owned()).unwrap_or_default(),
        subject: who.subject.clone(),
        label: run.map(|run| run.label.clone()).unwrap_or_default(),
        id: field(|run| &run.id),
        attempt: field(|run| &run.attempt),
        commit: field(|run| &run.commit),
        url: field(|run| &run.url),
    }
}
