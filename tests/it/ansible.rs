//! Ansible as it comes, through `ssh -J` of the client's own configuration: `ping`, `copy` and `command` with
//! connections shared by ControlMaster, for a role meant for it; and what a role not meant for it sees.

use std::process::Command;

use crate::world::process::{Finished, run};
use crate::world::stage::Stage;
use crate::world::{PATIENCE, me, part, wait_for};

/// Every module of the playbook answers for itself.
const PLAYBOOK: &str = r#"
- hosts: web1
  gather_facts: false
  tasks:
    - ansible.builtin.ping:
    - ansible.builtin.copy:
        content: "made by ansible, 'quotes', $dollars and ; more\n"
        dest: "{{ place }}/copied.txt"
        mode: "0640"
    - ansible.builtin.command:
        argv: [cat, "{{ place }}/copied.txt"]
      register: shown
    - ansible.builtin.assert:
        that: shown.stdout == "made by ansible, 'quotes', $dollars and ; more"
    - ansible.builtin.command: id -un
      register: who
    - ansible.builtin.debug:
        msg: "it ran as {{ who.stdout }}"
"#;

/// Runs the playbook on the laptop with the configuration that leads through the bastion.
fn play(stage: &Stage, more: &[&str]) -> Finished {
    let write = |name: &str, text: &str| {
        let path = stage.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let playbook = write("play.yml", PLAYBOOK);
    let inventory = write("hosts", "web1 ansible_python_interpreter=/usr/bin/python3\n");
    let settings =
        write("ansible.cfg", "[defaults]\nretry_files_enabled = false\nlocalhost_warning = false\n");
    let place = stage.dir().join("at-target");
    std::fs::create_dir_all(&place).unwrap();
    let mut ansible = Command::new(part("target/test-parts/clients/bin/ansible-playbook"));
    ansible
        .arg("-i")
        .arg(inventory)
        .arg("--ssh-common-args")
        .arg(format!("-F {}", stage.through().display()))
        .args(["-e", &format!("place={}", place.display())])
        .args(more)
        .arg(playbook)
        .env("ANSIBLE_CONFIG", settings)
        .env("ANSIBLE_HOME", stage.dir().join("ansible"))
        .env("HOME", stage.laptop.home())
        .env("CAPONIER_HOME", stage.laptop.home().join(".caponier"))
        .env("LC_ALL", "C.UTF-8");
    run(&mut ansible, b"", 4 * PATIENCE)
}

#[test]
fn a_playbook_runs_for_a_role_meant_for_it() {
    let stage = Stage::set();
    let said = play(&stage, &[]);
    let text = said.ok();
    assert!(text.contains(&format!("it ran as {}", me())), "{text}");
    assert!(text.contains("failed=0") && text.contains("unreachable=0"), "{text}");
    let copied = std::fs::read_to_string(stage.dir().join("at-target/copied.txt")).unwrap();
    assert_eq!(copied, "made by ansible, 'quotes', $dollars and ; more\n");
    // Once more with modules piped into the interpreter instead of copied.
    play(&stage, &["-e", "ansible_pipelining=true"]).ok();
    // Every step is on record.
    let opened = stage.audit().into_iter().filter(|(kind, _)| kind == "session_opened").count();
    assert!(opened >= 8, "{opened} sessions");
    assert!(stage.wait_for_audit("session_opened", "subsystem: sftp").contains("engineer"));
}

#[test]
fn a_role_with_command_rules_is_not_meant_for_ansible() {
    let stage = Stage::set();
    stage.bastion.write_policy(&crate::commands::guarded(stage.web1.port, ""));
    wait_for("the policy with rules", PATIENCE, || {
        stage.audit().iter().any(|(kind, _)| kind == "policy_loaded").then_some(())
    });
    let said = play(&stage, &[]);
    assert_ne!(said.status, Some(0));
    assert!(said.text().contains("exited with result 126"), "{}", said.text());
    assert!(stage.wait_for_audit("access_refused", "/bin/sh -c").contains("look: default"));
    assert!(!stage.dir().join("at-target/copied.txt").exists());
}
