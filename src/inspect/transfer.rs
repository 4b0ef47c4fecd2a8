//! Recognises the commands by which old `scp`, `rsync` and `git` move files: what the client's program asks the
//! target to run, already split into words by the strict grammar. Says which program, which way, and which paths;
//! whether that may be is the policy's.
//!
//! Only words that are known to name nothing else pass: an option that could name another path or start another
//! program makes the command [`Unclear`], and so does a program that is not called by its plain name, or a path that
//! the program could read as an option. The paths are the words of the command: nobody asks the target where a symbolic
//! link leads, and these programs follow links. What a client then says in the program's own protocol is not read.

use std::fmt;

use super::command::quote;

/// A file transfer, as its command says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The program.
    pub tool: Tool,
    /// Which way the content goes.
    pub direction: Direction,
    /// The paths on the target, as written; relative ones are below the login's home.
    pub paths: Vec<String>,
    /// It also reaches what is below the paths.
    pub deep: bool,
    /// What else it does there, each once.
    pub also: Vec<Also>,
}

/// What a transfer does besides moving content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Also {
    /// It may remove files.
    Removes,
    /// It sets permissions, owners, times or their like.
    SetsAttributes,
    /// It tells what is in folders.
    Lists,
    /// It tells, by checksums of small pieces, what is in the files that it would replace.
    Compares,
    /// It makes symbolic links that lead anywhere, or devices.
    MakesLinks,
}

impl fmt::Display for Transfer {
    /// For people and the audit: `scp to the target: /srv/x`. A path is shown as it would be quoted for a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::FromTarget => "from",
            Direction::ToTarget => "to",
        };
        write!(f, "{} {direction} the target:", self.tool.as_str())?;
        self.paths.iter().try_for_each(|path| write!(f, " {}", quote(path)))
    }
}

/// The program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `scp -t`, `scp -f`.
    Scp,
    /// `rsync --server`.
    Rsync,
    /// `git-upload-pack`, `git-receive-pack`, `git-upload-archive`.
    Git,
}

impl Tool {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scp => "scp",
            Self::Rsync => "rsync",
            Self::Git => "git",
        }
    }
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A download.
    FromTarget,
    /// An upload.
    ToTarget,
}

/// It looks like a file transfer and is not understood, so no path rule can be kept. `Display` is one line for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unclear(String);

/// Recognises one command. `Ok(None)` is a command that is no file transfer by its name.
pub fn recognise(argv: &[String]) -> Result<Option<Transfer>, Unclear> {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let Some((program, rest)) = words.split_first() else { return Ok(None) };
    let name = program.rsplit('/').next().unwrap_or_default();
    let found = match (name, rest.first().copied()) {
        // `scp` and `rsync` without their server's option are clients, started on the target: ordinary commands, whose
        // files nobody can follow.
        ("scp", _) => scp(rest),
        ("rsync", _) => rsync(rest),
        ("git-upload-pack" | "git-upload-archive", _) => git(Direction::FromTarget, rest),
        ("git-receive-pack", _) => git(Direction::ToTarget, rest),
        ("git", Some("upload-pack" | "upload-archive")) => git(Direction::FromTarget, tail(rest)),
        ("git", Some("receive-pack")) => git(Direction::ToTarget, tail(rest)),
        _ => return Ok(None),
    };
    if name != *program {
        return Err(unclear(format!("{program:?}: only {name}, called by its plain name, is known")));
    }
    found.map(Some)
}

fn unclear(text: impl Into<String>) -> Unclear {
    Unclear(text.into())
}

fn tail<'a, 'w>(words: &'a [&'w str]) -> &'a [&'w str] {
    words.get(1..).unwrap_or_default()
}

