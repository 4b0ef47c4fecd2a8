//! Jobs deploy a file through a real bastion to a real sshd: the action and the component as they stand in `contrib/`, with the
//! variables that a runner sets; and roles that somebody must approve first.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::runner::Runner;
use super::scripts::{component_script, yaml};
use super::{agents_below, fingerprint};
use crate::world::bastion::{CAPONIER, Laptop};
use crate::world::issuer::JobIssuer;
use crate::world::process::{Finished, Kept, Running, run};
use crate::world::ssh::Ssh;
use crate::world::stage::{Plan, Stage};
use crate::world::{PATIENCE, free_port, me, part, root, wait_for_port};

const CONFIG: &str = r#"
[[issuer]]
name = "github"
type = "github"
jwks_file = "platforms.json"
webhook_secret_file = "hook-secret"
[[issuer]]
name = "gitlab"
type = "gitlab"
jwks_file = "platforms.json"
"#;

/// What GitHub signs its webhooks with.
pub(super) const HOOK_SECRET: &str = "a-webhook-secret-for-tests";

/// Pushes to main deploy; what is tagged needs somebody's yes.
const RULES: &str = r#"
[[workload]]
name = "deploy-shop"
issuer = "github"
repository_id = "123456"
ref = "refs/heads/main"
event_name = ["push"]
[[workload]]
name = "release-shop"
issuer = "github"
repository_id = "123456"
ref = "refs/tags/v1"
ref_type = "tag"
event_name = ["push"]
[[workload]]
name = "deploy-gitlab"
issuer = "gitlab"
project_id = "42"
ref = "main"
[[service]]
name = "backup"
keys = ["SERVICE-KEY"]
sources = ["127.0.0.0/8"]
[[role]]
name = "deploy"
members = { workloads = ["deploy-shop", "deploy-gitlab"], services = ["backup"] }
targets = { names = ["web1"] }
logins = ["ME"]
channels = ["exec", "sftp"]
standing = true
[[role]]
name = "release"
members = { workloads = ["release-shop"] }
targets = { names = ["web1"] }
logins = ["ME"]
channels = ["exec", "sftp"]
[role.request]
max = "1h"
[[role.request.stage]]
groups = ["corp:reviewers"]
"#;

/// A bastion with a target, and the platforms that it believes.
pub(super) struct Yard {
    pub(super) stage: Stage,
    issuer: Arc<JobIssuer>,
    service_key: PathBuf,
}

impl Yard {
    #[track_caller]
    pub(super) fn set() -> Self {
        let dir = crate::world::scratch();
        let issuer = Arc::new(JobIssuer::start());
        let service = crate::world::keys::Key::make(dir.path(), "service");
        let rules = RULES.replace("ME", &me()).replace("SERVICE-KEY", service.public().trim());
        let stage = Stage::set_to(Plan {
            config: CONFIG,
            role: &rules,
            nobody: true,
            files: &[("platforms.json", &issuer.jwks()), ("hook-secret", HOOK_SECRET)],
            ..Plan::default()
        });
        let service_key = stage.dir().join("service");
        fs::copy(&service.path, &service_key).unwrap();
        Self { stage, issuer, service_key }
    }

    /// A job on GitHub whose token says this otherwise.
    pub(super) fn runner(&self, changes: Value) -> Runner {
        let issuer = Arc::clone(&self.issuer);
        Runner::start(Box::new(move |audience| {
            let mut claims = issuer.github(audience);
            claims["iss"] = "https://token.actions.githubusercontent.com".into();
            for (claim, value) in changes.as_object().unwrap() {
                claims[claim] = value.clone();
            }
            issuer.mint(&claims)
        }))
    }

    pub(super) fn pin(&self) -> String {
        fingerprint(&self.stage.bastion.admin(&["ca", "show", "--host-ca"]).ok())
    }

