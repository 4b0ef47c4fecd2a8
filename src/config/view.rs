//! The effective configuration as people and programs may see it: the keys of the file, defaults included, no secret.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::alerts::{DAYS, show_minute};
use super::{
    AlertRule, Alerts, Archive, ArchivePlace, AuditSink, Ca, CaSource, Config, Issuer, KeySource, Keys, Mail,
    Notify, Passphrase, People, Provider, Retention, SinkTo, SyslogTo, Webhook, show_duration, show_size,
    store_url,
};

/// What stands where a secret is.
const HIDDEN: &str = "(secret)";

/// See [`Config::view`].
pub(super) fn view(config: &Config) -> Value {
    let ssh = &config.ssh;
    let web = &config.web;
    without_nulls(json!({
        "state_dir": config.state_dir,
        "ssh": {
            "listen": ssh.listen.to_string(),
            "host_names": ssh.host_names,
            "public_port": ssh.public_port,
            "client_patterns": ssh.client_patterns,
            "connections_max": ssh.connections_max,
            "unauthenticated_max": ssh.unauthenticated_max,
            "login_grace": show_duration(ssh.login_grace),
        },
        "web": without_nulls(json!({
            "listen": web.listen.to_string(),
            "public_url": web.public_url.as_str().trim_end_matches('/'),
            "tls_cert": web.tls_cert,
            "tls_key": web.tls_key,
            "trusted_proxies": web.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })),
        "store": { "url": store_url::shown(config.store_url.expose()) },
        "ca": ca(&config.ca),
        "certificates": {
            "life": show_duration(config.certificates.life),
            "bind_source_address": config.certificates.bind_source_address,
        },
        "provider": config.providers.iter().map(provider).collect::<Vec<_>>(),
        "issuer": config.issuers.iter().map(issuer).collect::<Vec<_>>(),
        "sign_in": sign_in(config),
        "sessions": {
            "max": show_duration(config.sessions.max),
            "idle": show_duration(config.sessions.idle),
            "env": config.sessions.env,
            "dial": show_duration(config.sessions.dial),
        },
        "recording": {
            "dir": config.recording.dir,
            "input": config.recording.input,
            "exec_output_max": show_size(config.recording.exec_output_max),
            "index": config.recording.index.as_str(),
            "part_max": show_size(config.recording.part_max),
            "free_min": show_size(config.recording.free_min),
        },
        "archive": config.archive.as_ref().map(archive),
        "audit": {
            "checkpoint_every": show_duration(config.audit.checkpoint_every),
            "sink": config.audit.sinks.iter().map(audit_sink).collect::<Vec<_>>(),
        },
        "notify": notify(&config.notify),
        "alerts": alerts(&config.alerts),
        "policy": { "file": config.policy_file },
        "log": { "format": if config.log_json { "json" } else { "text" } },
    }))
}

fn sign_in(config: &Config) -> Value {
    let checks = &config.checks;
    let (key, value) = match &checks.keys {
        KeySource::Own(path) | KeySource::File(path, _) => ("key_file", json!(path)),
        KeySource::Env(name, _) => ("key_env", json!(name)),
    };
    json!({
        "life": show_duration(config.sign_in_life),
        "check_every": show_duration(checks.every),
        "provider_outage": checks.outage.as_str(),
        "provider_outage_max": show_duration(checks.outage_max),
        key: value,
        "admins": people(&config.admins),
        "auditors": people(&config.auditors),
        "watchers": people(&config.watchers),
        "killers": people(&config.killers),
    })
}

fn people(people: &People) -> Value {
    let groups: Vec<String> = people.groups.iter().map(ToString::to_string).collect();
    let subjects: Vec<String> = people.subjects.iter().map(ToString::to_string).collect();
    json!({ "groups": groups, "subjects": subjects })
}

fn ca(ca: &Ca) -> Value {
    let (key, value) = match &ca.source {
        CaSource::Files(Passphrase::File(path)) => ("passphrase_file", json!(path)),
        CaSource::Files(Passphrase::Env(name)) => ("passphrase_env", json!(name)),
        CaSource::Files(Passphrase::Credential(name)) => ("passphrase_credential", json!(name)),
        CaSource::Files(Passphrase::Plain) => ("plain", json!(true)),
        CaSource::Agent(path) => ("agent", json!(path)),
    };
    json!({ "dir": ca.dir, key: value })
}

fn provider(provider: &Provider) -> Value {
    without_nulls(json!({
        "name": provider.name.as_str(),
        "title": provider.title,
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "client_secret": provider.client_secret.as_ref().map(|_| HIDDEN),
        "scopes": provider.scopes,
        "algorithms": provider.algorithms,
        "claim_subject": provider.claim_subject,
        "claim_display": provider.claim_display,
        "claim_groups": provider.claim_groups,
        "refresh_token": provider.refresh_token.as_str(),
    }))
}

fn issuer(issuer: &Issuer) -> Value {
    let file = match &issuer.keys {
        Keys::Discovery => None,
        Keys::File(path) => Some(path),
    };
    let generic = issuer.generic.as_ref();
    without_nulls(json!({
        "name": issuer.name.as_str(),
        "type": issuer.platform.as_str(),
        "issuer": issuer.issuer,
        "audience": issuer.audience,
        "bind": issuer.bind.as_str(),
        "algorithms": issuer.algorithms,
        "age_max": show_duration(issuer.age_max),
        "run_max": show_duration(issuer.run_max),
        "jwks_file": file,
        "webhook_secret": issuer.webhook_secret.as_ref().map(|_| HIDDEN),
        "id_claim": generic.map(|generic| &generic.id_claim),
        "label_claim": generic.and_then(|generic| generic.label_claim.as_ref()),
        "run_claim": generic.and_then(|generic| generic.run_claim.as_ref()),
        "claims": generic.map(|generic| &generic.claims),
    }))
}

