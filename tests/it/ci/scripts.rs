//! The scripts of `contrib/`, and those inside YAML: clean for shellcheck, and saying the same as what they are used by.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::world::process::run;
use crate::world::{PATIENCE, part, root};

/// A YAML file of `contrib/` with all its documents, read by a real reader.
#[track_caller]
pub(super) fn yaml(path: &str) -> Value {
    let read = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let python = part("target/test-parts/clients/bin/python");
    let text =
        run(Command::new(python).args(["-c", read]).arg(root().join("contrib").join(path)), b"", PATIENCE);
    serde_json::from_str(&text.ok()).unwrap()
}

/// The scripts of `before_script` or `after_script` of the component's job, one text.
#[track_caller]
pub(super) fn component_script(name: &str) -> String {
    let documents = yaml("gitlab-component/templates/caponier.yml");
    let job = documents[1].as_object().unwrap().values().next().unwrap();
    let steps: Vec<&str> = job[name].as_array().unwrap().iter().map(|step| step.as_str().unwrap()).collect();
    steps.join("\n")
}

/// Every file below `contrib/` and `.ci/` that a shell runs.
fn scripts() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("contrib"), root().join(".ci")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path).unwrap().starts_with(b"#!") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_scripts_are_shellcheck_clean() {
    let scripts = scripts();
    assert!(scripts.len() >= 6, "{scripts:?}");
    let checked = run(Command::new("shellcheck").args(&scripts), b"", PATIENCE);
    assert_eq!(checked.ended(0).text(), "");
    let workflow = &yaml("github-action/example-workflow.yml")[0];
    let steps = workflow["jobs"]["deploy"]["steps"].as_array().unwrap();
    let mut blocks: Vec<String> =
        steps.iter().filter_map(|step| Some(step["run"].as_str()?.to_owned())).collect();
    blocks.extend(["before_script", "after_script"].map(component_script));
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        // Variables of the platform are set elsewhere.
        let shellcheck = ["-s", "sh", "-e", "SC2154", "-"];
        let checked = run(Command::new("shellcheck").args(shellcheck), block.as_bytes(), PATIENCE);
        assert_eq!(checked.ended(0).text(), "", "{block}");
    }
    let dirty = run(Command::new("shellcheck").args(["-s", "sh", "-"]), b"rm $1\n", PATIENCE);
    assert!(dirty.ended(1).text().contains("SC2086"), "shellcheck checks nothing");
}

#[test]
fn the_action_takes_the_inputs_that_it_names() {
    let action = &yaml("github-action/action.yml")[0];
    let main = std::fs::read_to_string(root().join("contrib/github-action/main.js")).unwrap();
    let login = std::fs::read_to_string(root().join("contrib/github-action/login.sh")).unwrap()
        + &std::fs::read_to_string(root().join("contrib/github-action/fetch.sh")).unwrap();
    let inputs = action["inputs"].as_object().unwrap();
    let mapped: Vec<(&str, &str)> = main
        .lines()
        .filter_map(|line| line.trim().strip_suffix("',")?.split_once(": '"))
        .filter(|(variable, _)| variable.starts_with("CAPONIER_"))
        .collect();
    assert_eq!(mapped.len(), inputs.len(), "{mapped:?}");
    for (variable, input) in mapped {
        assert!(inputs.contains_key(input), "{input}");
        // caponier itself reads these two.
        let is_read =
            login.contains(variable) || ["CAPONIER_SERVER", "CAPONIER_CA_FINGERPRINT"].contains(&variable);
        assert!(is_read, "{variable}");
    }
    let outputs: Vec<&String> = action["outputs"].as_object().unwrap().keys().collect();
    assert_eq!(outputs.len(), 5, "{outputs:?}");
    assert_eq!(action["runs"]["post-if"], "always()");
    let example = &yaml("github-action/example-workflow.yml")[0];
    assert_eq!(example["permissions"]["id-token"], "write");
    let with = example["jobs"]["deploy"]["steps"][1]["with"].as_object().unwrap();
    assert!(with.keys().all(|input| inputs.contains_key(input)), "{with:?}");
}

/// The component's inputs stand between single quotes in a shell script; their patterns decide what can.
#[test]
fn the_components_inputs_cannot_leave_their_quotes() {
    let documents = yaml("gitlab-component/templates/caponier.yml");
    let inputs = documents[0]["spec"]["inputs"].as_object().unwrap();
    // GitLab's engine is RE2, whose language this is.
    let passes = |input: &str, text: &str| {
        let pattern = inputs[input]["regex"].as_str().unwrap();
        regex_lite::Regex::new(pattern).unwrap().is_match(text)
    };
    let example = &yaml("gitlab-component/example.gitlab-ci.yml")[0]["include"][0]["inputs"];
    let pins = format!("SHA256:{},SHA256:{}", "A".repeat(43), "/".repeat(43));
    let mut good: Vec<(&str, &str)> = example
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    good.extend(
        inputs.iter().filter_map(|(name, input)| Some((name.as_str(), input.get("default")?.as_str()?))),
    );
    good.extend([
        ("server", "https://bastion.example:8443"),
        ("server", "https://[2001:db8::1]"),
        ("server", "http://127.0.0.1:4711"),
        ("ca-fingerprint", &pins),
        ("options", "--wait 15m --target web1 --principals deploy,backup"),
        ("name", "deploy: caponier"),
    ]);
    assert!(good.len() >= 13, "{good:?}");
    for (input, text) in &good {
        assert!(passes(input, text), "{input} {text}");
    }
    let bad = [
        ("server", ""),
        ("server", "https://bastion.example/"),
        ("server", "https://Bastion.example"),
        ("server", "http://bastion.example"),
        ("server", "https://ann@bastion.example"),
        ("ca-fingerprint", ""),
        ("ca-fingerprint", "SHA256:short"),
        ("caponier-url", "http://downloads.example/caponier"),
        ("caponier-sha256", "E3B0"),
        ("options", "--target *"),
    ];
    for (input, text) in bad {
        assert!(!passes(input, text), "{input} {text}");
    }
    for end in ["'", "\"", "\n", "\n# ", "$(id)", "`id`", "\\", "'; id; '", "${HOME}"] {
        for (input, text) in &good {
            assert!(!passes(input, &format!("{text}{end}")), "{input} {text}{end}");
        }
    }
    assert!(inputs.values().all(|input| input["regex"].is_string()));
}
