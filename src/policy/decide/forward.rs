//! The part of the verdict that is about forwards: what the roles' rules (`policy::forwards`) say of one ask.

use super::open::{Open, done_under};
use super::{Verdict, allow_under, refuse};
use crate::policy::forwards::{Denied, ForwardRules, Host};
use crate::policy::{Act, Ask, Circumstances, RefusalCode, Target};

/// Judges a forward by the roles that open the target and the login.
pub(super) fn decide(ask: &Ask, target: &Target, opening: &[&Open<'_>], at: &Circumstances) -> Verdict {
    let mut allowing = Vec::new();
    let mut denied: Option<Denied> = None;
    for role in opening {
        let judged = if role.commands_only() {
            Err(Denied::NoRule("this, by a grant for commands".into()))
        } else {
            judge(&role.forwards, &ask.act, at)
        };
        match judged {
            Ok(_) => allowing.push(*role),
            Err(why) if denied.as_ref().is_none_or(|known| rank(&why) > rank(known)) => denied = Some(why),
            Err(_) => {}
        }
    }
    let under = done_under(&allowing, false);
    match allow_under(target, &under, at) {
        Some(Verdict::Allow(mut allowance)) => {
            let hosts = under.first().map(|role| judge(&role.forwards, &ask.act, at));
            allowance.hosts = hosts.and_then(Result::ok).unwrap_or_default();
            Verdict::Allow(allowance)
        }
        Some(refused @ Verdict::Refuse(_)) => refused,
        None => no(ask, opening, denied),
    }
}

fn judge(rules: &ForwardRules, act: &Act, at: &Circumstances) -> Result<Vec<String>, Denied> {
    let flag = |on: bool| if on { Ok(Vec::new()) } else { Err(Denied::NoRule(String::new())) };
    match act {
        Act::LocalForward { host, port, resolved } => {
            let host = Host::parse(host)?;
            match u16::try_from(*port) {
                Ok(port) if port > 0 => rules.local(&host, port, resolved, &at.own),
                Ok(_) | Err(_) => Err(Denied::NoRule(format!("port {port}"))),
            }
        }
        Act::RemoteForward { host, port } => match u16::try_from(*port) {
            Ok(port) => rules.listen(host, port).map(|()| Vec::new()),
            Err(_) => Err(Denied::NoRule(format!("port {port}"))),
        },
        Act::LocalSocket { path } => rules.local_socket(path).map(|()| Vec::new()),
        Act::RemoteSocket { path } => rules.remote_socket(path).map(|()| Vec::new()),
        Act::Agent => flag(rules.agent()),
        Act::X11 => flag(rules.x11()),
        Act::Shell { .. }
        | Act::Exec { .. }
        | Act::Subsystem { .. }
        | Act::Env { .. }
        | Act::Tun
        | Act::Unknown { .. } => Err(Denied::NoRule("this".into())),
    }
}

/// Of several roles' reasons the one that tells the user most.
fn rank(denied: &Denied) -> u8 {
    match denied {
        Denied::NoRule(_) => 0,
        Denied::Spelling(_) | Denied::Path(_) => 1,
        Denied::Unresolved(_) => 2,
        Denied::Special(..) => 3,
    }
}

fn no(ask: &Ask, opening: &[&Open<'_>], denied: Option<Denied>) -> Verdict {
    let names: Vec<&str> = opening.iter().map(|role| role.name.as_str()).collect();
    let names = names.join(", ");
    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller hands over forwards only")]
    match &ask.act {
        Act::Agent => refuse(
            ask,
            RefusalCode::Agent,
            "agent forwarding is not allowed to you; ssh -J needs none".into(),
            format!("role {names} does not allow agent forwarding"),
        ),
        Act::X11 => refuse(
            ask,
            RefusalCode::X11,
            "X11 forwarding is not allowed to you".into(),
            format!("role {names} does not allow X11 forwarding"),
        ),
        _ => {
            let text =
                denied.map_or_else(|| "forwarding is not allowed to you".into(), |denied| denied.to_string());
            let reason = format!("role {names}: {text};");
            refuse(ask, RefusalCode::Forward, text, reason)
        }
    }
}
