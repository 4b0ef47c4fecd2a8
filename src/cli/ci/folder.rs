//! The job's own folder and the ssh-agent in it. The folder is made by us and marked as ours, so that `done` may take it away as a
//! whole and never anything else; the agent is stock, holds the one key, and is ended by the process id in the mark, once that
//! process has shown to be the one.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::cli::Environment;
use crate::cli::client::home::{self, Home, HomeError};

/// The file that marks a folder as a job's.
const MARK: &str = "job.json";
/// An agent that is told to end does so within this.
const END_WAIT: Duration = Duration::from_secs(2);
const END_POLL: Duration = Duration::from_millis(10);
/// What the agent gets of our environment: a search path, and what lets GitHub's runner find processes that were left behind.
/// The rest has tokens in it.
const AGENT_VARIABLES: [&str; 3] = ["PATH", "TMPDIR", "RUNNER_TRACKING_ID"];

/// Why the folder or its agent cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    /// Others', or open to others.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Somebody else's files.
    #[error("{0}: there is something in it that is not a job's; choose another folder with --dir")]
    Foreign(String),
    /// A file, or a link to elsewhere.
    #[error("{0}: not a folder (links are not followed); choose another with --dir")]
    NoFolder(String),
    /// The system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// No agent.
    #[error("ssh-agent does not start: {0}; it comes with OpenSSH's client")]
    Agent(String),
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Mark {
    /// The agent's process id.
    #[serde(default)]
    agent: Option<i32>,
}

/// A job's folder: ours, for nobody else, and marked.
#[derive(Debug)]
pub(super) struct Folder {
    home: Home,
}

impl Folder {
    /// The folder of an earlier login; none when there is nothing of ours.
    pub(super) fn find(dir: &Path) -> Result<Option<Self>, FolderError> {
        let home = Home::locate(Some(dir), &Environment::default())?;
        if !is_there(home.dir())? {
            return Ok(None);
        }
        home.check()?;
        Ok(home.has(MARK).then_some(Self { home }))
    }

    /// Makes the folder, or takes one that is empty, and marks it.
    pub(super) fn claim(dir: &Path) -> Result<Self, FolderError> {
        let home = Home::locate(Some(dir), &Environment::default())?;
        let dir = home.dir();
        if is_there(dir)? {
            home.check()?;
            let is_empty = fs::read_dir(dir).map_err(|e| failed(dir, e))?.next().is_none();
            if !is_empty {
                return Err(FolderError::Foreign(dir.display().to_string()));
            }
        } else {
            if let Some(parent) = dir.parent() {
                fs::create_dir_all(parent).map_err(|e| failed(parent, e))?;
            }
            // Not one that appeared in between, nor a link.
            DirBuilder::new().mode(0o700).create(dir).map_err(|e| failed(dir, e))?;
        }
        let folder = Self { home };
        folder.mark(None)?;
        Ok(folder)
    }

    /// The client's files in it.
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// Starts the agent: empty, in a session of its own, so that it outlives the step that started it.
    pub(super) fn start_agent(&self, env: &Environment) -> Result<(), FolderError> {
        let own = AGENT_VARIABLES.iter().filter_map(|name| Some((*name, env.get(name)?)));
        let started = Command::new("ssh-agent")
            .args(["-s", "-a"])
            .arg(self.home.path(home::SOCKET))
            .env_clear()
            .envs(own)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| FolderError::Agent(e.to_string()))?;
        let said = String::from_utf8_lossy(&started.stdout);
        let pid = said.split(['\n', ';']).find_map(|part| part.strip_prefix("SSH_AGENT_PID=")?.parse().ok());
        let Some(pid) = pid.filter(|_| started.status.success()) else {
            let why = String::from_utf8_lossy(&started.stderr);
            return Err(FolderError::Agent(crate::cli::terminal::plain(why.trim(), 300)));
        };
        self.mark(Some(pid))
    }

    /// Ends the agent, if it is there and the one that was started here.
    pub(super) fn end_agent(&self) {
        let mark: Mark = self
            .home
            .read(MARK)
            .ok()
            .flatten()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let socket = self.home.path(home::SOCKET);
        let Some(pid) = mark.agent.filter(|pid| is_agent(*pid, &socket)) else { return };
        let Some(process) = Pid::from_raw(pid) else { return };
        let mut waited = Duration::ZERO;
        let mut signal = Signal::TERM;
        while is_agent(pid, &socket) {
            if waited >= END_WAIT {
                signal = Signal::KILL;
            }
            if waited.is_zero() || waited == END_WAIT {
                // It may have ended by itself just now, which is as well.
                if let Err(e) = kill_process(process, signal) {
                    tracing::debug!(error = %e, "the agent was gone");
                }
            }
            if waited > END_WAIT {
                break;
            }
            std::thread::sleep(END_POLL);
            waited += END_POLL;
        }
    }

    /// Takes the folder away with everything in it.
    pub(super) fn remove(self) -> Result<(), FolderError> {
        // Whatever else cannot be removed: first what could still be used.
        self.home.remove(home::CERTIFICATE)?;
        fs::remove_dir_all(self.home.dir()).map_err(|e| failed(self.home.dir(), e))
    }

    fn mark(&self, agent: Option<i32>) -> Result<(), FolderError> {
        let text = serde_json::to_string(&Mark { agent }).map_err(io::Error::from);
        let text = text.map_err(|e| failed(&self.home.path(MARK), e))?;
        Ok(self.home.write(MARK, &text)?)
    }
}