/// `scp [-v] [-r] [-p] [-d] [-q] -t|-f [--] PATH...`, as OpenSSH's client writes it.
fn scp(words: &[&str]) -> Result<Transfer, Unclear> {
    let (mut to, mut from, mut recursive, mut preserves) = (false, false, false, false);
    let mut paths = words;
    let mut ended = false;
    while let Some((word, rest)) = paths.split_first() {
        if *word == "--" {
            paths = rest;
            ended = true;
            break;
        }
        let Some(letters) = word.strip_prefix('-') else { break };
        for letter in letters.chars() {
            match letter {
                't' => to = true,
                'f' => from = true,
                'r' => recursive = true,
                'p' => preserves = true,
                'v' | 'd' | 'q' => {}
                other => return Err(unclear(format!("scp: the option -{other} is not known"))),
            }
        }
        if letters.is_empty() {
            return Err(unclear("scp: a lone - is not known"));
        }
        paths = rest;
    }
    let direction = match (to, from) {
        (true, false) => Direction::ToTarget,
        (false, true) => Direction::FromTarget,
        (true, true) | (false, false) => {
            return Err(unclear("scp: neither an upload (-t) nor a download (-f)"));
        }
    };
    if paths.is_empty() || (to && paths.len() != 1) {
        return Err(unclear("scp: it must name one path to upload to, or what to download"));
    }
    // Not every scp stops looking for options at the first path.
    if !ended {
        no_option("scp", paths)?;
    }
    let mut also = Vec::new();
    if to && preserves {
        also.push(Also::SetsAttributes);
    }
    if from && recursive {
        also.push(Also::Lists);
    }
    Ok(Transfer {
        tool: Tool::Scp,
        direction,
        paths: owned(paths)?,
        // What is uploaded goes into the path when a folder is there.
        deep: to || recursive,
        also,
    })
}

/// No path may look like an option to a program that takes its options between the paths, too.
fn no_option(program: &str, paths: &[&str]) -> Result<(), Unclear> {
    match paths.iter().find(|path| path.starts_with('-')) {
        Some(path) => Err(unclear(format!("{program}: {path:?} could be an option; write ./{path}"))),
        None => Ok(()),
    }
}

/// Letters that may stand together behind one dash. Not among them: `s` (the paths follow on the connection), `L`,
/// `k`, `K` (follow more links), `e`, `f`, `B`, `T`, `M` (take a value).
const RSYNC_LETTERS: &str = "vqlogDtprRzucnbdHAXSxWIiNUOJmEy";

/// Long options that name no path and no program.
const RSYNC_OPTIONS: &[&str] = &[
    "--append",
    "--compress-choice=lz4",
    "--compress-choice=zlib",
    "--compress-choice=zlibx",
    "--compress-choice=zstd",
    "--existing",
    "--fsync",
    "--ignore-existing",
    "--ignore-times",
    "--inplace",
    "--list-only",
    "--new-compress",
    "--no-implied-dirs",
    "--numeric-ids",
    "--old-compress",
    "--omit-dir-times",
    "--partial",
    "--preallocate",
    "--prune-empty-dirs",
    "--safe-links",
    "--size-only",
    "--sparse",
    "--stats",
];

/// Long options that remove files at the receiver, or at the sender.
const RSYNC_REMOVING: &[&str] = &[
    "--delete",
    "--delete-after",
    "--delete-before",
    "--delete-delay",
    "--delete-during",
    "--delete-excluded",
    "--force",
    "--remove-source-files",
];

/// Long options whose value is a number.
const RSYNC_NUMBERS: &[&str] = &[
    "--block-size=",
    "--bwlimit=",
    "--checksum-seed=",
    "--compress-level=",
    "--max-delete=",
    "--max-size=",
    "--min-size=",
    "--modify-window=",
    "--timeout=",
];

/// Letters by which an upload sets attributes: times, permissions, owner, group, ACLs, extended attributes, the right to
/// execute, times of access and of making.
const RSYNC_ATTRIBUTES: &str = "tpogAXEUN";

