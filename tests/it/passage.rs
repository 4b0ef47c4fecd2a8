//! The passage: stock clients through the bastion to a real sshd, compared with the direct connection.

use std::path::Path;
use std::time::Duration;

use crate::world::bastion::{Bastion, Laptop};
use crate::world::process::run;
use crate::world::{PATIENCE, me};
use serde_json::json;

use crate::world::second_client::second_client;
use crate::world::ssh::Ssh;
use crate::world::stage::{Multiplexed, Plan, Stage};

/// Reproducible bytes of every value.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(count)
    .collect()
}

/// A multiplexed client that has seen the end of both streams closes its channel; the status must reach it all the same.
const ENDS_ITS_OUTPUT_FIRST: &str = "exec >&- 2>&-; cat >/dev/null; sleep 0.3; exit 4";

/// What the real asciinema shows of a recording.
fn played(path: &Path) -> String {
    let (shown, content) = crate::recording::asciinema("play", path);
    assert!(content, "asciinema does not play {}", path.display());
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn commands_end_as_with_the_direct_connection() {
    assert_commands_end_as_directly(&Stage::set());
}

/// Output and exit status of commands through the bastion, against those of the direct connection.
pub(crate) fn assert_commands_end_as_directly(stage: &Stage) {
    for (command, status) in [
        ("true", 0),
        ("false", 1),
        ("exit 137", 137),
        ("echo out; echo err >&2; exit 3", 3),
        ("printf 'no newline'", 0),
        ("printf '\\000\\001\\377'", 0),
        ("cat; echo; echo $LANG", 0),
        ("kill -9 $$", 255),
        ("kill -TERM $$", 255),
        ("no-such-command-anywhere", 127),
        (ENDS_ITS_OUTPUT_FIRST, 4),
    ] {
        let input = b"from the client\n".to_vec();
        let direct = Ssh::new(&stage.direct()).args(["web1", command]).input(input.clone()).run();
        let through = stage.ssh(&["web1", command]).input(input).run();
        assert_eq!(through.status, direct.status, "{command}: {}", through.errors());
        assert_eq!(through.status, Some(status), "{command}");
        assert_eq!(through.stdout, direct.stdout, "{command}");
        assert_eq!(through.errors(), direct.errors(), "{command}");
    }
}

#[test]
fn fifty_megabytes_of_binary_both_ways_are_the_same() {
    let stage = Stage::set();
    let bytes = noise(50_000_000);
    let through = stage.ssh(&["web1", "cat"]).input(bytes.clone()).patience(4 * PATIENCE).run();
    through.ended(0);
    assert!(through.stdout == bytes, "{} bytes came back", through.stdout.len());
    assert_eq!(through.errors(), "");
}

#[test]
fn a_terminal_follows_the_window_and_is_recorded() {
    assert_terminal_is_followed_and_recorded(&Stage::set());
}

/// A shell in a terminal whose window changes, and its recording.
pub(crate) fn assert_terminal_is_followed_and_recorded(stage: &Stage) {
    let terminal = stage.ssh(&["-tt", "web1"]).terminal(91, 31);
    terminal.type_in("PS1='ready> '; stty size\n");
    let seen = terminal.wait_for("31 91");
    terminal.resize(120, 40);
    terminal.type_in("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo resized-$((40+2))\n");
    let seen = terminal.wait_for_after(seen, "resized-42");
    terminal
        .type_in("printf 'gr\\303\\274\\303\\237e \\342\\202\\254\\n'; echo $SSH_TTY | tr a-z A-Z; exit 5\n");
    terminal.wait_for_after(seen, "/DEV/PTS/");
    let (status, _) = terminal.finish(PATIENCE);
    assert_eq!(status, Some(5));

    let path = stage.recording("\"kind\":\"shell\"");
    let cast = std::fs::read_to_string(&path).unwrap();
    let mut lines = cast.lines();
    let header: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(
        (&header["version"], &header["width"], &header["height"]),
        (&2.into(), &91.into(), &31.into()),
        "{header}"
    );
    let events: Vec<(f64, String, String)> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|(_, kind, text)| kind == "r" && text == "120x40"), "no resize in {cast}");
    assert!(!events.iter().any(|(_, kind, _)| kind == "i"), "input is not recorded unless configured");
    let shown: String =
        events.iter().filter(|(_, k, _)| k == "o").map(|(_, _, text)| text.as_str()).collect();
    assert!(shown.contains("grüße €"), "{shown}");
    assert!(played(&path).contains("grüße €"), "asciinema shows something else");
}

#[test]
fn files_travel_by_sftp_scp_rsync_and_git() {
    let stage = Stage::set();
    assert_files_travel(&stage, &stage.through(), "through");
}