/// Whether there is a folder; what is something else is an error, a link too: whoever made it would choose what we remove.
fn is_there(dir: &Path) -> Result<bool, FolderError> {
    match fs::symlink_metadata(dir) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(FolderError::NoFolder(dir.display().to_string())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(failed(dir, e)),
    }
}

/// Whether this process is an ssh-agent of ours at this socket. Process ids are used again, by whatever comes.
fn is_agent(pid: i32, socket: &Path) -> bool {
    let us = rustix::process::geteuid().as_raw();
    let process = Path::new("/proc").join(pid.to_string());
    let socket = socket.display().to_string();
    if Path::new("/proc/self").exists() {
        let is_ours = fs::metadata(&process).is_ok_and(|found| found.uid() == us);
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut words = line.split('\0');
        let program = words.next().and_then(|first| Path::new(first).file_name());
        return is_ours
            && program.is_some_and(|name| name == "ssh-agent")
            && words.any(|word| word == socket);
    }
    let shown = Command::new("ps").args(["-o", "uid=,command=", "-p", &pid.to_string()]).output();
    shown.is_ok_and(|shown| {
        let line = String::from_utf8_lossy(&shown.stdout).trim().to_owned();
        line.starts_with(&format!("{us} ")) && line.contains("ssh-agent") && line.contains(&socket)
    })
}

fn failed(path: &Path, source: io::Error) -> FolderError {
    FolderError::Io { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn ready() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep").join("job");
        (dir, path)
    }

    #[test]
    fn only_what_we_made_is_taken_away() {
        let (dir, path) = ready();
        assert!(Folder::find(&path).unwrap().is_none());
        let folder = Folder::claim(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(Folder::claim(&path), Err(FolderError::Foreign(_))), "it is another login's");
        fs::write(path.join("more"), "x").unwrap();
        folder.remove().unwrap();
        assert!(!path.exists() && path.parent().unwrap().exists());

        let foreign = dir.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(foreign.join("precious"), "x").unwrap();
        assert!(matches!(Folder::claim(&foreign), Err(FolderError::Foreign(_))));
        assert!(Folder::find(&foreign).unwrap().is_none(), "nothing of ours");
        fs::remove_file(foreign.join("precious")).unwrap();
        Folder::claim(&foreign).unwrap();

        symlink(&foreign, dir.path().join("link")).unwrap();
        for search in
            [Folder::find(&dir.path().join("link")).err(), Folder::claim(&dir.path().join("link")).err()]
        {
            assert!(matches!(search, Some(FolderError::NoFolder(_))));
        }
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(Folder::find(&foreign), Err(FolderError::Home(HomeError::Open { .. }))));
    }

    #[test]
    fn the_agent_is_ours_alone_and_ends() {
        let (_dir, path) = ready();
        let folder = Folder::claim(&path).unwrap();
        let env = Environment::of_process();
        folder.start_agent(&env).unwrap();
        let socket = path.join(home::SOCKET);
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o077, 0);
        let mark: Mark = serde_json::from_str(&fs::read_to_string(path.join(MARK)).unwrap()).unwrap();
        let pid = mark.agent.unwrap();
        assert!(is_agent(pid, &socket));
        assert!(!is_agent(pid, &path.join("other")), "an agent of somebody else");
        assert!(
            !is_agent(i32::try_from(std::process::id()).unwrap(), &socket),
            "a process that has its number now"
        );
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&environment).contains("CARGO"));
        folder.end_agent();
        assert!(!is_agent(pid, &socket));
        folder.end_agent();
        folder.remove().unwrap();
    }

    #[test]
    fn a_mark_that_names_another_process_ends_nothing() {
        let (_dir, path) = ready();
        let folder = Folder::claim(&path).unwrap();
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        folder.mark(Some(i32::try_from(other.id()).unwrap())).unwrap();
        folder.end_agent();
        assert!(other.try_wait().unwrap().is_none(), "it lives");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
