//! `caponier demo --check`: the whole story with the system's `ssh`, one line a step.

use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Demo, TARGETS};

const PATIENCE: Duration = Duration::from_secs(30);

/// Plays the story that fits the person who is signed in; `true` when every step went well.
pub async fn story(demo: &Demo, out: &mut dyn Write) -> anyhow::Result<bool> {
    let mut tale = Tale { demo, out, well: true };
    tale.step("signed in", signed_in(demo).await)?;
    tale.step("a certificate for minutes", certificate(demo).await)?;
    match demo.person.as_str() {
        "engineer" => engineer(&mut tale).await?,
        "reviewer" => {
            tale.step("a command on web1", command(demo, "web1").await)?;
            tale.step("a shell on web1 is refused", refused(demo, &["web1"], "channel-kind").await)?;
            tale.step("db1 is refused", refused(demo, &["db1", "true"], "no-access").await)?;
        }
        _ => {
            tale.step("web1 is refused", refused(demo, &["web1", "true"], "no role gives you access").await)?
        }
    }
    tale.step("signing out ends it", sign_out(demo).await)?;
    Ok(tale.well)
}

struct Tale<'a> {
    demo: &'a Demo,
    out: &'a mut dyn Write,
    well: bool,
}

impl Tale<'_> {
    fn step(&mut self, name: &str, result: anyhow::Result<String>) -> anyhow::Result<()> {
        match result {
            Ok(seen) => writeln!(self.out, "ok    {name}{}{seen}", if seen.is_empty() { "" } else { ": " })?,
            Err(error) => {
                self.well = false;
                writeln!(self.out, "FAIL  {name}: {error:#}")?;
            }
        }
        Ok(())
    }
}

async fn engineer(tale: &mut Tale<'_>) -> anyhow::Result<()> {
    let demo = tale.demo;
    for target in TARGETS {
        tale.step(&format!("a command on {target}"), command(demo, target).await)?;
    }
    tale.step("exit status", exit_status(demo).await)?;
    tale.step("a terminal", terminal(demo).await)?;
    tale.step("a megabyte each way", megabyte(demo).await)?;
    tale.step("root is refused", refused(demo, &["root@web1", "true"], "principal").await)?;
    tale.step("the recording", recording(demo).await)
}

async fn finish(mut command: Command) -> anyhow::Result<Output> {
    command.kill_on_drop(true);
    timeout(PATIENCE, command.output()).await.context("it took too long")?.context("it did not start")
}

fn ssh(demo: &Demo, args: &[&str]) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(demo.ssh_config()).args(["-o", "BatchMode=yes"]).args(args);
    ssh.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
    ssh
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn well(output: &Output) -> anyhow::Result<String> {
    ensure!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    Ok(text(&output.stdout))
}

async fn caponier(demo: &Demo, args: &[&str]) -> anyhow::Result<String> {
    let mut command = demo.caponier()?;
    command.args(args);
    well(&finish(command).await?)
}

async fn signed_in(demo: &Demo) -> anyhow::Result<String> {
    let status = caponier(demo, &["status"]).await?;
    Ok(status.lines().next().unwrap_or_default().to_owned())
}

async fn certificate(demo: &Demo) -> anyhow::Result<String> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.arg("-L").arg("-f").arg(demo.dir.join("home").join("id-cert.pub"));
    let said = well(&finish(keygen).await?);
    // People without any role get no certificate, and that is right.
    match (demo.person.as_str(), said) {
        ("auditor", Err(_)) => Ok("none, as nothing is open to auditors".into()),
        (_, said) => {
            let said = said?;
            let valid = said.lines().find(|line| line.trim().starts_with("Valid:")).context("no validity")?;
            Ok(valid.trim().to_owned())
        }
    }
}

async fn command(demo: &Demo, target: &str) -> anyhow::Result<String> {
    let said = well(&finish(ssh(demo, &[target, "echo \"hello from $CAPONIER_DEMO_TARGET\""])).await?)?;
    ensure!(said == format!("hello from {target}"), "it said {said:?}");
    Ok(said)
}

async fn exit_status(demo: &Demo) -> anyhow::Result<String> {
    let output = finish(ssh(demo, &["web1", "exit 37"])).await?;
    ensure!(output.status.code() == Some(37), "{}: {}", output.status, text(&output.stderr));
    Ok("37 is 37".into())
}

async fn terminal(demo: &Demo) -> anyhow::Result<String> {
    let said = well(&finish(ssh(demo, &["-tt", "web1", "tty && echo in a terminal"])).await?)?;
    ensure!(said.contains("/dev/pts/") && said.ends_with("in a terminal"), "it said {said:?}");
    Ok("a pseudo-terminal on web1".into())
}

async fn megabyte(demo: &Demo) -> anyhow::Result<String> {
    let path = demo.dir.join("home").join("megabyte");
    let bytes: Vec<u8> = (0..1_048_576_u64).map(|n| u8::try_from(n * 7919 % 251).unwrap_or(0)).collect();
    std::fs::write(&path, &bytes)?;
    let mut cat = ssh(demo, &["db1", "cat"]);
    cat.stdin(std::fs::File::open(&path)?);
    let output = finish(cat).await?;
    std::fs::remove_file(&path)?;
    ensure!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    ensure!(output.stdout == bytes, "{} bytes came back, and not the same", output.stdout.len());
    Ok("the same bytes came back".into())
}

async fn refused(demo: &Demo, args: &[&str], code: &str) -> anyhow::Result<String> {
    let output = finish(ssh(demo, args)).await?;
    let said = text(&output.stderr);
    ensure!(output.status.code() == Some(255), "{}: {said}", output.status);
    let line = said.lines().find(|line| line.contains("caponier:") && line.contains(code));
    Ok(line.with_context(|| format!("no line with {code}, but {said:?}"))?.trim().to_owned())
}

async fn recording(demo: &Demo) -> anyhow::Result<String> {
    let listed = caponier(demo, &["recordings", "ls", "--json"]).await?;
    let rows: serde_json::Value = serde_json::from_str(&listed).context("recordings ls --json")?;
    let rows = rows.as_array().context("not a list")?;
    let session = rows
        .iter()
        .find(|row| row.get("command").and_then(|c| c.as_str()).is_some_and(|c| c.contains("in a terminal")))
        .and_then(|row| row.get("session").or_else(|| row.get("id")))
        .and_then(|id| id.as_str())
        .context("the terminal's session is not listed")?;
    let path = caponier(demo, &["recordings", "path", session]).await?;
    let cast = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    ensure!(
        cast.lines().skip(1).any(|line| line.contains("in a terminal")),
        "{path} does not show what was shown"
    );
    Ok(path)
}

async fn sign_out(demo: &Demo) -> anyhow::Result<String> {
    caponier(demo, &["logout"]).await?;
    let output = finish(ssh(demo, &["web1", "true"])).await?;
    ensure!(!output.status.success(), "ssh still works");
    Ok(String::new())
}