    /// `caponier ci login URL --ca-fingerprint PIN MORE`, not yet run.
    pub(super) fn login(&self, runner: &Runner, more: &[&str]) -> Command {
        let (url, pin) = (self.stage.bastion.url(), self.pin());
        let args: Vec<&str> =
            ["ci", "login", &url, "--ca-fingerprint", &pin].iter().chain(more).copied().collect();
        runner.caponier(&args)
    }

    /// Copies a file to the target with stock scp and reads it back with stock ssh.
    #[track_caller]
    fn deploy(&self, config: &Path) {
        let (from, to) = (self.stage.dir().join("site"), self.stage.dir().join("deployed"));
        fs::write(&from, "hello").unwrap();
        let target = format!("{}@web1:{}", me(), to.display());
        Ssh::scp(config).args([from.display().to_string(), target]).run().ok();
        assert_eq!(fs::read_to_string(&to).unwrap(), "hello");
        let host = format!("{}@web1", me());
        assert_eq!(Ssh::new(config).args([&host, &format!("cat {}", to.display())]).run().ok(), "hello");
        fs::remove_file(to).unwrap();
    }

    /// No file of the bastion or the runner has the token in it.
    #[track_caller]
    fn is_nowhere(&self, token: &str, runner: &Runner) {
        let mut folders = vec![self.stage.bastion.dir().to_owned()];
        let mut files = runner.files();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    files.push((entry.path(), fs::read(entry.path()).unwrap()));
                }
            }
        }
        assert!(files.len() > 5);
        // A third of it is a secret as well.
        let signature = token.rsplit('.').next().unwrap();
        for (path, bytes) in files {
            assert!(!String::from_utf8_lossy(&bytes).contains(signature), "{}", path.display());
        }
    }
}

/// Serves one file on loopback: what `caponier-url` leads to.
pub(super) struct Download {
    pub(super) url: String,
    pub(super) sha256: String,
    _server: Kept,
    _dir: tempfile::TempDir,
}

impl Download {
    /// A program that starts the binary under test.
    pub(super) fn start() -> Self {
        Self::of(&format!("#!/bin/sh\nexec '{CAPONIER}' \"$@\"\n"))
    }

    /// This script.
    pub(super) fn of(text: &str) -> Self {
        let dir = crate::world::scratch();
        fs::write(dir.path().join("caponier"), text).unwrap();
        let port = free_port();
        let python = part("target/test-parts/clients/bin/python");
        let mut command = Command::new(python);
        command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(dir.path());
        let server =
            Kept::start(command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()));
        wait_for_port(port);
        let sha256 = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { url: format!("http://127.0.0.1:{port}/caponier"), sha256, _server: server, _dir: dir }
    }
}

/// The action's step `main.js`, or `post.js` at the end of the job.
fn action(runner: &Runner, script: &str, inputs: &[(&str, &str)]) -> Finished {
    action_with(runner, script, inputs, &[])
}

/// The same in a job with these variables.
pub(super) fn action_with(
    runner: &Runner,
    script: &str,
    inputs: &[(&str, &str)],
    variables: &[(String, String)],
) -> Finished {
    let mut node = runner.program("node");
    node.arg(root().join("contrib/github-action").join(script));
    // Where the runner finds no binary that was not fetched.
    node.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    node.envs(variables.iter().map(|(name, value)| (name, value)));
    for (name, value) in inputs {
        node.env(format!("INPUT_{}", name.to_uppercase()), value);
    }
    let state = fs::read_to_string(runner.file("state")).unwrap();
    for (name, value) in state.lines().filter_map(|line| line.split_once('=')) {
        node.env(format!("STATE_{name}"), value);
    }
    run(&mut node, b"", PATIENCE)
}

