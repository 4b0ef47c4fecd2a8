//! Mail, at a real mail server: protected or not at all, to whom it concerns, and nothing in it that we did not write.

use caponier::alerts::{Concerned, Notice, NoticeKind};
use caponier::ids::NoticeId;
use caponier::random::Random;
use caponier::time::Clock;

use super::receiver::wall;
use super::smtp::{MailServer, Manner};
use super::{Outpost, until, until_all_told};
use crate::world::scratch;

/// `[notify.mail]` for a server on this port.
fn mail(port: u16, tls: &str, more: &str) -> String {
    format!(
        "[notify.mail]\nserver = \"localhost:{port}\"\ntls = \"{tls}\"\nfrom = \"caponier@bastion.example\"\n\
         timeout = \"3s\"\n{more}\n[[notify.mail.to]]\nkinds = [\"alert.raised\"]\naddresses = [\"soc@x.example\"]\n\
         [notify.mail.groups]\n\"corp:approvers\" = \"ann@x.example, bob@x.example\"\n[notify.mail.people]\n\"corp:u-7\" = \"ann@x.example\"\n"
    )
}

fn hostile() -> Notice {
    let attack = "root\r\nBcc: all@x.example\r\n\r\n.\r\nMAIL FROM:<evil@x.example>\u{202e}";
    Notice::new(NoticeId::random(&Random::System), NoticeKind::RequestPending, attack)
        .to([Concerned::Group("corp:approvers".to_owned()), Concerned::Person("corp:u-7".to_owned())])
        .with("reason", attack)
}

/// The problem of the one delivery that failed.
async fn problem(desk: &Outpost) -> String {
    until("an attempt that failed", async || {
        let later = wall().plus(std::time::Duration::from_secs(3600));
        desk.app.store.overdue_deliveries((later, later), later, 10).await.unwrap().pop()?.problem
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_reaches_those_concerned_once_and_protected() {
    for (manner, tls) in [(Manner::StartTls, "starttls"), (Manner::Tls, "tls")] {
        let dir = scratch();
        let server = MailServer::start(manner, dir.path(), "DNS:localhost");
        let account = format!(
            "ca_file = \"{}\"\nuser = \"caponier\"\npassword_file = \"password\"",
            dir.path().join("cert.pem").display()
        );
        let desk = Outpost::open(&mail(server.port, tls, &account), Clock::System).await;
        let _jobs = desk.run();
        desk.enqueue(&hostile()).await;
        desk.tell(None, NoticeKind::AlertRaised, "ünusual").await;
        desk.tell(None, NoticeKind::GrantEnded, "of nobody's interest").await;
        until_all_told(&desk.app.store).await;
        let mut letters = server.letters();
        letters.sort_by(|a, b| a.to.cmp(&b.to));
        let to: Vec<&str> = letters.iter().map(|one| one.to.as_str()).collect();
        assert_eq!(to, ["RCPT TO:<ann@x.example>", "RCPT TO:<bob@x.example>", "RCPT TO:<soc@x.example>"]);
        for one in &letters {
            assert!(
                one.is_protected && one.from.starts_with("MAIL FROM:<caponier@bastion.example>"),
                "{one:?}"
            );
            let (head, body) = one.text.split_once("\r\n\r\n").unwrap();
            assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{}", one.text);
            assert!(!body.lines().any(|line| line.starts_with("MAIL FROM") || line == "."), "{}", one.text);
        }
        let clear = server.clear();
        assert!(clear.iter().all(|line| line.starts_with("EHLO") || line == "STARTTLS"), "{clear:?}");
        assert_eq!(server.passwords().len(), 3, "a password for each connection, inside TLS");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_that_is_configured_nothing_is_sent() {
    let says = [
        (Manner::Plain, "starttls", "DNS:localhost", true, "offers no STARTTLS"),
        (Manner::RefusesStartTls, "starttls", "DNS:localhost", true, "454"),
        (Manner::StartTls, "starttls", "DNS:other.example", true, "certificate"),
        (Manner::StartTls, "starttls", "DNS:localhost", false, "certificate"),
        (Manner::Tls, "tls", "DNS:other.example", true, "certificate"),
        (Manner::Plain, "tls", "DNS:localhost", true, ""),
    ];
    for (manner, tls, name, is_trusted, part) in says {
        let dir = scratch();
        let server = MailServer::start(manner, dir.path(), name);
        let ca = format!("ca_file = \"{}\"\n", dir.path().join("cert.pem").display());
        let more = format!(
            "{}user = \"caponier\"\npassword_file = \"password\"",
            if is_trusted { ca.as_str() } else { "" }
        );
        let desk = Outpost::open(&mail(server.port, tls, &more), Clock::System).await;
        let _jobs = desk.run();
        desk.tell(None, NoticeKind::AlertRaised, "secret title").await;
        let problem = problem(&desk).await;
        assert!(problem.contains(part), "{manner:?} {tls} {name}: {problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
        assert_eq!((server.letters().len(), server.passwords().len()), (0, 0), "{manner:?} {tls} {name}");
        let clear = server.clear().concat();
        assert!(
            !clear.contains("MAIL") && !clear.contains("AUTH") && !clear.contains("secret title"),
            "{clear}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_is_asked_again_and_a_rude_one_is_not() {
    for (manner, attempts) in [(Manner::Busy, 3), (Manner::Rude, 1)] {
        let dir = scratch();
        let server = MailServer::start(manner, dir.path(), "DNS:localhost");
        let desk = Outpost::open(&mail(server.port, "none", ""), Clock::System).await;
        let _jobs = desk.run();
        desk.tell(None, NoticeKind::AlertRaised, "x").await;
        until_all_told(&desk.app.store).await;
        assert_eq!(server.letters().len(), 1, "{manner:?}");
        let tried = server.clear().iter().filter(|line| *line == "DATA").count();
        assert_eq!(tried, attempts, "{manner:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_does_not_hold_anybody() {
    let dir = scratch();
    let server = MailServer::start(Manner::Silent, dir.path(), "DNS:localhost");
    let desk = Outpost::open(&mail(server.port, "none", ""), Clock::System).await;
    let jobs = desk.run();
    desk.tell(None, NoticeKind::AlertRaised, "x").await;
    let problem = problem(&desk).await;
    assert!(problem.contains("longer than 3 s") || problem.contains("timed out"), "{problem}");
    drop(jobs);
    assert!(server.letters().is_empty());
}
