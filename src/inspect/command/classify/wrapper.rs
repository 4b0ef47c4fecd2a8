//! Programs that run what their words say: `sudo`, `env`, `sh -c`, `xargs`. Looked through as far as their words are
//! known; where an option is not known, what stands behind it is taken as its value and as the command.

use super::Word;
use super::walk::Task;

/// A program that is followed by a command.
struct Prefix {
    names: &'static [&'static str],
    /// Options whose value is a word of its own.
    valued: &'static [&'static str],
    /// Options without a value; short ones may be joined.
    flags: &'static [&'static str],
    /// Words of its own before the command.
    before: usize,
    /// `A=b` may stand before the command.
    assignments: bool,
}

const PLAIN: Prefix = Prefix { names: &[], valued: &[], flags: &[], before: 0, assignments: false };

const PREFIXES: &[Prefix] = &[
    Prefix {
        names: &[
            "nohup",
            "setsid",
            "builtin",
            "!",
            "noglob",
            "nocorrect",
            "-",
            "and",
            "or",
            "not",
            "begin",
            "busybox",
            "toybox",
            "catchsegv",
            "fakeroot",
            "linux32",
            "linux64",
            "unbuffer",
            "dbus-run-session",
            "do",
            "then",
        ],
        flags: &["-w", "-f", "-c"],
        ..PLAIN
    },
    Prefix { names: &["command"], flags: &["-p", "-v", "-V"], ..PLAIN },
    Prefix { names: &["exec"], valued: &["-a"], flags: &["-c", "-l"], ..PLAIN },
    Prefix { names: &["time"], valued: &["-f", "-o"], flags: &["-p", "-v", "-a", "--"], ..PLAIN },
    Prefix { names: &["repeat"], before: 1, ..PLAIN },
    Prefix {
        names: &["env"],
        valued: &["-u", "-C", "--unset", "--chdir"],
        flags: &["-", "-i", "-0", "-v", "--ignore-environment", "--null", "--debug"],
        assignments: true,
        ..PLAIN
    },
    Prefix {
        names: &["sudo"],
        valued: &[
            "-u",
            "-g",
            "-h",
            "-p",
            "-C",
            "-r",
            "-t",
            "-T",
            "-D",
            "-R",
            "-U",
            "--user",
            "--group",
            "--host",
            "--prompt",
            "--close-from",
            "--chdir",
            "--chroot",
            "--role",
            "--type",
        ],
        flags: &[
            "-A",
            "-b",
            "-E",
            "-H",
            "-n",
            "-P",
            "-S",
            "-k",
            "-i",
            "-s",
            "--login",
            "--shell",
            "--stdin",
            "--non-interactive",
            "--set-home",
            "--preserve-env",
            "--background",
        ],
        assignments: true,
        ..PLAIN
    },
    Prefix { names: &["doas"], valued: &["-u", "-C"], flags: &["-n", "-s", "-L"], ..PLAIN },
    Prefix {
        names: &["timeout"],
        valued: &["-s", "-k", "--signal", "--kill-after"],
        flags: &["-v", "--verbose", "--foreground", "--preserve-status"],
        before: 1,
        ..PLAIN
    },
    Prefix { names: &["nice"], valued: &["-n", "--adjustment"], ..PLAIN },
    Prefix { names: &["ionice"], valued: &["-c", "-n", "-p", "-P", "-u"], flags: &["-t"], ..PLAIN },
    Prefix { names: &["stdbuf"], valued: &["-i", "-o", "-e", "--input", "--output", "--error"], ..PLAIN },
    Prefix {
        names: &["chrt", "taskset", "chroot", "setarch"],
        valued: &["-T", "-P", "-D"],
        before: 1,
        ..PLAIN
    },
    Prefix {
        names: &["flock"],
        valued: &["-w", "-E", "--timeout", "--conflict-exit-code"],
        flags: &["-s", "-x", "-e", "-n", "-u", "-o", "-F"],
        before: 1,
        ..PLAIN
    },
    Prefix {
        names: &["xargs"],
        valued: &["-I", "-n", "-P", "-L", "-d", "-s", "-E", "-a"],
        flags: &["-0", "-r", "-t", "-p", "-x", "--null", "--no-run-if-empty"],
        ..PLAIN
    },
    Prefix {
        names: &["strace", "ltrace"],
        valued: &["-o", "-e", "-s", "-p", "-u", "-E"],
        flags: &["-f", "-t"],
        ..PLAIN
    },
    Prefix {
        names: &[
            "unshare",
            "nsenter",
            "systemd-run",
            "setpriv",
            "runuser",
            "start-stop-daemon",
            "watch",
            "parallel",
            "script",
            "proot",
            "firejail",
        ],
        ..PLAIN
    },
];

