//! `ssh bastion inbox|requests|show|approve|deny|cancel|release|request|targets`, asked with the stock client.

use caponier::access::{Close, State};

use super::{Yard, hour};
use crate::world::{PATIENCE, me};

/// The id in a text.
#[track_caller]
fn id_in(text: &str) -> String {
    let at = text.find("req_").unwrap_or_else(|| panic!("no id in {text}"));
    text[at..at + 30].to_owned()
}

#[test]
fn a_request_from_asking_to_giving_back() {
    let yard = Yard::with("reason = { min = 10 }");
    let erin = |words: &str| yard.question(&yard.erin, words).run();
    let lead = |words: &str| yard.question(&yard.lead, words).run();
    let me = me();
    let targets = erin("targets").ok();
    assert!(
        targets.contains(&format!("web1  as {me} (by request), nobody (by request)"))
            || targets.contains(&format!("web1  as nobody (by request), {me} (by request)")),
        "{targets}"
    );
    assert!(lead("inbox").ok().contains("Nothing waits for you."));

    // Asking: too short a reason, too long a time, and right.
    let said = erin(&format!("request web1 {me} 30m short"));
    said.ended(126);
    assert!(said.errors().contains("the reason must have at least 10 characters"), "{}", said.errors());
    let said = erin(&format!("request web1 {me} 9h rotate the certificate"));
    said.ended(126);
    assert!(said.errors().contains("gives at most 2h"), "{}", said.errors());
    erin("request nowhere1 nobody 30m rotate the certificate").ended(126);
    let said = erin(&format!("request web1 {me} 30m rotate the certificate; $(id)"));
    said.ended(75);
    let id = id_in(&said.text());
    assert!(said.text().contains("Waiting for req_"), "{}", said.text());
    assert!(erin("requests").ok().contains(&id));

    // Whom it concerns sees it; nobody else, not even by trying ids.
    let inbox = lead("inbox").ok();
    assert!(inbox.contains(&id) && inbox.contains("reason: rotate the certificate; $(id)"), "{inbox}");
    let other = yard.question(&yard.other, &format!("show {id}")).run();
    other.ended(126);
    assert!(!other.errors().contains("rotate"), "{}", other.errors());
    yard.question(&yard.other, &format!("approve {id}")).run().ended(126);
    yard.question(&yard.other, &format!("show {}", &id[..12])).run().ended(126);
    let own = erin(&format!("approve {id}"));
    own.ended(126);
    assert!(own.errors().contains("nobody approves their own request"), "{}", own.errors());

    // Deciding, with a part of the id.
    lead("approve req_").ended(64);
    for words in [format!("approve {}", &id[4..11]), format!("deny {} no", &id[4..8])] {
        let said = lead(&words);
        said.ended(64);
        assert!(said.errors().contains("write more of it"), "{}", said.errors());
    }
    assert!(lead(&format!("show {}", &id[4..8])).ok().contains(&id));
    let said = lead(&format!("approve {} go ahead", &id[4..12]));
    assert!(said.ok().contains("granted: from"), "{}", said.text());
    assert!(erin("targets").ok().contains(&format!("{me} (granted until ")));
    yard.ssh(&["web1", "true"]).run().ok();
    lead(&format!("deny {id} too late")).ended(126);
    let said = erin("release");
    assert!(said.ok().contains("released"), "{}", said.text());
    erin("release").ended(126);
    yard.ssh(&["web1", "true"]).run().ended(255);

    // Denied, and taken back.
    let again = id_in(&erin(&format!("request web1 {me} 30m rotate the certificate")).text());
    lead(&format!("deny {again} ask tomorrow")).ok();
    let shown = erin(&format!("show {again}")).ok();
    assert!(shown.contains("denied") && shown.contains("by corp:lead: ask tomorrow"), "{shown}");
    let last = id_in(&erin(&format!("request web1 {me} 30m rotate the certificate")).text());
    erin(&format!("cancel {last}")).ok();
    assert!(matches!(yard.case(&last.parse().unwrap()).state, State::Closed { close: Close::Cancelled, .. }));
}

#[test]
fn what_is_not_a_question_is_told_how_to_ask() {
    let yard = Yard::with("");
    let erin = |words: &str| yard.question(&yard.erin, words).run();
    let help = erin("help").ok();
    for word in ["inbox", "requests", "approve ID", "deny ID REASON", "release [ID]", "request TARGET LOGIN"]
    {
        assert!(help.contains(word), "{word}: {help}");
    }
    erin("deny req_0abc").ended(64);
    erin("request web1").ended(64);
    erin("show 'a b'").ended(64);
    erin("approve req_0abc \u{1b}]0;x\u{7}").ended(64);
    erin("sh -c id").ended(127);
    erin("show req_0abcdefghjkmnpqrstvwxyz01").ended(126);
    // Two grants: which one is not guessed.
    let one = yard.granted(&hour());
    yard.granted(&hour());
    let said = erin("release");
    said.ended(64);
    assert!(said.errors().contains(one.id.as_str()), "{}", said.errors());
    erin(&format!("release {}", one.id)).ok();
    erin("release").ok();
}

#[test]
fn whose_sign_in_has_ended_decides_nothing() {
    let yard = Yard::with("");
    let case = yard.asked(&hour());
    // A connection that is open before the sign-in ends.
    let socket = yard.local.dir().join("mux").display().to_string();
    let mux = ["-o", "ControlMaster=yes", "-o", "ControlPersist=60", "-S", &socket, "bastion", "whoami"];
    yard.local.ssh(&yard.lead).args(mux).run().ok();
    let ended = yard.caller(&yard.local.app, &yard.lead).sign_in().clone();
    yard.run(caponier::flow::end_sign_in::end(&yard.local.app, &ended, "test", "left")).unwrap();
    let said = yard
        .local
        .ssh(&yard.lead)
        .args(["-S", &socket, "bastion", &format!("approve {}", case.id)])
        .patience(PATIENCE)
        .run();
    assert_ne!(said.status, Some(0), "{}", said.text());
    assert!(matches!(yard.case(&case.id).state, State::Waiting { .. }));
}
