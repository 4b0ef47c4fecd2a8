//! `caponier ci login` and `done` against a server that speaks `/v1` and says what a test wants, also what no honest one would.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use caponier::identity::statement::{Statement, verify_service};
use caponier::time::Clock;
use caponier::web::api::workloads::IssuerAnswer;
use russh::keys::ssh_key::{HashAlg, LineEnding, PublicKey};
use serde_json::json;
use sha2::Digest as _;

use super::runner::Runner;
use super::{agents_below, fingerprint};
use crate::client::fake::{Fake, Mind, Twist, new_key};
use crate::world::PATIENCE;
use crate::world::process::{Finished, run};

fn issuer(platform: &str, server: &Fake, bind: &str) -> IssuerAnswer {
    IssuerAnswer {
        name: platform.into(),
        platform: platform.into(),
        issuer: format!("https://{platform}.example"),
        audience: server.url(),
        bind: bind.into(),
    }
}

/// A server that believes all platforms, and a runner whose tokens are good for nothing.
fn stage() -> (Fake, Runner) {
    let server = Fake::start();
    let bound = ["github", "forgejo", "buildkite"].map(|platform| issuer(platform, &server, "audience"));
    let signed = ["gitlab", "circleci", "kubernetes", "oidc"].map(|one| issuer(one, &server, "signature"));
    server.mind().jobs.issuers = bound.into_iter().chain(signed).collect();
    let mint = |audience: &str| {
        let digest = sha2::Sha256::digest(audience.as_bytes());
        format!("eyJ0b2tlbiI6.{}.c2lnbmF0dXJl", digest.iter().map(|b| format!("{b:02x}")).collect::<String>())
    };
    (server, Runner::start(Box::new(mint)))
}

fn pin(server: &Fake) -> String {
    fingerprint(&server.mind().ssh.host_ca)
}

/// `caponier ci login URL --ca-fingerprint PIN MORE` in the job.
fn login(server: &Fake, runner: &Runner, more: &[&str]) -> Finished {
    let (url, pin) = (server.url(), pin(server));
    let args: Vec<&str> =
        ["ci", "login", &url, "--ca-fingerprint", &pin].iter().chain(more).copied().collect();
    run(&mut runner.caponier(&args), b"", PATIENCE)
}

fn done(runner: &Runner) -> Finished {
    run(&mut runner.caponier(&["ci", "done"]), b"", PATIENCE)
}

/// Nothing of a login is left.
#[track_caller]
fn nothing_left(runner: &Runner) {
    assert!(!runner.temp().join("caponier").exists());
    assert_eq!(agents_below(&runner.temp()), Vec::<u32>::new());
}

#[test]
fn a_job_signs_in_and_leaves_nothing_behind() {
    let (server, runner) = stage();
    let finished = login(&server, &runner, &[]);
    let said = finished.ok();
    let dir = runner.temp().join("caponier");
    let token = runner.service().tokens[0].clone();

    // The token: for this server and this key, masked first, and nowhere else.
    let key = PublicKey::from_openssh(&fs::read_to_string(dir.join("id.pub")).unwrap()).unwrap();
    let digest: String =
        key.fingerprint(HashAlg::Sha256).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(runner.service().audiences, [format!("{}?ssh-key-sha256={digest}", server.url())]);
    let (first, rest) = said.split_once('\n').unwrap();
    assert_eq!(first, format!("::add-mask::{token}"));
    assert!(!rest.contains(&token) && !finished.errors().contains(&token));
    assert_eq!(rest.lines().count(), 1, "{rest}");
    for part in ["corp:ada may log in as deploy until", "serial 4711", "ssh -F"] {
        assert!(rest.contains(part), "{part}: {rest}");
    }
    assert_eq!(server.mind().jobs.exchanged[0].token.as_ref(), Some(&token));
    assert_eq!(server.mind().jobs.seen_in_arguments, Vec::<String>::new());

    // The folder: ours, no private key in it, ssh told of the agent in it.
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    let config = fs::read_to_string(dir.join("ssh_config")).unwrap();
    for line in [
        &format!("IdentityAgent \"{}/agent.sock\"", dir.display()),
        "IdentitiesOnly yes",
        "StrictHostKeyChecking yes",
        "ForwardAgent no",
        &format!("UserKnownHostsFile \"{}/known_hosts\"", dir.display()),
        &format!("ensure --quiet --home '{}'", dir.display()),
    ] {
        assert!(config.contains(line), "{line}: {config}");
    }
    for (path, bytes) in runner.files() {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains("PRIVATE KEY") && !text.contains(&token), "{}", path.display());
    }
    assert_eq!(agents_below(&dir).len(), 1);
    assert_eq!(runner.output("ssh-config"), dir.join("ssh_config").display().to_string());
    assert_eq!(runner.output("known-hosts"), dir.join("known_hosts").display().to_string());
    assert_eq!(runner.output("auth-sock"), dir.join("agent.sock").display().to_string());
    assert_eq!(runner.output("cert-serial"), "4711");
    assert!(runner.output("expires-at").ends_with('Z'));
    assert_eq!(fs::read_to_string(runner.file("env")).unwrap(), "", "GITHUB_ENV never");

    assert!(done(&runner).ended(0).errors().contains("the run is over"));
    assert_eq!(server.mind().jobs.done, 1);
    nothing_left(&runner);
    assert!(done(&runner).ended(0).errors().contains("nothing to end"));
    assert_eq!(server.mind().jobs.done, 1);
}