/// Shells, which run their standard input when their words name no program.
const SHELLS: &[&str] = &[
    "sh", "bash", "dash", "ash", "zsh", "ksh", "ksh93", "mksh", "yash", "fish", "csh", "tcsh", "rbash",
    "hush",
];

/// Programs that run a text, an option's value, or what another program's words say.
const TEXTUAL: &[&str] = &["eval", "source", ".", "trap", "su", "find", "fd", "fdfind"];

/// Whether the program runs what its words say. The program as it was called, with or without its folder.
pub fn runs_others(program: &str) -> bool {
    let name = file_name(program);
    SHELLS.contains(&name) || TEXTUAL.contains(&name) || prefix(name).is_some()
}

/// Adds what the command runs in its turn to `tasks`; an error when it runs something that cannot be known.
pub(super) fn look_through(argv: &[Word], tasks: &mut Vec<Task>) -> Result<(), String> {
    let Some((Word::Literal(program), words)) = argv.split_first() else { return Ok(()) };
    let name = file_name(program);
    if SHELLS.contains(&name) {
        return shell(name, words, tasks);
    }
    match name {
        "eval" => return text(name, words, tasks),
        "trap" => return text(name, words.get(..words.len().min(1)).unwrap_or_default(), tasks),
        "source" | "." => return script(name, words.first()),
        "find" | "fd" | "fdfind" => {
            found_by_find(words, tasks);
            return Ok(());
        }
        "su" => return su(words, tasks),
        _ => {}
    }
    let Some(prefix) = prefix(name) else { return Ok(()) };
    match name {
        "env" => env_text(words, tasks)?,
        "runuser" | "script" | "flock" => su_text(name, words, tasks)?,
        "watch" | "parallel" => {
            let known: Vec<Word> = words.iter().skip_while(|word| is_option(word)).cloned().collect();
            text(name, &known, tasks)?;
        }
        _ => {}
    }
    let there = behind(name, prefix, words, tasks)?;
    // `sudo -i`: without a command it is a shell.
    if !there && matches!(name, "sudo" | "doas") && words.iter().any(opens_shell) {
        return Err(elsewhere(name));
    }
    Ok(())
}

fn prefix(name: &str) -> Option<&'static Prefix> {
    PREFIXES.iter().find(|prefix| prefix.names.contains(&name))
}

fn file_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn is_option(word: &Word) -> bool {
    matches!(word, Word::Literal(word) if word.starts_with('-'))
}

fn elsewhere(name: &str) -> String {
    format!("`{name}` runs commands that do not stand in the line")
}

/// The command that stands behind the options and words of `name` itself; whether there is one.
fn behind(name: &str, prefix: &Prefix, words: &[Word], tasks: &mut Vec<Task>) -> Result<bool, String> {
    let mut before = prefix.before;
    let mut options = true;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let Word::Literal(word) = word else { return Err(elsewhere(name)) };
        let rest = |from: usize| words.get(from..).unwrap_or_default().to_vec();
        if options && word == "--" {
            options = false;
        } else if options
            && (word.len() > 1 && word.starts_with('-') || prefix.flags.contains(&word.as_str()))
        {
            match prefix.option(word) {
                Takes::Nothing => {}
                Takes::Next => at += 1,
                Takes::Perhaps if words.get(at + 2).is_some() => tasks.push(Task::Command(rest(at + 2))),
                Takes::Perhaps => {}
            }
        } else if prefix.assignments && word.contains('=') {
            options = false;
        } else if before > 0 {
            before -= 1;
        } else {
            tasks.push(Task::Command(rest(at)));
            return Ok(true);
        }
        at += 1;
    }
    Ok(false)
}

/// What an option does with the word behind it.
enum Takes {
    Nothing,
    Next,
    /// It is not known.
    Perhaps,
}

impl Prefix {
    fn option(&self, word: &str) -> Takes {
        if self.valued.contains(&word) {
            return Takes::Next;
        }
        if self.flags.contains(&word) || word.contains('=') {
            return Takes::Nothing;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.starts_with('-')) else {
            return Takes::Perhaps;
        };
        // Short options joined: flags, until one takes the rest as its value, or the next word when it is the last.
        let has = |list: &[&str], letter: char| {
            list.iter().any(|option| option.strip_prefix('-').is_some_and(|o| o.chars().eq([letter])))
        };
        let mut rest = letters.chars();
        while let Some(letter) = rest.next() {
            if has(self.valued, letter) {
                return if rest.as_str().is_empty() { Takes::Next } else { Takes::Nothing };
            }
            if !has(self.flags, letter) {
                return Takes::Perhaps;
            }
        }
        Takes::Nothing
    }
}