#[test]
fn the_action_deploys_and_its_last_step_ends_it() {
    let yard = Yard::set();
    let runner = yard.runner(json!({}));
    let download = Download::start();
    let (url, pin) = (yard.stage.bastion.url(), yard.pin());
    let mut inputs = vec![
        ("ca-url", url.as_str()),
        ("ca-fingerprint", pin.as_str()),
        ("caponier-url", download.url.as_str()),
        ("caponier-sha256", download.sha256.as_str()),
        ("dry-run", "false"),
    ];
    let main = action(&runner, "main.js", &inputs);
    let said = main.ok();
    let token = runner.service().tokens[0].clone();
    assert!(said.starts_with(&format!("::add-mask::{token}\n")), "{said}");
    assert_eq!(said.matches(&token).count() + main.errors().matches(&token).count(), 1);
    assert!(said.contains(&format!("may log in as {}", me())), "{said}");
    yard.is_nowhere(&token, &runner);

    let config = PathBuf::from(runner.output("ssh-config"));
    assert!(config.starts_with(runner.temp()));
    yard.deploy(&config);
    yard.stage.web1.wait_for_log("987654321");
    assert_eq!(agents_below(&runner.temp()).len(), 1);

    let post = action(&runner, "post.js", &[]);
    assert!(post.ended(0).errors().contains("the run is over"), "{}", post.errors());
    assert_eq!(fs::read_dir(runner.temp()).unwrap().count(), 0, "nothing is left");
    assert_eq!(agents_below(&runner.temp()), Vec::<u32>::new());
    action(&runner, "post.js", &[]).ended(0);

    // A binary that is another one is not run; the last step runs all the same.
    let other = "0".repeat(64);
    inputs[3] = ("caponier-sha256", &other);
    fs::write(runner.file("state"), "").unwrap();
    let said = action(&runner, "main.js", &inputs).ended(1).errors();
    assert!(said.contains("it was not run"), "{said}");
    assert_eq!(runner.service().tokens.len(), 1);
    action(&runner, "post.js", &[]).ended(0);
    assert_eq!(fs::read_dir(runner.temp()).unwrap().count(), 0);

    // A wrong pin ends before a token is asked for.
    inputs[3] = ("caponier-sha256", &download.sha256);
    let wrong = fingerprint(&yard.stage.web1.host_key().public());
    inputs[1] = ("ca-fingerprint", &wrong);
    fs::write(runner.file("state"), "").unwrap();
    let said = action(&runner, "main.js", &inputs).ended(1).errors();
    assert!(said.contains("not the pinned one"), "{said}");
    assert_eq!(runner.service().audiences.len(), 1);
    action(&runner, "post.js", &[]).ended(0);
    assert_eq!(fs::read_dir(runner.temp()).unwrap().count(), 0);
}

/// The component's job, as GitLab runs it: a script in one shell, `after_script` in another.
pub(super) struct Pipeline {
    dir: tempfile::TempDir,
    /// What the job file says.
    pub(super) inputs: Vec<(&'static str, String)>,
    /// What whoever started the pipeline says.
    pub(super) variables: Vec<(String, String)>,
    token: String,
}

impl Pipeline {
    pub(super) fn new(yard: &Yard) -> Self {
        let dir = crate::world::scratch();
        fs::create_dir(dir.path().join("shop")).unwrap();
        let documents = yaml("gitlab-component/templates/caponier.yml");
        let job = documents[1].as_object().unwrap().values().next().unwrap();
        assert_eq!(job["id_tokens"]["CAPONIER_ID_TOKEN"]["aud"], "$[[ inputs.server ]]");
        // Those of a job yield to those of a pipeline, so nothing may hang on them.
        assert_eq!(job.get("variables"), None);
        let inputs = vec![
            ("server", yard.stage.bastion.url()),
            ("ca-fingerprint", yard.pin()),
            ("caponier-url", String::new()),
            ("caponier-sha256", String::new()),
            ("options", format!("--principals {}", me())),
        ];
        let mut claims = yard.issuer.gitlab(&yard.stage.bastion.url());
        claims["iss"] = "https://gitlab.com".into();
        Self { dir, inputs, variables: Vec::new(), token: yard.issuer.mint(&claims) }
    }

