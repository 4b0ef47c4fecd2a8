//! Variables that somebody else has set in a job: with a push option, a schedule, a trigger, an earlier step. The scripts of
//! `contrib/` take what the job file says, whatever is in the environment.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::deploy::{Download, Pipeline, Yard, action_with};
use super::{agents_below, fingerprint};
use crate::client::fake::Fake;
use crate::world::process::run;
use crate::world::{PATIENCE, me};

/// What an attacker has ready: a program, and a server with a host CA of its own.
struct Attacker {
    program: Download,
    server: Fake,
    mark: PathBuf,
    dir: tempfile::TempDir,
}

impl Attacker {
    #[track_caller]
    fn start() -> Self {
        let dir = crate::world::scratch();
        let mark = dir.path().join("taken");
        let script = format!("#!/bin/sh\nenv >'{}'\n", mark.display());
        let program = Download::of(&script);
        // It does what is looked for below.
        run(Command::new("sh").args(["-c", &script]), b"", PATIENCE).ok();
        fs::remove_file(&mark).unwrap();
        Self { program, server: Fake::start(), mark, dir }
    }

    /// All that our scripts and our program know by name, and more.
    fn variables(&self) -> Vec<(String, String)> {
        let pin = fingerprint(&self.server.mind().ssh.host_ca);
        let own = self.dir.path().join("own").display().to_string();
        [
            ("CAPONIER_URL", self.program.url.clone()),
            ("CAPONIER_SHA256", self.program.sha256.clone()),
            ("CAPONIER_SERVER", self.server.url()),
            ("CAPONIER_CA_FINGERPRINT", pin),
            ("CAPONIER_OPTIONS", "--principals nobody".to_owned()),
            ("CAPONIER_PRINCIPALS", "nobody".to_owned()),
            ("CAPONIER_AUDIENCE", self.server.url()),
            ("CAPONIER_ISSUER", "theirs".to_owned()),
            ("CAPONIER_DRY_RUN", "true".to_owned()),
            ("CAPONIER_DIR", own.clone()),
            ("CAPONIER_HOME", own.clone()),
            ("CAPONIER_CONFIG", own),
            ("CAPONIER", "false".to_owned()),
            ("CAPONIER_NAME", "CAPONIER_ID_TOKEN".to_owned()),
            ("OTHER", "two lines\nCAPONIER_URL=x\nCAPONIER_ID_TOKEN=x".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Nothing of theirs ran, was written or was asked.
    #[track_caller]
    fn has_nothing(&self) {
        assert!(!self.mark.exists(), "{}", fs::read_to_string(&self.mark).unwrap());
        assert_eq!(self.server.mind().asked, Vec::<String>::new());
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_pipelines_variables_do_not_steer_the_component() {
    let yard = Yard::set();
    let attacker = Attacker::start();
    let download = Download::start();
    for (url, sha256) in [(String::new(), String::new()), (download.url.clone(), download.sha256.clone())] {
        let mut pipeline = Pipeline::new(&yard);
        pipeline.variables = attacker.variables();
        for (name, value) in &mut pipeline.inputs {
            match *name {
                "caponier-url" => value.clone_from(&url),
                "caponier-sha256" => value.clone_from(&sha256),
                _ => {}
            }
        }
        let rest = format!(
            "env | sed -n 's/^\\(CAPONIER_*[A-Z]*\\)=.*/left: \\1/p'\nssh -F \"$CAPONIER_SSH_CONFIG\" {}@web1 echo in\n\
             echo \"$CAPONIER_SSH_CONFIG\"",
            me()
        );
        let job = pipeline.run("before_script", &rest);
        let said = job.ok();
        attacker.has_nothing();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.contains(&"in") && !said.contains("left: CAPONIER_HOME"), "{said}");
        assert!(lines[0].contains(&format!("may log in as {}", me())), "{said}");
        let folder = PathBuf::from(lines.last().unwrap()).parent().unwrap().to_owned();
        assert_eq!(agents_below(&folder).len(), 1);
        let after = pipeline.run("after_script", "");
        assert!(after.ended(0).errors().contains("the run is over"), "{}", after.errors());
        attacker.has_nothing();
        assert!(!folder.exists() && agents_below(&folder).is_empty());
        assert!(!folder.with_extension("bin").exists());
    }

    // A program that is another one than the job file says is not run, though the variables have its digest.
    let mut pipeline = Pipeline::new(&yard);
    pipeline.variables = attacker.variables();
    for sha256 in [&download.sha256, &String::new()] {
        for (name, value) in &mut pipeline.inputs {
            match *name {
                "caponier-url" => value.clone_from(&attacker.program.url),
                "caponier-sha256" => value.clone_from(sha256),
                _ => {}
            }
        }
        let said = pipeline.run("before_script", "").ended(1).errors();
        assert!(said.contains("it was not run"), "{said}");
        pipeline.run("after_script", "").ended(0);
        attacker.has_nothing();
    }
}

#[test]
fn a_jobs_variables_do_not_steer_the_action() {
    let yard = Yard::set();
    let attacker = Attacker::start();
    let download = Download::start();
    let runner = yard.runner(json!({}));
    let (url, pin, variables) = (yard.stage.bastion.url(), yard.pin(), attacker.variables());
    let mut inputs = vec![("ca-url", url.as_str()), ("ca-fingerprint", pin.as_str())];
    // No address of a program: that of the variables is none.
    let said = action_with(&runner, "main.js", &inputs, &variables).ended(1).errors();
    assert!(said.contains("there is no caponier in PATH"), "{said}");
    action_with(&runner, "post.js", &[], &variables).ended(0);
    attacker.has_nothing();

    inputs.extend([("caponier-url", download.url.as_str()), ("caponier-sha256", download.sha256.as_str())]);
    fs::write(runner.file("state"), "").unwrap();
    let main = action_with(&runner, "main.js", &inputs, &variables);
    assert!(main.ok().contains(&format!("may log in as {}", me())));
    assert!(runner.service().audiences[0].starts_with(&format!("{url}?ssh-key-sha256=")));
    let post = action_with(&runner, "post.js", &[], &variables);
    assert!(post.ended(0).errors().contains("the run is over"), "{}", post.errors());
    attacker.has_nothing();
    assert_eq!(fs::read_dir(runner.temp()).unwrap().count(), 0, "nothing is left");
}
