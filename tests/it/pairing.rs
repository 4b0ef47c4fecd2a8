//! Codes that a person types into a browser: `ssh` without any certificate, and `caponier login --device`. A stranger's
//! terminal, a real Chromium, a real provider.

use std::path::PathBuf;

use crate::ending::sign_ins;
use crate::world::bastion::{Bastion, Laptop, page_of};
use crate::world::browser::Browser;
use crate::world::process::Running;
use crate::world::ssh::Ssh;
use crate::world::stage::{Plan, Stage};
use crate::world::terminal::Terminal;
use crate::world::{PATIENCE, me, root, wait_for};

const PRESS: &str = "Press Enter when you have confirmed it in the browser: ";

/// A stage without anybody, and a machine that has only heard of the host authority.
struct Stranger {
    stage: Stage,
    laptop: Laptop,
    config: PathBuf,
}

impl Stranger {
    fn comes() -> Self {
        let stage = Stage::set_to(Plan { real: Some("RS256"), nobody: true, ..Plan::default() });
        let laptop = Laptop::new();
        let (config, known) = (laptop.home().join("config"), laptop.home().join("known"));
        let host_ca = stage.bastion.admin(&["ca", "show", "--host-ca"]).ok();
        let port = stage.bastion.ssh_port;
        let name = Bastion::NAME;
        std::fs::write(&known, format!("@cert-authority [{name}]:{port},web1 {host_ca}")).unwrap();
        let text = format!(
            "Host {name}\n    Port {port}\nHost *\n    UserKnownHostsFile {}\n    GlobalKnownHostsFile /dev/null\n    \
             StrictHostKeyChecking yes\n    IdentityFile none\n    IdentityAgent none\n",
            known.display()
        );
        std::fs::write(&config, text).unwrap();
        Self { stage, laptop, config }
    }

    /// Stock ssh in a terminal.
    fn ssh(&self, args: &[&str]) -> Terminal {
        Ssh::new(&self.config).args(args).env("HOME", self.laptop.home()).terminal(100, 30)
    }
}

/// The page and the code that the terminal shows, and the place behind the question.
fn asked(terminal: &Terminal) -> (String, String) {
    let end = terminal.wait_for(PRESS);
    let shown = terminal.shown();
    let mut lines = shown[..end].lines().map(str::trim).skip_while(|line| !line.starts_with("http://"));
    (lines.next().unwrap().to_owned(), lines.next().unwrap().to_owned())
}

/// Opens the page, signs in at the provider, and stands before the question whether this is them.
fn up_to_the_question(browser: &mut Browser, page: &str, code: &str) {
    assert_eq!(browser.goto(page), 200);
    browser.fill("input[name=code]", code);
    browser.click("Continue");
    browser.sign_in_at_provider("engineer");
    browser.expect("Does your terminal show exactly this code?");
    for shown in [code, "Erin Engineer (corp:engineer)", "127.0.0.1"] {
        browser.expect(shown);
    }
}

fn confirm_in_browser(page: &str, code: &str) {
    let mut browser = Browser::start();
    up_to_the_question(&mut browser, page, code);
    browser.expect("an SSH connection, and for that connection only");
    browser.click("Yes, sign it in");
    browser.expect("Signed in");
    assert_eq!(browser.problems(), Vec::<String>::new());
}

#[test]
fn ssh_without_a_certificate_pairs_with_a_browser() {
    let stranger = Stranger::comes();
    let login = me();
    let through_name = format!("{login}%web1");
    for (args, expected) in [
        (vec![Bastion::NAME, "whoami"], "You are Erin Engineer (corp:engineer), signed in until "),
        (vec!["-J", Bastion::NAME, "-l", &login, "web1", "echo by-jump-$((40+2))"], "by-jump-42"),
        (vec!["-l", &through_name, Bastion::NAME, "echo by-name-$((40+2))"], "by-name-42"),
    ] {
        let terminal = stranger.ssh(&args);
        let (page, code) = asked(&terminal);
        confirm_in_browser(&page, &code);
        terminal.type_in("\r");
        let (status, shown) = terminal.finish(PATIENCE);
        assert!(status == Some(0) && shown.contains(expected), "{args:?}: {shown}");
        assert!(!shown.contains("Are you sure"), "the host key was known: {shown}");
    }
    let signed_in = stranger.stage.wait_for_audit("signed_in", "\"ssh\"");
    assert!(signed_in.contains("corp"), "{signed_in}");
    // Each was for its connection, and ended with it.
    wait_for("the end of all three sign-ins", PATIENCE, || {
        sign_ins(&stranger.stage.bastion).is_empty().then_some(())
    });
    let ended = |(kind, fields): &(String, String)| {
        kind == "sign_in_ended" && fields.contains("its connection ended")
    };
    assert_eq!(stranger.stage.audit().iter().filter(|entry| ended(entry)).count(), 3);
}