fn archive(archive: &Archive) -> Value {
    let mut shown = match &archive.place {
        ArchivePlace::Nowhere => json!({ "kind": "none" }),
        ArchivePlace::Folder(path) => json!({ "kind": "folder", "path": path }),
        ArchivePlace::Bucket(bucket) => without_nulls(json!({
            "kind": "s3",
            "bucket": bucket.name,
            "prefix": bucket.prefix,
            "region": bucket.region,
            "endpoint": bucket.endpoint.as_ref().map(|url| url.as_str().trim_end_matches('/')),
            "access_key": HIDDEN,
            "secret_key": HIDDEN,
            "path_style": bucket.path_style,
        })),
    };
    let rule = |rule: &Retention| {
        let label = rule.label.as_ref().map(|(key, value)| format!("{key}={value}"));
        without_nulls(json!({ "role": rule.role, "label": label, "days": rule.days }))
    };
    let more = without_nulls(json!({
        "encrypt_to": archive.encrypt_to,
        "zstd_level": archive.zstd_level,
        "keep_local": show_duration(archive.keep_local),
        "retention_days": archive.retention_days,
        "retention": archive.retention.iter().map(rule).collect::<Vec<_>>(),
    }));
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}

fn audit_sink(sink: &AuditSink) -> Value {
    let common = json!({
        "name": sink.name,
        "from": if sink.from_beginning { "beginning" } else { "now" },
        "behind_max": show_duration(sink.behind_max),
        "timeout": show_duration(sink.timeout),
    });
    let own = match &sink.to {
        SinkTo::File(path) => json!({ "type": "file", "path": path }),
        SinkTo::Syslog(SyslogTo::Unix(path)) => {
            json!({ "type": "syslog", "to": format!("unix:{}", path.display()) })
        }
        SinkTo::Syslog(SyslogTo::Tcp(host, port)) => {
            json!({ "type": "syslog", "to": format!("tcp://{host}:{port}"), "cleartext": true })
        }
        SinkTo::Syslog(SyslogTo::Tls(host, port, ca_file)) => {
            json!({ "type": "syslog", "to": format!("tls://{host}:{port}"), "ca_file": ca_file })
        }
        SinkTo::Http(to) => json!({
            "type": "http", "url": to.url.as_str(), "token": to.token.as_ref().map(|_| HIDDEN),
            "secrets": to.secrets.len(),
        }),
    };
    let mut all = Map::new();
    for part in [common, own] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    without_nulls(all.into())
}

fn notify(notify: &Notify) -> Value {
    without_nulls(json!({
        "give_up": show_duration(notify.give_up),
        "keep": show_duration(notify.keep),
        "webhook": notify.webhooks.iter().map(webhook).collect::<Vec<_>>(),
        "mail": notify.mail.as_ref().map(mail),
    }))
}

/// Of the URL only where it leads: with many chats, who knows it whole may post there.
fn webhook(webhook: &Webhook) -> Value {
    let url = url::Url::parse(webhook.url.expose()).ok();
    let host = url.map(|url| url.origin().ascii_serialization());
    json!({
        "name": webhook.name,
        "url": format!("{}/{HIDDEN}", host.unwrap_or_default()),
        "format": webhook.format.word(),
        "secrets": webhook.secrets.len(),
        "kinds": webhook.kinds,
        "timeout": show_duration(webhook.timeout),
    })
}

fn mail(mail: &Mail) -> Value {
    let rules = mail.rules.iter().map(|rule| json!({ "kinds": rule.kinds, "addresses": rule.addresses }));
    without_nulls(json!({
        "server": format!("{}:{}", mail.host, mail.port),
        "tls": mail.tls.word(),
        "ca_file": mail.ca_file,
        "from": mail.from,
        "user": mail.account.as_ref().map(|(user, _)| user),
        "password": mail.account.as_ref().map(|_| HIDDEN),
        "timeout": show_duration(mail.timeout),
        "to": rules.collect::<Vec<_>>(),
        "groups": addresses(&mail.groups),
        "people": addresses(&mail.people),
    }))
}

fn addresses(of: &BTreeMap<String, Vec<String>>) -> Value {
    of.iter().map(|(name, to)| (name.clone(), json!(to.join(", ")))).collect::<Map<_, _>>().into()
}

fn alerts(alerts: &Alerts) -> Value {
    let rule = |rule: AlertRule| {
        let setting = alerts.setting(rule);
        let mut shown = json!({
            "on": setting.on,
            "count": rule.counts().then_some(setting.count),
            "window": rule.spans().then(|| show_duration(setting.window)),
        });
        if let (AlertRule::OddHours, Value::Object(shown)) = (rule, &mut shown) {
            let hours = &alerts.hours;
            let days = DAYS.iter().filter(|(_, day)| hours.days.contains(day)).map(|(name, _)| *name);
            shown.insert("zone".into(), json!(hours.zone_name));
            shown.insert("days".into(), days.collect());
            shown.insert("from".into(), json!(show_minute(hours.from)));
            shown.insert("to".into(), json!(show_minute(hours.to)));
        }
        (rule.word().to_owned(), without_nulls(shown))
    };
    AlertRule::ALL.into_iter().map(rule).collect::<Map<_, _>>().into()
}

/// Leaves out what is not set: TOML has no null.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).collect::<Map<_, _>>())
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            other
        }
    }
}