#[test]
fn ensure_renews_with_the_jobs_own_agent_and_stays_narrow() {
    let (server, runner) = stage();
    let said = login(&server, &runner, &["--principals", "deploy,backup", "--life", "2m", "--json"]).ok();
    let shown: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&shown["principals"][0], &shown["serial"]), (&"deploy".into(), &"4711".into()));
    let asked = server.mind().jobs.exchanged[0].clone();
    assert_eq!((asked.life, asked.principals.as_ref().map(Vec::len)), (Some(120), Some(2)));
    let dir = runner.temp().join("caponier");
    let home = dir.display().to_string();
    let ensure = || run(&mut runner.caponier(&["ensure", "--home", &home]), b"", PATIENCE);
    ensure().ended(0);
    assert!(server.mind().jobs.certified.is_empty(), "it is valid, and its key is in the agent");
    let key = PublicKey::from_openssh(&fs::read_to_string(dir.join("id.pub")).unwrap()).unwrap();
    let old = server.mind().certificate(&key, -300, -1);
    fs::write(dir.join("id-cert.pub"), format!("{old}\n")).unwrap();
    assert!(ensure().ended(0).errors().contains("is renewed"));
    let renewed = server.mind().jobs.certified[0].clone();
    assert_eq!((renewed.life, renewed.principals), (Some(120), asked.principals));
    // Another agent of the machine is not asked, and when ours is gone the job is told what to do.
    let agents = agents_below(&dir);
    run(std::process::Command::new("kill").arg(agents[0].to_string()), b"", PATIENCE).ok();
    crate::world::wait_for("the agent's end", PATIENCE, || agents_below(&dir).is_empty().then_some(()));
    assert!(ensure().ended(77).errors().contains("caponier ci login"));
    // The end of such a job: the server cannot be told without the key, and says until when.
    let said = done(&runner).ended(0).errors();
    assert!(
        said.contains("warning: the server was not told") && said.contains("ends by itself at"),
        "{said}"
    );
    nothing_left(&runner);
}

