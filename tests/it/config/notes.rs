//! What `config check` says of a good configuration that deserves a thought.

use super::*;

#[test]
fn check_says_when_people_can_become_somebody_else() {
    let folder = Folder::new();
    folder.write("policy.toml", POLICY, 0o644);
    for (claim, is_noted) in [("sub", false), ("oid", false), ("preferred_username", true), ("email", true)] {
        let text = edited(GOOD, "[[provider]]", &format!("[[provider]]\nclaim_subject = \"{claim}\""));
        folder.write("caponier.toml", &text, 0o644);
        let (code, said) = command(&folder, ConfigCommand::Check(Format { json: false }));
        assert_eq!(code, 0, "{said}");
        let note = format!("note: corp names people by \"{claim}\" (claim_subject)");
        assert_eq!(said.contains(&note), is_noted, "{claim}: {said}");
    }
}
