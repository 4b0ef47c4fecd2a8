//! Tests of the decision about grants for one use: whose they are, and what of them counts for whom.

use std::time::Duration;

use super::tests::{ask, noon, policy, shell, somebody, subsystem};
use super::*;
use crate::access::{Once, Party, Scope};
use crate::ids::{CaseId, GrantId, SessionId};
use crate::policy::{Granted, Held};
use crate::random::Random;

/// What is for one use gives nothing to whoever did not take it: not its end, not its rules.
#[test]
fn a_grant_for_one_use_counts_for_who_takes_it() {
    let role = |name: &str, more: &str| {
        format!(
            "[[role]]\nname = \"{name}\"\nmembers = {{ groups = [\"corp:dev\"] }}\ntargets = {{ names = [\"web1\"] }}\n\
             logins = [\"deploy\"]\nchannels = [\"shell\", \"sftp\"]\n{more}[role.request]\n\
             [[role.request.stage]]\ngroups = [\"corp:leads\"]\n"
        )
    };
    let target = "[[target]]\nname = \"web1\"\naddress = \"10.0.0.1\"\nhost_key = { ca = true }\n";
    let forwards = "forwards = { local = [\"127.0.0.1:1024-65535\"] }\n";
    let policy = policy(&[target, &role("usual", ""), &role("more", forwards)].concat());
    let (random, now) = (Random::seeded(5), noon().now);
    let ann = somebody("corp", "ann", &["corp:dev"]);
    let grant = |role: &str, once, mins: u64, used_by: Option<&SessionId>| Grant {
        id: GrantId::random(&random),
        case: CaseId::random(&random),
        who: Party::of(&ann),
        scope: Scope {
            role: role.parse().unwrap(),
            targets: ["web1".parse().unwrap()].into(),
            logins: ["deploy".parse().unwrap()].into(),
            commands: BTreeSet::new(),
            length: Duration::from_secs(60 * mins),
            once,
        },
        starts: now,
        until: now.plus(Duration::from_secs(60 * mins)),
        break_glass: false,
        used_by: used_by.cloned(),
        ended: None,
    };
    let (taker, other) = (SessionId::random(&random), SessionId::random(&random));
    let once = Some(Once::Session);
    let (lasting, same) = (|| grant("usual", None, 5, None), || grant("usual", once, 480, None));
    let (free, taken) = (|| grant("more", once, 480, None), || grant("more", once, 480, Some(&taker)));
    let forward = || Act::LocalForward { host: "127.0.0.1".into(), port: 8080, resolved: Vec::new() };
    let sftp = || subsystem("sftp");
    // What is granted, to whom, for what: the roles and the minutes until the end, or nothing.
    type Row<'r> = (Vec<Grant>, Option<&'r SessionId>, Act, Option<(&'r str, u64)>);
    let rows: [Row<'_>; 12] = [
        (vec![lasting(), free()], None, shell(), Some(("usual", 5))),
        (vec![free(), lasting()], None, shell(), Some(("usual", 5))),
        (vec![free()], None, shell(), Some(("more", 480))),
        (vec![free()], Some(&other), shell(), None),
        (vec![taken()], Some(&taker), shell(), Some(("more", 480))),
        (vec![taken()], Some(&other), shell(), None),
        (vec![taken()], None, shell(), None),
        // It is what allows forwards, so it is taken for one; what has not taken it has none.
        (vec![lasting(), free()], None, forward(), Some(("more", 480))),
        (vec![lasting(), free()], Some(&other), forward(), None),
        // Rules about files are asked later: what may add some is taken at once, and what adds none is not.
        (vec![lasting(), free()], None, sftp(), Some(("usual more", 480))),
        (vec![lasting(), same()], None, sftp(), Some(("usual", 5))),
        (vec![lasting(), free()], Some(&other), sftp(), Some(("usual", 5))),
    ];
    for (number, (grants, session, act, expect)) in rows.into_iter().enumerate() {
        let held =
            Held { granted: Granted::Only(grants.into()), session: session.cloned(), ..Held::default() };
        let verdict = decide(&policy, &ann, &ask("web1", "deploy", act), &Circumstances { held, ..noon() });
        let got = match verdict {
            Verdict::Allow(allowed) => {
                let roles: Vec<&str> = allowed.roles.iter().map(RoleName::as_str).collect();
                let of_grants: Vec<&str> =
                    allowed.grants.iter().map(|grant| grant.scope.role.as_str()).collect();
                assert_eq!(roles, of_grants, "row {number}: every role by a grant that is claimed");
                Some((roles.join(" "), allowed.ends.unwrap().since(now).as_secs() / 60))
            }
            Verdict::Refuse(_) => None,
        };
        assert_eq!(got, expect.map(|(roles, mins)| (roles.to_owned(), mins)), "row {number}");
    }
}