#[test]
fn a_server_with_another_host_ca_gets_nothing() {
    let (server, runner) = stage();
    let url = server.url();
    let other = fingerprint(&new_key().public_key().to_openssh().unwrap());
    let tries: [&[&str]; 2] = [&["--ca-fingerprint", &other], &["--ca-fingerprint", &other, "--dry-run"]];
    for more in tries {
        let args: Vec<&str> = ["ci", "login", &url].iter().chain(more).copied().collect();
        let said = run(&mut runner.caponier(&args), b"", PATIENCE).ended(1).errors();
        assert!(said.contains("not the pinned one: nothing was sent"), "{said}");
    }
    assert!(server.mind().asked.iter().all(|path| path == "/v1/workloads"), "{:?}", server.mind().asked);
    // Without a pin, or with half of one, not even that.
    let asked = server.mind().asked.len();
    let said = run(&mut runner.caponier(&["ci", "login", &url]), b"", PATIENCE).ended(1).errors();
    assert!(said.contains("--ca-fingerprint SHA256:"), "{said}");
    let half = ["ci", "login", &url, "--ca-fingerprint", "SHA256:abc"];
    run(&mut runner.caponier(&half), b"", PATIENCE).ended(2);
    assert_eq!(server.mind().asked.len(), asked);
    assert_eq!(runner.service().audiences, Vec::<String>::new(), "no token was asked for");
    nothing_left(&runner);
    // The right one among two, and from the environment.
    let mut command = runner.caponier(&["ci", "login"]);
    command.env("CAPONIER_SERVER", &url).env("CAPONIER_CA_FINGERPRINT", format!("{other},{}", pin(&server)));
    run(&mut command, b"", PATIENCE).ok();
    done(&runner).ok();
}

/// Changes what the server says.
type Lie = fn(&mut Mind);

#[test]
fn what_the_server_may_not_answer_is_undone() {
    let lies: [(Lie, &[&str], &str); 5] = [
        (|mind| mind.twist = Twist::OtherKey, &[], "for another key"),
        (|mind| mind.twist = Twist::Expired, &[], "set the clock"),
        (|mind| mind.ssh.patterns.push("*".into()), &[], "\"*\" in your ssh configuration"),
        (
            |mind| {
                // The pinned one before, another one to believe.
                mind.jobs.host_ca = Some(mind.ssh.host_ca.clone());
                mind.ssh.host_ca = new_key().public_key().to_openssh().unwrap();
            },
            &[],
            "not the pinned one",
        ),
        (|mind| mind.principals.push("root".into()), &["--principals", "deploy"], "for \"root\" too"),
    ];
    for (lie, more, why) in lies {
        let (server, runner) = stage();
        let (url, pin) = (server.url(), pin(&server));
        lie(&mut server.mind());
        let args: Vec<&str> =
            ["ci", "login", &url, "--ca-fingerprint", &pin].iter().chain(more).copied().collect();
        let said = run(&mut runner.caponier(&args), b"", PATIENCE).ended(1).errors();
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(server.mind().jobs.done, 1, "{why}: what cannot be used does not live on");
        nothing_left(&runner);
        done(&runner).ended(0);
    }
}

#[test]
fn a_refusal_is_the_servers_own_word() {
    let (server, runner) = stage();
    server.mind().jobs.refusal = Some("no rule fits: ref is refs/heads/x".into());
    let said = login(&server, &runner, &[]).ended(1).errors();
    assert!(said.contains("no rule fits: ref is refs/heads/x") && said.contains("--dry-run"), "{said}");
    nothing_left(&runner);
    let shown = login(&server, &runner, &["--dry-run"]);
    assert!(shown.ended(1).text().contains("would be refused: no rule fits"), "{}", shown.text());
    server.mind().jobs.refusal = None;
    let shown = login(&server, &runner, &["--dry-run"]);
    assert!(shown.ended(0).text().contains("would get a certificate for deploy"), "{}", shown.text());
    assert_eq!(server.mind().jobs.looked.len(), 2);
    nothing_left(&runner);
}

#[test]
fn the_runner_is_asked_again_only_when_it_is_broken() {
    for (failures, asked, status) in
        [(vec![503], 2, 0), (vec![500, 502], 2, 1), (vec![403], 1, 1), (vec![302], 1, 1)]
    {
        let (server, runner) = stage();
        runner.service().failures.clone_from(&failures);
        let finished = login(&server, &runner, &[]);
        finished.ended(status);
        assert_eq!(runner.service().audiences.len(), asked, "{failures:?}");
        if status == 1 {
            let last = failures.last().unwrap();
            assert!(
                finished.errors().contains(&format!("the platform answered {last}")),
                "{}",
                finished.errors()
            );
            nothing_left(&runner);
        }
        done(&runner).ended(0);
    }
}