#[test]
fn denying_in_the_browser_ends_the_connection() {
    let stranger = Stranger::comes();
    let terminal = stranger.ssh(&[Bastion::NAME, "whoami"]);
    let (page, code) = asked(&terminal);
    let mut browser = Browser::start();
    up_to_the_question(&mut browser, &page, &code);
    browser.click("No, this is not mine");
    browser.expect("Nothing was signed in.");
    terminal.type_in("\r");
    let (status, shown) = terminal.finish(PATIENCE);
    assert_eq!(status, Some(255), "{shown}");
    assert_eq!(shown.matches(PRESS).count(), 1, "it does not begin again: {shown}");
    assert!(shown.contains("caponier: ") && !shown.contains("You are"), "{shown}");
    assert!(sign_ins(&stranger.stage.bastion).is_empty());
    stranger.stage.wait_for_audit("sign_in_failed", "denied");
}

#[test]
fn enter_without_a_confirmation_asks_again_a_few_times() {
    let stranger = Stranger::comes();
    let terminal = stranger.ssh(&[Bastion::NAME, "whoami"]);
    let (_, code) = asked(&terminal);
    let mut seen = terminal.wait_for(PRESS);
    for _ in 0..8 {
        terminal.type_in("\r");
        seen = terminal.wait_for_after(seen, "Not confirmed yet.");
        seen = terminal.wait_for_after(seen, PRESS);
    }
    terminal.type_in("\r");
    let (status, shown) = terminal.finish(PATIENCE);
    assert_eq!(status, Some(255), "{shown}");
    assert!(shown.contains("caponier: not confirmed; connect again"), "{shown}");
    assert_eq!(shown.matches("http://").count(), 1, "still the first code {code}: {shown}");
    assert!(sign_ins(&stranger.stage.bastion).is_empty());
}

#[test]
fn a_machine_without_a_browser_signs_in_by_a_code() {
    let stage = Stage::set_to(Plan { real: Some("ES256"), nobody: true, ..Plan::default() });
    let shots = root().join("target/test-parts/shots");
    std::fs::create_dir_all(&shots).unwrap();
    let shot = |browser: &mut Browser, name: &str| browser.screenshot(&shots.join(name));
    let login = ["login", &stage.bastion.url(), "--device"];
    let login = Running::start(&mut stage.laptop.caponier(&login), b"");
    let page = page_of(&login);
    login.wait_for_text("Waiting for the confirmation", PATIENCE);
    let said = login.errors() + &login.text();
    let is_code = |line: &&str| line.len() == 9 && line.as_bytes()[4] == b'-';
    let code = said.lines().map(str::trim).find(is_code).unwrap_or_else(|| panic!("no code in {said}"));

    let mut browser = Browser::start();
    assert_eq!(browser.goto(&stage.bastion.url()), 200);
    shot(&mut browser, "landing.png");
    browser.click("Enter it here.");
    shot(&mut browser, "code.png");
    up_to_the_question(&mut browser, &page, code);
    shot(&mut browser, "confirm.png");
    browser.click("Yes, sign it in");
    browser.expect("Signed in");
    shot(&mut browser, "done.png");
    let said = login.finish(PATIENCE);
    said.ended(0);
    assert!(said.errors().contains("Signed in as Erin Engineer (corp:engineer)"), "{}", said.errors());
    assert_eq!(browser.problems(), Vec::<String>::new());
    assert_eq!(stage.ssh(&["web1", "echo signed in by a code"]).run().ok(), "signed in by a code\n");
    assert_eq!(sign_ins(&stage.bastion)[0]["method"], "device");
}