/// `sh -c TEXT`, `sh FILE`, `sh`.
fn shell(name: &str, words: &[Word], tasks: &mut Vec<Task>) -> Result<(), String> {
    let mut command = false;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let Word::Literal(word) = word else { return Err(elsewhere(name)) };
        if let Some(text) = word.strip_prefix("--command=").or_else(|| word.strip_prefix("--init-command=")) {
            tasks.push(Task::Program(text.to_owned()));
            command = true;
        } else if matches!(word.as_str(), "-o" | "+o" | "-O" | "+O" | "--rcfile" | "--init-file") {
            rest.next();
        } else if matches!(word.as_str(), "-C" | "--init-command") && name == "fish" {
            text(name, rest.next().map(std::slice::from_ref).unwrap_or_default(), tasks)?;
        } else if word == "-" || word == "--" {
        } else if word.starts_with(['-', '+']) {
            command |= word == "--command" || !word.starts_with("--") && word.contains('c');
            if !word.starts_with("--") && word.contains('s') && !command {
                return Err(elsewhere(name));
            }
        } else if command {
            tasks.push(Task::Program(word.clone()));
            return Ok(());
        } else {
            return script(name, Some(&Word::Literal(word.clone())));
        }
    }
    if command { Ok(()) } else { Err(elsewhere(name)) }
}

/// A file of commands, which is a program like any other, unless it is the standard input.
fn script(name: &str, file: Option<&Word>) -> Result<(), String> {
    match file {
        Some(Word::Literal(file))
            if file != "-" && !file.starts_with("/dev/") && !file.starts_with("/proc/") =>
        {
            Ok(())
        }
        Some(_) | None => Err(elsewhere(name)),
    }
}

/// Words that are joined and run.
fn text(name: &str, words: &[Word], tasks: &mut Vec<Task>) -> Result<(), String> {
    let mut joined = Vec::new();
    for word in words {
        match word {
            Word::Literal(word) => joined.push(word.as_str()),
            Word::Dynamic => return Err(elsewhere(name)),
        }
    }
    tasks.push(Task::Program(joined.join(" ")));
    Ok(())
}

/// `env -S TEXT`, `env --split-string=TEXT`.
fn env_text(words: &[Word], tasks: &mut Vec<Task>) -> Result<(), String> {
    for (place, word) in words.iter().enumerate() {
        let Word::Literal(word) = word else { return Ok(()) };
        let glued = word.strip_prefix("--split-string=").or_else(|| {
            let short = word.strip_prefix('-').filter(|short| !short.starts_with('-'))?;
            short.split_once('S').map(|(_, text)| text).filter(|text| !text.is_empty())
        });
        let separate = word == "--split-string" || word.ends_with('S') && word.starts_with('-');
        match (glued, words.get(place + 1)) {
            (Some(glued), _) => text("env", &[Word::Literal(format!("env {glued}"))], tasks)?,
            (None, Some(next)) if separate => {
                text("env", &[Word::Literal("env".to_owned()), next.clone()], tasks)?;
            }
            (None, _) => {}
        }
        if !word.starts_with('-') && !word.contains('=') {
            return Ok(());
        }
    }
    Ok(())
}

/// `-s`, `-i`, also among other short options.
fn opens_shell(word: &Word) -> bool {
    match word {
        Word::Literal(word) if matches!(word.as_str(), "--shell" | "--login") => true,
        Word::Literal(word) => {
            word.strip_prefix('-').is_some_and(|short| !short.starts_with('-') && short.contains(['s', 'i']))
        }
        Word::Dynamic => false,
    }
}

/// `su USER -c TEXT`; without one it is a shell.
fn su(words: &[Word], tasks: &mut Vec<Task>) -> Result<(), String> {
    let before = tasks.len();
    su_text("su", words, tasks)?;
    if tasks.len() == before { Err(elsewhere("su")) } else { Ok(()) }
}

/// `-c TEXT`, wherever it stands.
fn su_text(name: &str, words: &[Word], tasks: &mut Vec<Task>) -> Result<(), String> {
    for (place, word) in words.iter().enumerate() {
        let Word::Literal(word) = word else { return Err(elsewhere(name)) };
        if let Some(glued) =
            word.strip_prefix("--command=").or_else(|| word.strip_prefix("--session-command="))
        {
            tasks.push(Task::Program(glued.to_owned()));
        } else if matches!(word.as_str(), "--command" | "--session-command")
            || word.starts_with('-') && !word.starts_with("--") && word.ends_with('c')
        {
            text(name, words.get(place + 1).map(std::slice::from_ref).unwrap_or_default(), tasks)?;
        }
    }
    Ok(())
}

/// `find ... -exec COMMAND ;`
fn found_by_find(words: &[Word], tasks: &mut Vec<Task>) {
    for (place, word) in words.iter().enumerate() {
        let Word::Literal(word) = word else { continue };
        if matches!(
            word.as_str(),
            "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec" | "--exec-batch"
        ) {
            tasks.push(Task::Command(words.get(place + 1..).unwrap_or_default().to_vec()));
        }
    }
}