#[test]
fn a_token_for_somebody_else_is_not_asked_for() {
    let (server, runner) = stage();
    for one in &mut server.mind().jobs.issuers {
        one.audience = "sts.amazonaws.com".into();
    }
    let said = login(&server, &runner, &[]).ended(1).errors();
    assert!(said.contains("sts.amazonaws.com") && said.contains("--audience"), "{said}");
    assert_eq!(runner.service().audiences, Vec::<String>::new());
    nothing_left(&runner);
    login(&server, &runner, &["--audience", "sts.amazonaws.com"]).ok();
    assert!(runner.service().audiences[0].starts_with("sts.amazonaws.com?ssh-key-sha256="));
    done(&runner).ok();
}

#[test]
fn a_job_without_its_permission_is_told_which() {
    let (server, runner) = stage();
    let (url, pin) = (server.url(), pin(&server));
    let said = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = runner.caponier(&["ci", "login", &url, "--ca-fingerprint", &pin]);
        command.env_remove("ACTIONS_ID_TOKEN_REQUEST_URL");
        change(&mut command);
        run(&mut command, b"", PATIENCE).ended(1).errors()
    };
    let plain = said(&|_| ());
    assert!(plain.contains("permissions: id-token: write") && plain.lines().count() == 1, "{plain}");
    let event = runner.file("event.json");
    fs::write(&event, r#"{"pull_request": {"head": {"repo": {"id": 2}}, "base": {"repo": {"id": 1}}}}"#)
        .unwrap();
    let fork = said(&|command| {
        command.env("GITHUB_EVENT_NAME", "pull_request").env("GITHUB_EVENT_PATH", &event);
    });
    assert!(fork.contains("pull request from a fork") && !fork.contains("id-token"), "{fork}");
    let forgejo = said(&|command| {
        command.env("FORGEJO_ACTIONS", "true");
    });
    assert!(forgejo.contains("enable-openid-connect: true"), "{forgejo}");
    let gitlab = said(&|command| {
        command.env_remove("GITHUB_ACTIONS").env("GITLAB_CI", "true");
    });
    assert!(gitlab.contains("id_tokens:\n    CAPONIER_ID_TOKEN:\n      aud: http://127.0.0.1"), "{gitlab}");
    let several = said(&|command| {
        command.env("GITLAB_CI", "true");
    });
    assert!(several.contains("(github, gitlab)"), "{several}");
    let none = said(&|command| {
        command.env_remove("GITHUB_ACTIONS");
    });
    assert!(none.contains("looked for GITHUB_ACTIONS"), "{none}");
    nothing_left(&runner);
}

/// A token as it is in a variable or a file, with this payload.
fn ready_token(claims: &serde_json::Value) -> String {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2lnbmF0dXJl", encode(r#"{"alg":"RS256"}"#.to_owned()), encode(claims.to_string()))
}

