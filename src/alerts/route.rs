//! Whom a notice reaches, by the configuration of now. Pure. Each receiver is a sink of its own, so that one that is
//! slow or gone delays nobody else; those that share a connection budget are in one lane.

use std::collections::BTreeSet;

use super::{Concerned, Notice};
use crate::config::Notify;

/// Most addresses that one notice is mailed to.
const ADDRESSES_MAX: usize = 200;

/// The lane of all mail: one server takes it.
pub(crate) const MAIL_LANE: &str = "mail";

/// One receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sink {
    /// Who shares its budget of attempts: `webhook:NAME`, or `mail`.
    pub lane: String,
    /// The receiver: `webhook:NAME`, `mail:ADDRESS`.
    pub name: String,
}

impl Sink {
    /// A webhook.
    pub(super) fn webhook(name: &str) -> Self {
        let name = format!("webhook:{name}");
        Self { lane: name.clone(), name }
    }

    /// Somebody's mailbox.
    fn mail(address: &str) -> Self {
        Self { lane: MAIL_LANE.to_owned(), name: format!("{MAIL_LANE}:{address}") }
    }
}

/// The sinks of a notice: webhooks that want its kind, addresses that get every notice of its kind, and the addresses
/// of those who are concerned. Each once.
pub fn route(config: &Notify, notice: &Notice) -> Vec<Sink> {
    let kind = notice.kind.word();
    let hooks = config.webhooks.iter().filter(|hook| hook.kinds.contains(kind));
    let mut sinks: Vec<Sink> = hooks.map(|hook| Sink::webhook(&hook.name)).collect();
    let Some(mail) = &config.mail else { return sinks };
    let by_rule = mail.rules.iter().filter(|rule| rule.kinds.contains(kind)).flat_map(|rule| &rule.addresses);
    let addresses_of = |who: &Concerned| match who {
        Concerned::Group(name) => mail.groups.get(name),
        Concerned::Person(name) => mail.people.get(name),
    };
    let concerned = notice.audience.iter().filter_map(addresses_of).flatten();
    let addresses: BTreeSet<&String> = by_rule.chain(concerned).collect();
    sinks.extend(addresses.into_iter().take(ADDRESSES_MAX).map(|address| Sink::mail(address)));
    sinks
}

/// Every lane that the configuration knows.
pub fn lanes(config: &Notify) -> Vec<String> {
    let hooks = config.webhooks.iter().map(|hook| Sink::webhook(&hook.name).lane);
    hooks.chain(config.mail.as_ref().map(|_| MAIL_LANE.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::alerts::NoticeKind;
    use crate::config::{Mail, MailRule, MailTls, Webhook, WebhookFormat};
    use crate::ids::NoticeId;
    use crate::random::Random;
    use crate::secret::Secret;

    fn hook(name: &str, kinds: &[&str]) -> Webhook {
        Webhook {
            name: name.into(),
            url: Secret::new("https://hooks.example/x".into()),
            format: WebhookFormat::Slack,
            secrets: Vec::new(),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn whom_a_notice_reaches() {
        let rule = |kind: &str, address: &str| MailRule {
            kinds: [kind.to_owned()].into(),
            addresses: vec![address.to_owned()],
        };
        let groups = [
            ("corp:approvers".to_owned(), vec!["ann@x.example".to_owned(), "bob@x.example".to_owned()]),
            ("corp:u-8".to_owned(), vec!["group@x.example".to_owned()]),
        ];
        let people = [
            ("corp:u-7".to_owned(), vec!["bob@x.example".to_owned()]),
            ("corp:approvers".to_owned(), vec!["called-so@x.example".to_owned()]),
        ];
        let config = Notify {
            give_up: Duration::from_secs(1),
            keep: Duration::from_secs(1),
            webhooks: vec![hook("all", &["request.pending", "alert.raised"]), hook("soc", &["alert.raised"])],
            mail: Some(Mail {
                host: "localhost".into(),
                port: 25,
                tls: MailTls::Plain,
                ca_file: None,
                from: "caponier@x.example".into(),
                account: None,
                timeout: Duration::from_secs(1),
                rules: vec![rule("alert.raised", "soc@x.example")],
                groups: groups.into(),
                people: people.into(),
            }),
        };
        let (group, person) =
            (|name: &str| Concerned::Group(name.into()), |name: &str| Concerned::Person(name.into()));
        let names = |kind, audience: &[Concerned]| -> Vec<String> {
            let audience = audience.iter().cloned();
            let notice = Notice::new(NoticeId::random(&Random::System), kind, "x").to(audience);
            route(&config, &notice).into_iter().map(|sink| sink.name).collect()
        };
        for (kind, audience, expect) in [
            (NoticeKind::GrantEnded, &[][..], &[][..]),
            (NoticeKind::AlertRaised, &[], &["webhook:all", "webhook:soc", "mail:soc@x.example"]),
            (
                NoticeKind::RequestPending,
                &[
                    group("corp:approvers"),
                    person("corp:u-7"),
                    // A person who is called like a group, and a group like a person.
                    person("corp:u-8"),
                    group("corp:u-7"),
                    person("corp:nobody"),
                    person("soc@x.example"),
                ],
                &["webhook:all", "mail:ann@x.example", "mail:bob@x.example"],
            ),
            (NoticeKind::GrantEnded, &[person("corp:approvers")], &["mail:called-so@x.example"]),
        ] {
            assert_eq!(names(kind, audience), expect, "{kind} {audience:?}");
        }
        assert_eq!(lanes(&config), ["webhook:all", "webhook:soc", "mail"]);
    }
}
