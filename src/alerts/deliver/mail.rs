//! A mail: one message to one address over SMTP, on a connection of its own. Without the protection that is configured
//! nothing is sent, neither mail nor password. That the server took it is all that counts: how it says goodbye does not.

use std::time::{Duration, UNIX_EPOCH};

use lettre::address::{Address, Envelope};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::timeout;

use super::{Undelivered, egress};
use crate::alerts::{Notice, message};
use crate::config::{Mail, MailTls};
use crate::time::Timestamp;

/// How long a mail server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// The mail server and how to speak to it.
pub(super) struct Post {
    config: Mail,
    hello: ClientId,
}

impl Post {
    pub(super) fn new(config: Mail, bastion: &str) -> Self {
        Self { config, hello: ClientId::Domain(bastion.to_owned()) }
    }

    pub(super) async fn send(
        &self,
        address: &str,
        notice: &Notice,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Undelivered> {
        let to: Address = address.parse().map_err(|e| Undelivered::failed(&e))?;
        let from: Address = self.config.from.parse().map_err(|e| Undelivered::failed(&e))?;
        let letter = write(&from, &to, notice, (at, now))?.formatted();
        let envelope = Envelope::new(Some(from), vec![to]).map_err(|e| Undelivered::failed(&e))?;
        let whole = timeout(self.config.timeout, async {
            let mut connection = self.connect().await?;
            connection.send(&envelope, &letter).await.map_err(|e| Undelivered::failed(&e))?;
            Ok(connection)
        });
        let mut connection = whole.await.unwrap_or_else(|_| Err(self.too_slow()))?;
        if !matches!(timeout(GOODBYE, connection.quit()).await, Ok(Ok(_))) {
            tracing::debug!("the mail server took the mail and left without a word");
        }
        Ok(())
    }

    fn too_slow(&self) -> Undelivered {
        let secs = self.config.timeout.as_secs();
        Undelivered::Failed(format!("the mail server took longer than {secs} s"))
    }

    /// A connection as protected as configured, and signed in where an account is.
    async fn connect(&self) -> Result<AsyncSmtpConnection, Undelivered> {
        let Mail { host, port, tls, account, timeout, .. } = &self.config;
        let addresses = egress::resolve(host, *port).await?;
        let wrapped = if *tls == MailTls::Tls { Some(self.tls()?) } else { None };
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(&*addresses, Some(*timeout), &self.hello, wrapped, None)
                .await
                .map_err(|e| Undelivered::failed(&e))?;
        if *tls == MailTls::StartTls {
            if !connection.can_starttls() {
                let why = "the mail server offers no STARTTLS, so nothing was sent";
                return Err(Undelivered::Failed(why.to_owned()));
            }
            connection.starttls(self.tls()?, &self.hello).await.map_err(|e| Undelivered::failed(&e))?;
        }
        if *tls != MailTls::Plain && !connection.is_encrypted() {
            return Err(Undelivered::Failed(
                "the connection is not encrypted, so nothing was sent".to_owned(),
            ));
        }
        if let Some((user, password)) = account {
            let credentials = Credentials::new(user.clone(), password.expose().clone());
            let signing_in = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
            signing_in.map_err(|e| Undelivered::failed(&e))?;
        }
        Ok(connection)
    }

    /// Whom to believe: the system's authorities, and those of `ca_file`.
    fn tls(&self) -> Result<TlsParameters, Undelivered> {
        let mut builder = TlsParameters::builder(self.config.host.clone());
        if let Some(path) = &self.config.ca_file {
            let pem = std::fs::read(path)
                .map_err(|e| Undelivered::Failed(format!("cannot read ca_file {}: {e}", path.display())))?;
            let root = Certificate::from_pem(&pem).map_err(|e| Undelivered::failed(&e))?;
            builder = builder.add_root_certificate(root);
        }
        builder.build().map_err(|e| Undelivered::failed(&e))
    }
}

/// The message. Its id is the notice's, and those of one request hang together.
fn write(
    from: &Address,
    to: &Address,
    notice: &Notice,
    (at, now): (Timestamp, Timestamp),
) -> Result<Message, Undelivered> {
    let letter = message::to_letter(notice, at);
    let host = from.domain();
    let automatic =
        HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    let mut builder = Message::builder()
        .from(Mailbox::new(Some("Caponier".to_owned()), from.clone()))
        .to(Mailbox::new(None, to.clone()))
        .subject(letter.subject)
        .date(UNIX_EPOCH + Duration::from_secs(now.as_secs()))
        .message_id(Some(format!("<{}@{host}>", notice.id)))
        .raw_header(automatic)
        .header(ContentType::TEXT_PLAIN);
    if let Some(case) = &notice.case {
        builder = builder.references(format!("<{case}@{host}>"));
    }
    builder.body(letter.body).map_err(|e| Undelivered::failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::NoticeKind;
    use crate::ids::{CaseId, NoticeId};
    use crate::random::Random;

    #[test]
    fn nobody_writes_headers_but_us() {
        let random = Random::seeded(1);
        let attack = "hi\r\nBcc: all@example.com\r\n\r\n<h1>body</h1>\u{2028}Cc: x@example.com";
        let notice = Notice::new(NoticeId::random(&random), NoticeKind::RequestPending, attack)
            .about(&CaseId::random(&random))
            .with("reason", attack)
            .with(attack, "\r\n.\r\nMAIL FROM:<evil@example.com>");
        let (from, to) = ("caponier@example.com".parse().unwrap(), "ann@example.com".parse().unwrap());
        let now = Timestamp::from_secs(1_800_000_000);
        let bytes = write(&from, &to, &notice, (now, now)).unwrap().formatted();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> = head
            .split("\r\n")
            .filter(|line| !line.starts_with([' ', '\t']))
            .filter_map(|line| Some(line.split_once(':')?.0))
            .collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(
            sorted,
            [
                "Auto-Submitted",
                "Content-Transfer-Encoding",
                "Content-Type",
                "Date",
                "From",
                "Message-ID",
                "References",
                "Subject",
                "To"
            ],
            "{text}"
        );
        assert!(!body.lines().any(|line| line == "." || line.starts_with("MAIL FROM")), "{body}");
        assert!(text.split("\r\n").all(|line| line.len() < 998 && !line.contains(['\r', '\n'])), "{text}");
        assert!(head.contains("Fri, 15 Jan 2027 08:00:00 +0000"), "{head}");
    }
}