/// A server with a name of its own that repeats the host CA of the job's real bastion, which anybody can read off there.
#[test]
fn a_server_that_repeats_the_pinned_ca_gets_no_token_for_another() {
    let (server, runner) = stage();
    let (url, pin) = (server.url(), pin(&server));
    let other = "https://bastion.example";
    let file = runner.file("token");
    let rows: [(&str, &[&str]); 4] = [
        ("true", &[]),
        ("true", &["--dry-run"]),
        ("", &["--platform", "kubernetes", "--token-file", "FILE"]),
        ("", &["--platform", "oidc", "--token-env", "CAPONIER_ID_TOKEN"]),
    ];
    let tokens = [
        (ready_token(&json!({ "aud": other })), "is for \"https://bastion.example\", not for"),
        (ready_token(&json!({ "aud": [url, other] })), "and \"https://bastion.example\", not for"),
        (ready_token(&json!({ "aud": format!("{url}/") })), "not for"),
        (ready_token(&json!({ "sub": "project_path:acme/shop" })), "is for nobody in particular"),
        ("a.b.c".to_owned(), "is not a token"),
        ("glpat-0123456789".to_owned(), "is not a token"),
    ];
    let tried = |gitlab: &str, more: &[&str], token: &str| {
        fs::write(&file, token).unwrap();
        let more = more.iter().map(|word| if *word == "FILE" { file.to_str().unwrap() } else { word });
        let args: Vec<&str> =
            ["ci", "login", &url, "--ca-fingerprint", &pin].into_iter().chain(more).collect();
        let mut command = runner.caponier(&args);
        command.env_remove("GITHUB_ACTIONS").env("GITLAB_CI", gitlab).env("CAPONIER_ID_TOKEN", token);
        run(&mut command, b"", PATIENCE)
    };
    for (gitlab, more) in rows {
        for (token, why) in &tokens {
            let finished = tried(gitlab, more, token);
            let said = finished.ended(1).errors();
            assert!(said.contains(why) && said.contains("nothing was sent"), "{more:?}: {said}");
            assert!(!said.contains(token.as_str()) && !finished.text().contains(token.as_str()), "{said}");
            nothing_left(&runner);
        }
    }
    // It may say that the other's address is what it wants: that is what --audience is for, and nobody said it.
    for one in &mut server.mind().jobs.issuers {
        one.audience = other.into();
    }
    for (gitlab, more) in rows {
        let said = tried(gitlab, more, &tokens[0].0).ended(1).errors();
        assert!(
            said.contains("--audience \"https://bastion.example\"") && said.contains("nothing sent"),
            "{said}"
        );
        nothing_left(&runner);
    }
    let mind = server.mind();
    assert!(
        mind.asked.len() >= 28 && mind.asked.iter().all(|path| path == "/v1/workloads"),
        "{:?}",
        mind.asked
    );
    assert!(mind.jobs.exchanged.is_empty() && mind.jobs.looked.is_empty());
}