/// `rsync --server [--sender] OPTIONS . PATH...`.
fn rsync(words: &[&str]) -> Result<Transfer, Unclear> {
    let (mut server, mut sender) = (false, false);
    let mut options: Vec<&str> = Vec::new();
    let mut paths = words;
    loop {
        let Some((word, rest)) = paths.split_first() else {
            return Err(unclear("rsync: no \".\" before the paths"));
        };
        paths = rest;
        match *word {
            "." => break,
            "--server" => server = true,
            "--sender" => sender = true,
            "--daemon" => return Err(unclear("rsync: a daemon is not a transfer")),
            long if long.starts_with("--") => {
                if !is_known_long(long) {
                    return Err(unclear(format!("rsync: the option {long} could name other files")));
                }
                options.push(long);
            }
            short if short.starts_with('-') => options.push(letters(short)?),
            other => return Err(unclear(format!("rsync: {other:?} where options are expected"))),
        }
    }
    if !server {
        return Err(unclear("rsync: not the server's side of a transfer"));
    }
    if paths.is_empty() || (!sender && paths.len() != 1) {
        return Err(unclear("rsync: it must name one path to upload to, or what to download"));
    }
    // It takes options behind the paths as well.
    no_option("rsync", paths)?;
    let direction = if sender { Direction::FromTarget } else { Direction::ToTarget };
    let also = rsync_also(direction, &options);
    Ok(Transfer { tool: Tool::Rsync, direction, paths: owned(paths)?, deep: true, also })
}

/// What these options do besides moving content; clusters of letters without their dash.
fn rsync_also(direction: Direction, options: &[&str]) -> Vec<Also> {
    let (long, short): (Vec<&str>, Vec<&str>) = options.iter().partition(|option| option.starts_with("--"));
    let given = |letters: &str| short.iter().any(|cluster| cluster.contains(|c| letters.contains(c)));
    let mut also = Vec::new();
    if long.iter().any(|option| RSYNC_REMOVING.contains(option)) {
        also.push(Also::Removes);
    }
    match direction {
        Direction::FromTarget => {
            if given("rd") || long.contains(&"--list-only") {
                also.push(Also::Lists);
            }
        }
        Direction::ToTarget => {
            if given(RSYNC_ATTRIBUTES) {
                also.push(Also::SetsAttributes);
            }
            if !given("W") {
                also.push(Also::Compares);
            }
            // Even with --safe-links: older ones can be talked into links that lead out (CVE-2024-12088), and links that
            // stay inside lead out when they are moved.
            if given("lD") {
                also.push(Also::MakesLinks);
            }
        }
    }
    also
}

fn is_known_long(option: &str) -> bool {
    let numeric = |prefix: &str| {
        option.strip_prefix(prefix).is_some_and(|value| {
            !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        })
    };
    let format = |prefix: &str| {
        option
            .strip_prefix(prefix)
            .is_some_and(|value| value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'%'))
    };
    RSYNC_OPTIONS.contains(&option)
        || RSYNC_REMOVING.contains(&option)
        || RSYNC_NUMBERS.iter().any(|prefix| numeric(prefix))
        // What is printed about each file, not where.
        || ["--log-format=", "--out-format="].iter().any(|prefix| format(prefix))
}

