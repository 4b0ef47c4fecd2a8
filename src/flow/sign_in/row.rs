//! A pending sign-in as a row of the store, and back. The JSON is private to this file; a row that it does not
//! understand is void, never guessed at.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Handoff, Mode, Pending, State, Stay};
use crate::flow::recheck::Arrived;
use crate::identity::claims::Session;
use crate::identity::{Identity, Kind};
use crate::names::GroupName;
use crate::place::{area, wide_area};
use crate::secret::Sealed;
use crate::store::{PendingSignIn, StoreError};
use crate::time::Timestamp;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    key: Option<String>,
    client: String,
    from: IpAddr,
    provider: Option<String>,
    leaves: u32,
    loopback: Option<JsonLoopback>,
    stay: Option<JsonStay>,
    who: Option<JsonWho>,
    handoff: Option<JsonHandoff>,
    denied: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arrived: Option<JsonArrived>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonArrived {
    sub: String,
    sid: Option<String>,
    nonce_sha256: String,
    /// Id of the key and what is sealed under it.
    sealed: Option<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLoopback {
    port: u16,
    challenge: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonStay {
    provider: String,
    state_hash: String,
    cookie_hash: String,
    sealed_code: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonWho {
    provider: String,
    issuer: String,
    subject: String,
    display: String,
    groups: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonHandoff {
    hash: String,
    until_millis: u64,
}

fn bad(what: impl ToString) -> StoreError {
    StoreError::BadRow { table: "pending sign-ins", what: what.to_string() }
}

impl Pending {
    /// The row for this state.
    pub(super) fn to_row(&self) -> Result<PendingSignIn, StoreError> {
        let (who, handoff, denied) = match &self.state {
            State::Identified { who, handoff, .. } => (Some(who), handoff.as_ref(), None),
            State::Confirmed { who } => (Some(who), None, None),
            State::Denied { text } => (None, None, Some(text.clone())),
            State::Begun | State::AtProvider(_) | State::Exchanging(_) | State::Done => (None, None, None),
        };
        let loopback = match &self.mode {
            Mode::Loopback { port, challenge } => {
                Some(JsonLoopback { port: *port, challenge: challenge.clone() })
            }
            Mode::Device | Mode::Ssh => None,
        };
        let json = Json {
            key: self.key.clone(),
            client: self.client.clone(),
            from: self.from,
            provider: self.provider.as_ref().map(ToString::to_string),
            leaves: self.leaves,
            loopback,
            stay: self.stay().map(stay_to_json),
            who: who.map(who_to_json),
            handoff: handoff.map(|h| JsonHandoff { hash: h.hash.clone(), until_millis: h.until.as_millis() }),
            denied,
            arrived: self.arrived.as_ref().map(arrived_to_json),
        };
        let oauth_state_hash = match &self.state {
            State::AtProvider(stay) => Some(stay.state_hash.clone()),
            State::Begun
            | State::Exchanging(_)
            | State::Identified { .. }
            | State::Confirmed { .. }
            | State::Done
            | State::Denied { .. } => None,
        };
        Ok(PendingSignIn {
            id: self.id.clone(),
            mode: self.mode.word().to_owned(),
            state: self.state.word().to_owned(),
            oauth_state_hash,
            user_code_hash: self.user_code_hash.clone(),
            json: serde_json::to_string(&json).map_err(bad)?,
            area: area(self.from),
            wide_area: wide_area(self.from),
            created: self.created,
            expires: self.expires,
        })
    }

    /// What the row says.
    pub(super) fn from_row(row: PendingSignIn) -> Result<Self, StoreError> {
        let json: Json = serde_json::from_str(&row.json).map_err(bad)?;
        let stay = json.stay.map(stay_from_json).transpose()?;
        let who = json.who.map(who_from_json).transpose()?;
        let handoff =
            json.handoff.map(|h| Handoff { hash: h.hash, until: Timestamp::from_millis(h.until_millis) });
        let mode = match (row.mode.as_str(), json.loopback) {
            ("loopback", Some(to)) => Mode::Loopback { port: to.port, challenge: to.challenge },
            ("device", None) => Mode::Device,
            ("ssh", None) => Mode::Ssh,
            (other, _) => return Err(bad(format!("mode {other:?}"))),
        };
        let state = match (row.state.as_str(), stay, who, json.denied) {
            ("begun", None, None, None) => State::Begun,
            ("at-provider", Some(stay), None, None) => State::AtProvider(stay),
            ("exchanging", Some(stay), None, None) => State::Exchanging(stay),
            ("identified", Some(stay), Some(who), None) => State::Identified { stay, who, handoff },
            ("confirmed", None, Some(who), None) => State::Confirmed { who },
            ("done", None, None, None) => State::Done,
            ("denied", None, None, Some(text)) => State::Denied { text },
            (other, ..) => return Err(bad(format!("state {other:?}"))),
        };
        Ok(Self {
            id: row.id,
            mode,
            state,
            key: json.key,
            client: json.client,
            from: json.from,
            provider: json.provider.map(|name| name.parse().map_err(bad)).transpose()?,
            user_code_hash: row.user_code_hash,
            leaves: json.leaves,
            arrived: json.arrived.map(arrived_from_json),
            created: row.created,
            expires: row.expires,
        })
    }
}

fn stay_to_json(stay: &Stay) -> JsonStay {
    JsonStay {
        provider: stay.provider.to_string(),
        state_hash: stay.state_hash.clone(),
        cookie_hash: stay.cookie_hash.clone(),
        sealed_code: stay.sealed_code.clone(),
    }
}

fn stay_from_json(json: JsonStay) -> Result<Stay, StoreError> {
    Ok(Stay {
        provider: json.provider.parse().map_err(bad)?,
        state_hash: json.state_hash,
        cookie_hash: json.cookie_hash,
        sealed_code: json.sealed_code,
    })
}

fn arrived_to_json(arrived: &Arrived) -> JsonArrived {
    JsonArrived {
        sub: arrived.session.sub.clone(),
        sid: arrived.session.sid.clone(),
        nonce_sha256: arrived.nonce_sha256.clone(),
        sealed: arrived.sealed.as_ref().map(|sealed| (sealed.key_id.clone(), sealed.text.clone())),
    }
}

fn arrived_from_json(json: JsonArrived) -> Arrived {
    Arrived {
        session: Session { sub: json.sub, sid: json.sid },
        nonce_sha256: json.nonce_sha256,
        sealed: json.sealed.map(|(key_id, text)| Sealed { key_id, text }),
    }
}

fn who_to_json(who: &Identity) -> JsonWho {
    JsonWho {
        provider: who.provider.to_string(),
        issuer: who.issuer.clone(),
        subject: who.subject.clone(),
        display: who.display.clone(),
        groups: who.groups.iter().map(ToString::to_string).collect(),
    }
}

fn who_from_json(json: JsonWho) -> Result<Identity, StoreError> {
    let groups = json.groups.iter().map(|group| group.parse::<GroupName>().map_err(bad));
    Ok(Identity {
        kind: Kind::Person,
        provider: json.provider.parse().map_err(bad)?,
        issuer: json.issuer,
        subject: json.subject,
        display: json.display,
        groups: groups.collect::<Result<_, _>>()?,
        run: None,
    })
}