    /// Runs what the component says, with the inputs in it, and then this.
    pub(super) fn run(&self, part: &str, more: &str) -> Finished {
        let fill = |text: String, (name, value): &(&str, String)| {
            text.replace(&format!("$[[ inputs.{name} ]]"), value)
        };
        let script = self.inputs.iter().fold(component_script(part), fill);
        assert!(!script.contains("$[["), "{script}");
        let binaries = Path::new(CAPONIER).parent().unwrap().display().to_string();
        let project = self.dir.path().join("shop");
        let mut shell = Command::new("sh");
        shell.args(["-ec", &format!("{script}\n{more}")]).env_clear().current_dir(&project);
        shell.env("PATH", format!("{binaries}:{}", std::env::var("PATH").unwrap()));
        shell.env("HOME", self.dir.path()).env("GITLAB_CI", "true").env("CI", "true");
        shell.env("CI_PROJECT_DIR", project).env("CI_JOB_ID", "777").env("CAPONIER_ID_TOKEN", &self.token);
        shell.envs(self.variables.iter().map(|(name, value)| (name, value)));
        run(&mut shell, b"", PATIENCE)
    }
}

#[test]
fn the_component_deploys_and_its_after_script_ends_it() {
    let yard = Yard::set();
    let pipeline = Pipeline::new(&yard);
    let deployed = yard.stage.dir().join("deployed");
    let script = format!(
        "[ -z \"${{CAPONIER_ID_TOKEN-}}\" ]\necho hello >site\nscp -q -F \"$CAPONIER_SSH_CONFIG\" site {}@web1:{}\n\
         echo \"$CAPONIER_SSH_CONFIG\"",
        me(),
        deployed.display()
    );
    let job = pipeline.run("before_script", &script);
    let said = job.ok();
    assert_eq!(fs::read_to_string(&deployed).unwrap(), "hello\n");
    assert!(!said.contains(&pipeline.token) && !job.errors().contains(&pipeline.token));
    let config = PathBuf::from(said.lines().last().unwrap());
    yard.deploy(&config);
    let folder = config.parent().unwrap().to_owned();
    assert_eq!(agents_below(&folder).len(), 1);
    let after = pipeline.run("after_script", "");
    assert!(after.ended(0).errors().contains("the run is over"), "{}", after.errors());
    assert!(!folder.exists() && agents_below(&folder).is_empty());

    // The token was good once.
    let again = pipeline.run("before_script", "");
    assert!(again.ended(1).errors().contains("the server refused"), "{}", again.errors());
    assert!(!folder.exists());
    pipeline.run("after_script", "").ended(0);
}

/// A tag: the role must be asked for.
pub(super) fn tag() -> Value {
    json!({"ref": "refs/tags/v1", "ref_type": "tag"})
}

/// Somebody who may say yes.
pub(super) fn reviewer(yard: &Yard) -> Laptop {
    let laptop = Laptop::new();
    yard.stage.login_at(&laptop, "reviewer");
    laptop
}

/// The request that waits for the reviewer.
#[track_caller]
pub(super) fn waiting(laptop: &Laptop) -> Value {
    crate::world::wait_for("a request in the inbox", PATIENCE, || {
        let inbox = run(&mut laptop.caponier(&["inbox", "--json"]), b"", PATIENCE).ok();
        serde_json::from_str::<Value>(&inbox).unwrap().as_array()?.first().cloned()
    })
}

#[test]
fn a_job_waits_for_somebodys_yes() {
    let yard = Yard::set();
    let laptop = reviewer(&yard);
    let runner = yard.runner(tag());
    let login = Running::start(&mut yard.login(&runner, &["--wait", "60s"]), b"");
    login.wait_for_text("Waiting for 1 more of corp:reviewers", PATIENCE);
    let request = waiting(&laptop);
    assert_eq!(request["reason"], "https://github.com/acme/shop/actions/runs/987654321/attempts/1");
    assert_eq!(request["scope"]["targets"], json!(["web1"]));
    let id = request["id"].as_str().unwrap();
    run(&mut laptop.caponier(&["approve", id]), b"", PATIENCE).ok();
    let finished = login.finish(PATIENCE);
    finished.ended(0);
    yard.deploy(&runner.temp().join("caponier/ssh_config"));
    run(&mut runner.caponier(&["ci", "done"]), b"", PATIENCE).ok();
    let shown = run(&mut laptop.caponier(&["request", "show", id, "--json"]), b"", PATIENCE).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["state"], "finished", "{shown}");
}