/// A cluster such as `-logDtpre.iLsfxCIvu`: options, which are answered, then what the client's version can do.
fn letters(word: &str) -> Result<&str, Unclear> {
    let cluster = word.strip_prefix('-').unwrap_or(word);
    let (options, able) = cluster.split_once('e').unwrap_or((cluster, "."));
    if let Some(letter) = options.chars().find(|letter| !RSYNC_LETTERS.contains(*letter)) {
        return Err(unclear(format!("rsync: the option -{letter} could name other files")));
    }
    let able =
        able.strip_prefix(|c: char| c.is_ascii_digit() || c == '.').map(|rest| rest.trim_start_matches('.'));
    let plain = able.is_some_and(|able| able.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'));
    if cluster.is_empty() || !plain {
        return Err(unclear(format!("rsync: {cluster:?} is not known")));
    }
    Ok(options)
}

/// One path, no option.
fn git(direction: Direction, words: &[&str]) -> Result<Transfer, Unclear> {
    match words {
        [path] if !path.starts_with('-') => {
            Ok(Transfer { tool: Tool::Git, direction, paths: owned(&[*path])?, deep: true, also: Vec::new() })
        }
        _ => Err(unclear("git: it must name one repository and no option")),
    }
}

/// The paths; what is empty or has control characters is refused.
fn owned(paths: &[&str]) -> Result<Vec<String>, Unclear> {
    let bad = |path: &&&str| path.is_empty() || path.chars().any(char::is_control);
    match paths.iter().find(bad) {
        Some(path) => Err(unclear(format!("{path:?} is not a path"))),
        None => Ok(paths.iter().map(|path| (*path).to_owned()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `up`/`down`, then `deep` and what it also does, then the paths; `?` for unclear, `-` for no transfer.
    fn read(line: &str) -> String {
        let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
        match recognise(&argv) {
            Err(_) => "?".into(),
            Ok(None) => "-".into(),
            Ok(Some(found)) => {
                let way = match found.direction {
                    Direction::FromTarget => "down",
                    Direction::ToTarget => "up",
                };
                let deep = if found.deep { " deep" } else { "" };
                let also: String = found.also.iter().map(|also| format!(" {also:?}")).collect();
                let also = also.to_lowercase();
                format!("{} {way}{deep}{also} {}", found.tool.as_str(), found.paths.join(" "))
            }
        }
    }

    #[test]
    fn what_stock_clients_send_is_understood() {
        for (line, expect) in [
            ("scp -t /srv/up", "scp up deep /srv/up"),
            ("scp -v -r -p -d -t up", "scp up deep setsattributes up"),
            ("scp -rpt -- -odd", "scp up deep setsattributes -odd"),
            ("scp -f /a /b", "scp down /a /b"),
            ("scp -r -f .", "scp down deep lists ."),
            ("scp -p -f a", "scp down a"),
            ("scp -f -- -a -b", "scp down -a -b"),
            (
                "rsync --server -logDtpre.iLsfxCIvu . /srv/up",
                "rsync up deep setsattributes compares makeslinks /srv/up",
            ),
            ("rsync --server -ogtpre.iLsfxCIvu . up", "rsync up deep setsattributes compares up"),
            ("rsync --server -re.iLsfxCIvu . up", "rsync up deep compares up"),
            ("rsync --server -rWe.iLsfxCIvu . up", "rsync up deep up"),
            ("rsync --server -rWDe.iLsfxCIvu . up", "rsync up deep makeslinks up"),
            ("rsync --server -rWle.iLsfxCIvu --safe-links . up", "rsync up deep makeslinks up"),
            ("rsync --server -rWUe.iLsfxCIvu . up", "rsync up deep setsattributes up"),
            ("rsync --server -rWEe.iLsfxCIvu . up", "rsync up deep setsattributes up"),
            ("rsync --server -r -W -l . up", "rsync up deep makeslinks up"),
            ("rsync --server --sender -e.LsfxCIvu . ./-x", "rsync down deep ./-x"),
            ("rsync --server --sender -de.LsfxCIvu . a", "rsync down deep lists a"),
            ("rsync --server --sender -e.LsfxCIvu --list-only . a", "rsync down deep lists a"),
            ("rsync --server --sender -vlogDtprze.iLsfxCIvu . /a /b", "rsync down deep lists /a /b"),
            ("rsync --server -ogtpre.31.iLsfxCIvu . up", "rsync up deep setsattributes compares up"),
            ("rsync --server -vn --delete --partial --timeout=30 . up", "rsync up deep removes compares up"),
            (
                "rsync --server --sender -re.LsfxCIvu --remove-source-files . a",
                "rsync down deep removes lists a",
            ),
            (
                "rsync --server --log-format=%i -tre.iLsfxCIvu . up",
                "rsync up deep setsattributes compares up",
            ),
            ("git-upload-pack /srv/git/x.git", "git down deep /srv/git/x.git"),
            ("git upload-pack x", "git down deep x"),
            ("git-receive-pack x", "git up deep x"),
            ("git receive-pack x", "git up deep x"),
            ("git-upload-archive x", "git down deep x"),
        ] {
            assert_eq!(read(line), expect, "{line}");
        }
    }

    /// rsync takes options behind the paths as well.
    #[test]
    fn no_option_stands_behind_the_paths() {
        for line in [
            "rsync --server --sender -re.L . up --log-file=/home/deploy/.bashrc",
            "rsync --server --sender -re.L . up --copy-links",
            "rsync --server --sender -re.L . up --files-from=/etc/shadow",
            "rsync --server --sender -re.L . up --remove-source-files",
            "rsync --server --sender -re.L . -L up",
            "rsync --server --sender -re.L . -- up",
            "rsync --server --sender -re.L . up -",
            "rsync --server -re.L . --log-file=/x",
            "rsync --server -re.L . -L",
        ] {
            assert_eq!(read(line), "?", "{line}");
        }
    }

    #[test]
    fn what_could_mean_something_else_is_unclear() {
        for line in [
            "scp",
            "scp a b",
            "scp -t",
            "scp -t a b",
            "scp -f",
            "scp -t -f a",
            "scp -S prog -t a",
            "scp -oProxyCommand=x -t a",
            "scp -t - a",
            "scp -f a -b",
            "scp -f a --",
            "scp -t -v -",
            "/usr/bin/scp -t a",
            "./rsync --server . a",
            "rsync a b",
            "rsync --server",
            "rsync --server -r /a",
            "rsync --server .",
            "rsync --server . a b",
            "rsync --daemon --server .",
            "rsync --server --daemon .",
            "rsync --server -se.LsfxCIvu .",
            "rsync --server -rs . a",
            "rsync --server -rL . a",
            "rsync --server -rK . a",
            "rsync --server -T/tmp . a",
            "rsync --server -re.Ls/x . a",
            "rsync --server -rex . a",
            "rsync --server - . a",
            "rsync --server --- . a",
            "rsync --server --secluded-args .",
            "rsync --server --protect-args .",
            "rsync --server --log-file=/etc/x . a",
            "rsync --server --log-format=%i/../x . a",
            "rsync --server --files-from=/etc/x . a",
            "rsync --server --temp-dir=/x . a",
            "rsync --server --partial-dir=/x . a",
            "rsync --server --backup-dir=/x . a",
            "rsync --server --link-dest=/x . a",
            "rsync --server --copy-dest /x . a",
            "rsync --server --compare-dest=/x . a",
            "rsync --server --config=/x . a",
            "rsync --server --rsync-path=x . a",
            "rsync --server --copy-links . a",
            "rsync --server --copy-unsafe-links . a",
            "rsync --server --keep-dirlinks . a",
            "rsync --server --write-devices . a",
            "rsync --server --fake-super . a",
            "rsync --server --mkpath . a",
            "rsync --server -M--x . a",
            "rsync --server --timeout=/x . a",
            "git-upload-pack",
            "git-upload-pack --strict x",
            "git-upload-pack -x",
            "git-upload-pack x y",
            "git upload-pack --upload-pack=evil",
            "/usr/lib/git-core/git-receive-pack x",
            "git-upload-pack x\n",
        ] {
            assert_eq!(read(line), "?", "{line}");
        }
        for line in ["", "ls", "git status", "git", "git -c x=y upload-pack a", "scpx -t a", "cat scp"] {
            assert_eq!(read(line), "-", "{line}");
        }
    }
}