/// A program of the platform that notes its arguments and prints a token.
fn platform_program(runner: &Runner, name: &str) {
    let path = runner.temp().join(name);
    let noted = runner.temp().join("arguments");
    fs::write(&path, format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >'{}'\necho a.b.c\n", noted.display()))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_platform_has_its_way_to_a_token() {
    let rows: [(&str, &str, &[&str]); 5] = [
        ("BUILDKITE", "buildkite-agent", &[]),
        ("CIRCLECI", "circleci", &[]),
        ("GITLAB_CI", "", &[]),
        ("", "", &["--platform", "kubernetes", "--token-file", "FILE"]),
        ("", "", &["--platform", "oidc", "--token-env", "CAPONIER_ID_TOKEN"]),
    ];
    for (variable, program, more) in rows {
        let (server, runner) = stage();
        let (url, pin) = (server.url(), pin(&server));
        let file = runner.file("token");
        // What lies there already must say that it is for this server; what a platform makes when it is asked was asked for.
        let lying = ready_token(&json!({ "aud": url }));
        let expect = if program.is_empty() { lying.as_str() } else { "a.b.c" };
        fs::write(&file, format!("{lying}\n")).unwrap();
        if !program.is_empty() {
            platform_program(&runner, program);
        }
        let more = more.iter().map(|word| if *word == "FILE" { file.to_str().unwrap() } else { word });
        let dir = runner.temp().join("job").display().to_string();
        let args: Vec<&str> =
            ["ci", "login", &url, "--ca-fingerprint", &pin, "--dir", &dir].into_iter().chain(more).collect();
        let mut command = runner.caponier(&args);
        let path = format!("{}:{}", runner.temp().display(), std::env::var("PATH").unwrap());
        command.env_remove("GITHUB_ACTIONS").env("PATH", path).env("CAPONIER_ID_TOKEN", &lying);
        if !variable.is_empty() {
            command.env(variable, "true");
        }
        let said = run(&mut command, b"", PATIENCE).ok();
        assert!(!said.contains(expect), "masked for runners that know how only: {said}");
        let sent = server.mind().jobs.exchanged[0].token.clone();
        assert_eq!(sent.as_deref(), Some(expect), "{variable} {program}");
        let arguments = fs::read_to_string(runner.temp().join("arguments")).unwrap_or_default();
        match program {
            "buildkite-agent" => {
                let bound = format!("oidc\nrequest-token\n--audience\n{url}?ssh-key-sha256=");
                assert!(arguments.starts_with(&bound), "{arguments}");
            }
            "circleci" => {
                let claims = format!("run\noidc\nget\n--claims\n{{\"aud\":\"{url}\"}}\n");
                assert_eq!(arguments, claims);
            }
            _ => assert_eq!(arguments, ""),
        }
        run(&mut runner.caponier(&["ci", "done", "--dir", &dir]), b"", PATIENCE).ok();
        assert!(!Path::new(&dir).exists());
    }
}

#[test]
fn a_service_account_states_what_it_wants() {
    let (server, runner) = stage();
    let registered = new_key();
    let file = runner.file("registered");
    fs::write(&file, registered.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let key = file.display().to_string();
    let said = login(&server, &runner, &["--service", "backup", "--key", &key]).ok();
    assert!(!said.contains("add-mask") && said.contains("may log in as deploy"), "{said}");
    let request = server.mind().jobs.exchanged[0].clone();
    assert_eq!(request.token, None);
    let stated = request.service.unwrap();
    let new = fs::read_to_string(runner.temp().join("caponier/id.pub")).unwrap();
    let statement = Statement {
        account: &stated.account,
        key: &stated.key,
        time: stated.time,
        nonce: &stated.nonce,
        signature: &stated.signature,
    };
    let authority = format!("127.0.0.1:{}", server.port);
    let proven = verify_service(statement, &authority, &fingerprint(&new), Clock::System.now()).unwrap();
    assert_eq!(proven.account().as_str(), "backup");
    assert_eq!(proven.key().key_data(), registered.public_key().key_data());
    done(&runner).ok();

    // The same with the registered key in the machine's ssh-agent.
    let socket = runner.file("machine.sock");
    let mut agent = crate::world::process::Kept::start(
        std::process::Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(std::process::Stdio::null()),
    );
    crate::world::wait_for("the machine's agent", PATIENCE, || socket.exists().then_some(()));
    let add =
        run(std::process::Command::new("ssh-add").arg(&file).env("SSH_AUTH_SOCK", &socket), b"", PATIENCE);
    add.ended(0);
    let public = runner.file("registered.pub");
    fs::write(&public, registered.public_key().to_openssh().unwrap()).unwrap();
    let (url, pin, key) = (server.url(), pin(&server), public.display().to_string());
    let mut command = runner.caponier(&[
        "ci",
        "login",
        &url,
        "--ca-fingerprint",
        &pin,
        "--service",
        "backup",
        "--key",
        &key,
    ]);
    run(command.env("SSH_AUTH_SOCK", &socket), b"", PATIENCE).ok();
    assert_eq!(server.mind().jobs.exchanged.len(), 2);
    done(&runner).ok();
    agent.end("TERM", PATIENCE);
}

#[test]
fn a_second_login_of_a_job_ends_the_first() {
    let (server, runner) = stage();
    login(&server, &runner, &[]).ok();
    let first = agents_below(&runner.temp());
    let said = login(&server, &runner, &[]).ended(0).errors();
    assert!(said.contains("ended first"), "{said}");
    assert_eq!(server.mind().jobs.done, 1);
    let second = agents_below(&runner.temp());
    assert!(second.len() == 1 && first != second);
    done(&runner).ok();
    nothing_left(&runner);
    // What is not a job's is never touched.
    let foreign = runner.temp().join("caponier");
    fs::create_dir(&foreign).unwrap();
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(foreign.join("precious"), "x").unwrap();
    assert!(login(&server, &runner, &[]).ended(1).errors().contains("not a job's"));
    done(&runner).ended(0);
    assert!(foreign.join("precious").exists());
    assert_eq!(runner.service().tokens.len(), 2, "no token for nothing");
}

#[test]
fn roles_that_people_must_approve_are_named() {
    let (server, runner) = stage();
    server.mind().jobs.by_request = vec!["deploy-prod".into()];
    let said = login(&server, &runner, &[]).ended(0).errors();
    for part in ["--wait 15m", "--role deploy-prod", "actions/runs/7", "--home"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    done(&runner).ok();
}