#[test]
fn a_job_that_nobody_answers_ends_with_75_and_takes_its_request_back() {
    let yard = Yard::set();
    let laptop = reviewer(&yard);
    let runner = yard.runner(tag());
    let more = ["--wait", "2s", "--reason", "OPS-1 release", "--role", "release", "--target", "web1"];
    let finished = run(&mut yard.login(&runner, &more), b"", PATIENCE);
    assert!(finished.ended(75).errors().contains("the request is withdrawn"), "{}", finished.errors());
    let inbox = run(&mut laptop.caponier(&["inbox", "--json"]), b"", PATIENCE).ok();
    assert_eq!(inbox.trim(), "[]");
    assert!(!fs::read_to_string(runner.file("output")).unwrap().contains("ssh-config"), "no outputs");
    run(&mut runner.caponier(&["ci", "done"]), b"", PATIENCE).ok();

    // Denied is another matter, and no role that is not there can be asked for.
    let login = Running::start(&mut yard.login(&runner, &["--wait", "60s"]), b"");
    let id = waiting(&laptop)["id"].as_str().unwrap().to_owned();
    run(&mut laptop.caponier(&["deny", &id, "--reason", "not on fridays"]), b"", PATIENCE).ok();
    let said = login.finish(PATIENCE).ended(1).errors();
    assert!(said.contains("denied") && said.contains("not on fridays"), "{said}");
    let said =
        run(&mut yard.login(&runner, &["--wait", "5s", "--role", "root"]), b"", PATIENCE).ended(1).errors();
    assert!(said.contains("not one that this run must ask for; those are: release"), "{said}");
    run(&mut runner.caponier(&["ci", "done"]), b"", PATIENCE).ok();
}

#[test]
fn a_dry_run_names_rules_and_claims() {
    let yard = Yard::set();
    let look = |changes: Value| run(&mut yard.login(&yard.runner(changes), &["--dry-run"]), b"", PATIENCE);
    let said = look(json!({})).ended(0).text();
    for part in
        ["github acme/shop (repository/123456)", "fits      deploy-shop", "would get a certificate for"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("not       release-shop: ref"), "{said}");
    let said = look(json!({"ref": "refs/heads/topic"})).ended(1).text();
    assert!(said.contains("not       deploy-shop: ref is \"refs/heads/topic\""), "{said}");
    assert!(said.contains("would be refused"), "{said}");
    let said = look(json!({"repository_id": "7"})).ended(1).text();
    assert!(!said.contains("deploy-shop"), "others' rules are not told of: {said}");
}

#[test]
fn a_service_account_deploys() {
    let yard = Yard::set();
    let runner = yard.runner(json!({}));
    let key = yard.service_key.display().to_string();
    let finished = run(&mut yard.login(&runner, &["--service", "backup", "--key", &key]), b"", PATIENCE);
    finished.ended(0);
    assert_eq!(runner.service().tokens, Vec::<String>::new());
    yard.deploy(&runner.temp().join("caponier/ssh_config"));
    run(&mut runner.caponier(&["ci", "done"]), b"", PATIENCE).ok();
    fs::set_permissions(&yard.service_key, fs::Permissions::from_mode(0o644)).unwrap();
    let open = run(&mut yard.login(&runner, &["--service", "backup", "--key", &key]), b"", PATIENCE);
    assert!(open.ended(1).errors().contains("chmod 600"), "{}", open.errors());
}
