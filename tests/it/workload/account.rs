//! Service accounts: a registered key says that a new key is its own, from the networks that it is meant for, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use caponier::identity::proof;
use caponier::identity::statement::{NAMESPACE, service_text};
use russh::keys::ssh_key::encoding::Encode as _;
use russh::keys::ssh_key::{HashAlg, PrivateKey};
use serde_json::{Value, json};

use super::{Ci, Client, NOW, certificate};

struct Statement<'a> {
    account: &'a str,
    key: &'a PrivateKey,
    time: u64,
    nonce: String,
    /// For which new key; none: the one that asks.
    fingerprint: Option<String>,
}

fn statement(ci: &Ci, client: &Client<'_>, said: &Statement<'_>) -> Value {
    let fingerprint = said.fingerprint.clone().unwrap_or_else(|| client.fingerprint());
    let authority = proof::authority(&ci.site.url);
    let text = service_text(said.account, &authority, said.time, &said.nonce, &fingerprint);
    let signature = said.key.sign(NAMESPACE, HashAlg::Sha512, text.as_bytes()).unwrap();
    let mut public = said.key.public_key().clone();
    public.set_comment("");
    json!({ "service": {
        "account": said.account, "key": public.to_openssh().unwrap(), "time": said.time, "nonce": said.nonce,
        "signature": STANDARD.encode(signature.encode_vec().unwrap()),
    } })
}

fn usual(ci: &Ci) -> Statement<'_> {
    let nonce = ci.site.app.random.token();
    Statement { account: "backup", key: &ci.service, time: NOW, nonce, fingerprint: None }
}

async fn show(client: &Client<'_>, body: &Value) -> (u16, Value) {
    let (status, answer) = client.call("POST", "/v1/certificates", body).await;
    (status.as_u16(), answer)
}

#[tokio::test]
async fn a_registered_key_asks_for_a_new_one() {
    let ci = Ci::start().await;
    let client = ci.site.client();
    let said = statement(&ci, &client, &usual(&ci));
    let (status, answer) = show(&client, &said).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["sign_in"]["who"], "service:account/backup");
    assert_eq!((&answer["run"]["platform"], &answer["rules"]), (&json!("service"), &json!([])));
    let shown = certificate(&answer);
    assert_eq!(shown.valid_principals(), ["deploy"]);
    assert_eq!(shown.critical_options().get("source-address").map(String::as_str), Some("127.0.0.1/32"));
    // Once more it is a used one, whoever sends it.
    assert_eq!(show(&client, &said).await.1["error"]["code"], "key-used");
    let (_, again) = show(&ci.site.client(), &said).await;
    assert_eq!(again["error"]["code"], "signature", "it names the other key");
    // Renewals are for the same networks only.
    let elsewhere = Client { ..client }.at([127, 0, 0, 9]);
    let (status, answer) = elsewhere.call("POST", "/v1/certificate", &json!({})).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (403, &json!("source-network")), "{answer}");
    assert!(
        ci.site
            .audit()
            .await
            .iter()
            .any(|entry| entry.starts_with("workload_signed_in ") && entry.contains("account/backup"))
    );
}

#[tokio::test]
async fn what_a_statement_must_be() {
    let ci = Ci::start().await;
    let client = ci.site.client();
    let stranger = ci.site.client();
    let base = || usual(&ci);
    let rows = [
        (Statement { account: "other", ..base() }, "service"),
        (Statement { account: "backup\n", ..base() }, "shape"),
        (Statement { key: &stranger.key, ..base() }, "service"),
        (Statement { time: NOW - 121, ..base() }, "clock"),
        (Statement { time: NOW + 121, ..base() }, "clock"),
        (Statement { nonce: "short".into(), ..base() }, "shape"),
        (Statement { fingerprint: Some(stranger.fingerprint()), ..base() }, "signature"),
    ];
    let mut codes = Vec::new();
    for (said, code) in &rows {
        let (status, answer) = show(&client, &statement(&ci, &client, said)).await;
        assert_eq!((status, &answer["error"]["code"]), (403, &json!(code)), "{answer}");
        codes.push(*code);
    }
    // From another network.
    let elsewhere = ci.site.client().at([127, 0, 0, 9]);
    let said = statement(&ci, &elsewhere, &base());
    assert_eq!(show(&elsewhere, &said).await.1["error"]["code"], "source");
    codes.push("source");
    let written = ci.refusals("service-statement").await;
    assert_eq!(written.iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>(), codes);
    // The registered key itself is nobody: it signs in nowhere, and certifies not itself.
    let registered = Client { key: ci.service.clone(), ..ci.site.client() };
    assert_eq!(registered.call("GET", "/v1/sign-in", &Value::Null).await.0, 401);
    let own = statement(&ci, &registered, &base());
    assert_eq!(show(&registered, &own).await.1["error"]["code"], "key-used");
    // Once the policy does not have it any more, what it holds is worth nothing.
    let said = statement(&ci, &client, &base());
    assert_eq!(show(&client, &said).await.0, 200);
    let other = PrivateKey::clone(&stranger.key).public_key().to_openssh().unwrap();
    let policy = std::fs::read_to_string(ci.site.dir().join("policy.toml")).unwrap();
    let key = ci.service.public_key().to_openssh().unwrap();
    ci.site.change_policy(&policy.replace(&key, &other)).await;
    let (status, answer) = client.call("POST", "/v1/certificate", &json!({})).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (403, &json!("no-access")), "{answer}");
}