/// Files by every stock program that rides on ssh, with this configuration of it, in a folder of this name.
pub(crate) fn assert_files_travel(stage: &Stage, config: &Path, name: &str) {
    let dir = stage.dir().join(format!("files-{name}"));
    std::fs::create_dir(&dir).unwrap();
    let at = |name: &str| dir.join(name);
    let bytes = noise(3_000_000);
    std::fs::write(at("here"), &bytes).unwrap();
    let same = |name: &str| assert!(std::fs::read(at(name)).unwrap() == bytes, "{name} differs");
    let path = |name: &str| at(name).display().to_string();
    let run_at_home = |program: Ssh| stage.at_home(program).run().ok();

    let batch =
        format!("put {} {}\nget {} {}\n", path("here"), path("sftp-up"), path("sftp-up"), path("sftp-down"));
    run_at_home(Ssh::sftp(config).args(["web1"]).input(batch));
    same("sftp-up");
    same("sftp-down");

    run_at_home(Ssh::scp(config).args([path("here"), format!("web1:{}", path("scp-up"))]));
    same("scp-up");
    let legacy = ["-O".into(), format!("web1:{}", path("here")), path("scp-down")];
    run_at_home(Ssh::scp(config).args(legacy));
    same("scp-down");

    let rsync = ["-a".into(), path("here"), format!("web1:{}", path("rsync-up"))];
    run_at_home(Ssh::rsync(config).args(rsync));
    same("rsync-up");

    let git = |args: &[&str], dir: &Path| {
        let config = ["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "protocol.version=2"];
        let mut git = std::process::Command::new("git");
        run(git.args(config).args(args).current_dir(dir), b"", PATIENCE).ok();
    };
    std::fs::create_dir(at("repo")).unwrap();
    git(&["init", "-q", "-b", "main"], &at("repo"));
    std::fs::write(at("repo").join("file"), &bytes).unwrap();
    git(&["add", "file"], &at("repo"));
    git(&["commit", "-q", "-m", "one"], &at("repo"));
    let clone = ["clone".into(), "-q".into(), format!("web1:{}", path("repo")), path("clone")];
    run_at_home(Ssh::git(config).args(clone));
    same("clone/file");
}

#[test]
fn one_connection_carries_several_sessions_each_authorised_on_its_own() {
    assert_one_connection_carries_several_sessions(&Stage::set());
}

/// Several sessions over one ControlMaster connection.
pub(crate) fn assert_one_connection_carries_several_sessions(stage: &Stage) {
    let opened = || stage.audit().iter().filter(|(kind, _)| kind == "session_opened").count();
    let before = opened();
    let mux = Multiplexed::over(stage);
    for n in 0..3 {
        let said = mux.ssh(&format!("echo mux-{n}; exit {n}")).run();
        assert_eq!((said.status, said.text()), (Some(n), format!("mux-{n}\n")), "{}", said.errors());
    }
    mux.ssh(ENDS_ITS_OUTPUT_FIRST).run().ended(4);
    let sftp = Ssh::sftp(&stage.through()).args(["-o", &format!("ControlPath={}", mux.socket), "web1"]);
    stage.at_home(sftp.input("pwd\n")).run().ok();
    assert_eq!(opened() - before, 6, "one session each");
}

#[test]
fn the_host_certificate_is_for_the_name_asked_for_and_the_target_knows_the_person() {
    let stage = Stage::set();
    let said = stage.ssh(&["-vvv", "web1", "true"]).run();
    said.ended(0);
    let debug = said.errors();
    assert!(debug.contains("Server host certificate: ssh-ed25519-cert-v01@openssh.com"), "{debug}");
    assert!(debug.contains("Host 'web1' is known and matches the ED25519-CERT host certificate."), "{debug}");
    assert!(!debug.contains("Are you sure"), "a question was asked");
    stage.web1.wait_for_log("corp:engineer");
    let log = stage.web1.log();
    let line = log.lines().find(|line| line.contains("Accepted publickey")).unwrap();
    assert!(line.contains("ED25519-CERT") && line.contains("ID corp:engineer/ses_"), "{line}");
}

#[test]
fn the_terminal_flag_the_environment_and_half_close_work() {
    let stage = Stage::set();
    let said = stage.ssh(&["-tt", "web1", "tty"]).run();
    assert!(said.ok().starts_with("/dev/pts/"), "{}", said.text());
    let said = stage.ssh(&["-o", "SendEnv=LC_* SECRET", "web1", "echo $LC_TEST-$SECRET"]);
    let said = said.env("LC_TEST", "one").env("SECRET", "two").run();
    assert_eq!(said.ok(), "one-\n", "only what the allow-list names passes");
    // The end of input reaches the command, whose output still comes back.
    let said = stage.ssh(&["web1", "wc -c; echo after"]).input(noise(100_000)).run();
    assert_eq!(said.ok(), "100000\nafter\n");
}

#[test]
fn a_client_that_cannot_jump_names_the_target_in_its_user_name() {
    let stage = Stage::set();
    let user = format!("{}%web1", me());
    let said = stage.ssh(&["-l", &user, Bastion::NAME, "echo without a jump"]).run();
    assert_eq!(said.ok(), "without a jump\n");
    let said = stage.ssh(&["-l", &format!("{user}%x"), Bastion::NAME, "true"]).run();
    said.ended(255);
}

#[test]
fn the_bastion_answers_questions_but_has_no_shell() {
    let stage = Stage::set();
    let said = stage.ssh(&[Bastion::NAME]).run().ok();
    assert!(said.contains("corp:engineer") && said.contains("web1"), "{said}");
    let said = stage.ssh(&[Bastion::NAME, "targets"]).run().ok();
    assert!(said.contains("web1  as"), "{said}");
    let said = stage.ssh(&[Bastion::NAME, "sh"]).run();
    assert_eq!(said.status, Some(127), "{}", said.text());
    stage.at_home(Ssh::sftp(&stage.through()).args([Bastion::NAME]).input("ls\n")).run().ended(255);
}

#[test]
fn refusals_are_one_line_and_nothing_reaches_the_target() {
    let stage = Stage::set();
    let before = stage.web1.log();
    let web1_as = |login: &str| format!("{login}@web1");
    for (place, line) in [
        (web1_as("daemon"), "[principal]"),
        (format!("{}@pinned1", me()), "is not pinned in the policy"),
        (format!("{}@other1", me()), "host key that is not trusted"),
        (format!("{}@down1", me()), "down1 cannot be reached: connection refused"),
    ] {
        let said = stage.ssh(&[&place, "true"]).run();
        said.ended(255);
        let errors = said.errors();
        let lines: Vec<&str> = errors.lines().filter(|line| !line.trim().is_empty()).collect();
        assert_eq!(lines.len(), 1, "{place}: {lines:?}");
        assert!(lines[0].starts_with("caponier: ") && lines[0].contains(line), "{place}: {lines:?}");
    }
    assert!(!stage.web1.log()[before.len()..].contains("Accepted"), "somebody got in");
    stage.wait_for_audit("access_refused", "principal");
    stage.wait_for_audit("session_closed", "host-key");
    stage.wait_for_audit("session_closed", "target-unreachable");
}

#[test]
fn unknown_and_forbidden_targets_look_alike() {
    let stage = Stage::set();
    // The bastion is asked by hand here: the generated configuration sends only known names there.
    let jump = |name: &str| {
        let user = me();
        stage
            .ssh(&[
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-J",
                Bastion::NAME,
            ])
            .args(["-o", "LogLevel=QUIET", "-l", &user, name, "true"])
            .run()
    };
    stage.bastion.admin(&["config", "check"]).ok();
    let unknown = jump("nowhere9");
    unknown.ended(255);
    assert!(unknown.errors().contains("[no-access]"), "{}", unknown.errors());
    stage.wait_for_audit("access_refused", "nowhere9");
}

#[test]
fn a_target_with_another_host_key_gets_nothing() {
    let mut stage = Stage::set();
    stage.ssh(&["web1", "true"]).run().ok();
    stage.web1.stop();
    stage.web1.change_host_key();
    stage.web1.start_again();
    let said = stage.ssh(&["web1", "true"]).run();
    said.ended(255);
    assert!(
        said.errors().contains("caponier: web1 showed a host key that is not trusted"),
        "{}",
        said.errors()
    );
    assert_eq!(stage.web1.log().matches("Accepted publickey").count(), 1, "it got in once, before");
}

#[test]
fn what_is_not_ssh_inside_a_jump_is_closed() {
    let stage = Stage::set();
    let said = stage.ssh(&["-W", "web1:22", Bastion::NAME]).input("GET / HTTP/1.0\r\n\r\n".repeat(400)).run();
    assert!(said.text().starts_with("SSH-2.0-Caponier"), "{}", said.text());
    assert!(said.stdout.len() < 4096, "nothing but our own greeting: {}", said.text());
    let log = stage.web1.log();
    assert!(!log.contains("Connection from 127.0.0.1 port") || !log.contains("GET"), "{log}");
}

#[test]
fn forwards_agent_and_x11_are_refused() {
    let stage = Stage::set();
    let port = crate::world::free_port().to_string();
    for args in [
        vec!["-o", "ExitOnForwardFailure=yes", "-R", &format!("{port}:127.0.0.1:1"), "web1", "true"],
        vec!["-W", "127.0.0.1:1", "web1"],
    ] {
        let said = stage.ssh(&args).run();
        assert_eq!(said.status, Some(255), "{args:?}: {}", said.errors());
    }
    let said = stage.ssh(&["-A", "web1", "echo agent=$SSH_AUTH_SOCK"]).run();
    assert_eq!(said.ok(), "agent=\n");
}

#[test]
fn a_second_client_made_by_others_gets_through() {
    let stage = Stage::set();
    let home = stage.laptop.home().join(".caponier");
    let said = second_client(&json!({
        "bastion": {"host": "127.0.0.1", "port": stage.bastion.ssh_port, "login": "anybody"},
        "target": {"host": "web1", "port": 22, "login": me()},
        "key": home.join("id"),
        "certificate": home.join("id-cert.pub"),
        "known_hosts": home.join("known_hosts"),
        "command": "cat; exit 4",
        "input": "ZnJvbSBhc3luY3NzaAo=",
        "put": {"from": home.join("id.pub"), "to": stage.dir().join("put")},
    }));
    assert_eq!(said["stdout"], "ZnJvbSBhc3luY3NzaAo=", "{said}");
    assert_eq!(said["status"], 4, "{said}");
    assert_eq!(std::fs::read(stage.dir().join("put")).unwrap(), std::fs::read(home.join("id.pub")).unwrap());
}

#[test]
fn killing_the_bastion_leaves_a_playable_recording_sealed_as_interrupted() {
    let mut stage = Stage::set();
    let terminal = stage.ssh(&["-tt", "web1"]).terminal(80, 24);
    terminal.type_in("echo before-the-$((40+1))st-power-cut\n");
    terminal.wait_for("before-the-41st-power-cut");
    stage.bastion.kill();
    stage.bastion.start();
    stage.wait_for_audit("session_closed", "interrupted");
    stage.wait_for_audit("server_started", "\"interrupted\":1");
    let path = stage.recording("interrupted");
    assert!(played(&path).contains("before-the-41st-power-cut"));
    let cast = std::fs::read_to_string(&path).unwrap();
    assert!(cast.lines().last().unwrap().contains("recording interrupted"), "{cast}");
}

#[test]
fn the_end_of_the_sign_in_ends_the_session() {
    assert_logout_ends_the_session(&Stage::set());
}

/// `caponier logout` ends a session at once.
pub(crate) fn assert_logout_ends_the_session(stage: &Stage) {
    let took = until_closed(stage, || drop(run(&mut stage.laptop.caponier(&["logout"]), b"", PATIENCE).ok()));
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    stage.ssh(&["web1", "true"]).run().ended(255);
}

/// How long a live session goes on after `end`, which ends its sign-in; the person must be told, and the audit.
#[track_caller]
pub(crate) fn until_closed(stage: &Stage, end: impl FnOnce()) -> Duration {
    let terminal = stage.live_terminal();
    let before = std::time::Instant::now();
    end();
    let (status, shown) = terminal.finish(PATIENCE);
    let took = before.elapsed();
    assert_eq!(status, Some(255));
    assert!(shown.contains("your sign-in has ended"), "{shown}");
    stage.wait_for_audit("session_closed", "sign-in-ended");
    took
}

#[test]
fn silence_and_length_end_a_session() {
    for (role, word, line) in [
        ("idle_max = \"2s\"", "\"idle\"", "nothing was sent for too long"),
        ("session_max = \"2s\"", "\"session-max\"", "its longest time is over"),
    ] {
        let stage = Stage::set_to(Plan { role, ..Plan::default() });
        let said = stage.ssh(&["web1", "sleep 60"]).run();
        said.ended(255);
        assert!(said.errors().contains(line), "{}", said.errors());
        stage.wait_for_audit("session_closed", word);
    }
}

#[test]
fn stopping_the_bastion_tells_the_sessions() {
    let mut stage = Stage::set();
    let terminal = stage.live_terminal();
    assert!(stage.bastion.stop().success());
    let (status, shown) = terminal.finish(PATIENCE);
    assert_eq!(status, Some(255));
    assert!(shown.contains("the bastion is stopping"), "{shown}");
    stage.wait_for_audit("session_closed", "drain");
}

#[test]
fn a_laptop_that_never_signed_in_pairs_with_a_browser_or_gets_nothing() {
    let stage = Stage::set();
    let stranger = Laptop::new();
    let said = Ssh::new(Path::new("/dev/null"))
        .args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
        .args(["-p", &stage.bastion.ssh_port.to_string(), "127.0.0.1"])
        .env("HOME", stranger.home())
        .run();
    said.ended(255);
    assert!(
        said.errors().contains("Permission denied (publickey,keyboard-interactive)"),
        "{}",
        said.errors()
    );
}
