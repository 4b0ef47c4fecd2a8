//! Real shells as judges of the strict grammar and of our quoting: for whatever the grammar accepts, every login shell
//! must hand programs exactly the words that we read, in the order that we think; and whatever words we quote must
//! arrive as they are. The input is drawn at random from a fixed seed; `contrib/test --fuzz` draws more, and
//! `CAPONIER_TEST_SEED` repeats what a failure printed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use caponier::inspect::command::{Dialect, Join, Reading, quote};

use crate::world::process::run;
use crate::world::{PATIENCE, scratch};

/// Cases that one process of a shell runs: starting some of them takes longer than all the cases together.
const BATCH: usize = 60;
/// Cases of a round, each run by every shell.
const CASES: usize = 120;
/// Rounds, each of another seed, and those of `--fuzz`.
const ROUNDS: u64 = 1;
const FUZZ_ROUNDS: u64 = 20;

/// A login shell.
#[derive(Debug)]
struct Shell {
    argv: &'static [&'static str],
    /// It reads a line as POSIX says, so that what came in means there what we read.
    posix: bool,
    /// A pipeline ends as its last command does (in csh one that failed suffices).
    last_counts: bool,
    /// The tests want it; the others are asked when they are there.
    wanted: bool,
}

const SHELLS: &[Shell] = &[
    Shell { argv: &["dash"], posix: true, last_counts: true, wanted: true },
    Shell { argv: &["bash"], posix: true, last_counts: true, wanted: true },
    Shell { argv: &["zsh"], posix: true, last_counts: true, wanted: true },
    Shell { argv: &["fish"], posix: false, last_counts: true, wanted: true },
    Shell { argv: &["tcsh"], posix: false, last_counts: false, wanted: true },
    Shell { argv: &["ksh"], posix: true, last_counts: true, wanted: false },
    Shell { argv: &["mksh"], posix: true, last_counts: true, wanted: false },
    Shell { argv: &["busybox", "sh"], posix: true, last_counts: true, wanted: false },
];

/// Writes its words to the end of a file at once, each behind a NUL, and fails when its name has a `b`.
const PROBE: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
    static char record[1 << 20];
    char *name = strrchr(argv[0], '/');
    name = name ? name + 1 : argv[0];
    size_t used = 0;
    for (int i = 0; i < argc; i++) {
        const char *word = i ? argv[i] : name;
        size_t length = strlen(word) + 1;
        if (used + length + 1 > sizeof record) return 99;
        memcpy(record + used, word, length);
        used += length;
    }
    record[used++] = '\n';
    int file = open(getenv("PROBE_OUT"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (file < 0 || write(file, record, used) != (ssize_t)used) return 98;
    return strchr(name, 'b') != NULL;
}
"#;

type Argv = Vec<String>;

/// One line: what is given to the shell, and the words that programs must get.
struct Case {
    /// What came in.
    raw: String,
    /// What we send.
    text: String,
    argvs: Vec<Argv>,
    joins: Vec<Join>,
}

impl Case {
    fn of(raw: &str) -> Option<Self> {
        let reading = Reading::of(raw.as_bytes(), Dialect::Posix);
        Some(Self {
            raw: raw.to_owned(),
            text: reading.text()?.to_owned(),
            argvs: reading.argvs()?.to_vec(),
            joins: reading.joins()?.to_vec(),
        })
    }

    /// The commands that run, by the exit status of the probe; each inner list is a pipeline, whose commands run in no
    /// order. `None` where this shell's notion of a failed pipeline is not ours.
    fn runs(&self, shell: &Shell) -> Option<Vec<Vec<&Argv>>> {
        let mut runs = Vec::new();
        let mut failed = false;
        let mut number = 0;
        while number < self.argvs.len() {
            let length = 1 + self.joins[number..].iter().take_while(|join| **join == Join::Pipe).count();
            let pipeline: Vec<&Argv> = self.argvs[number..number + length].iter().collect();
            let goes = match number.checked_sub(1).map(|before| self.joins[before]) {
                None | Some(Join::Then) => true,
                Some(Join::And) => !failed,
                Some(Join::Or) => failed,
                Some(Join::Pipe) => unreachable!("a pipeline was cut"),
            };
            if goes {
                failed = fails(pipeline[length - 1]);
                if !shell.last_counts && pipeline.iter().any(|argv| fails(argv) != failed) {
                    return None;
                }
                runs.push(pipeline);
            }
            number += length;
        }
        Some(runs)
    }
}

fn fails(argv: &Argv) -> bool {
    argv[0].contains('b')
}

/// A folder of programs, all of them the probe.
struct Bench {
    dir: tempfile::TempDir,
    /// Programs that are there.
    named: BTreeMap<String, ()>,
}

impl Bench {
    fn new() -> Self {
        let dir = scratch();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("probe.c"), PROBE).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-o", "probe", "probe.c"]).current_dir(dir.path());
        run(&mut cc, b"", PATIENCE).ok();
        Self { dir, named: BTreeMap::new() }
    }

    fn program(&mut self, name: &str) {
        if self.named.insert(name.to_owned(), ()).is_none() {
            symlink(self.dir.path().join("probe"), self.dir.path().join("bin").join(name)).unwrap();
        }
    }

    /// What the probe was called with when the shell ran the text, and what the shell said.
    fn run(&self, shell: &Shell, locale: &str, text: &str) -> (Vec<Argv>, String) {
        let out: PathBuf = self.dir.path().join("out");
        fs::write(&out, b"").unwrap();
        let mut command = Command::new(shell.argv[0]);
        command
            .args(&shell.argv[1..])
            .args(["-c", text])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.dir.path().join("bin").display()))
            .env("HOME", self.dir.path())
            .env("LC_ALL", locale)
            .env("PROBE_OUT", &out)
            .current_dir(self.dir.path());
        let finished = run(&mut command, b"", PATIENCE);
        let written = fs::read(&out).unwrap();
        let argvs = written
            .split(|byte| *byte == b'\n')
            .filter(|record| !record.is_empty())
            .map(|record| {
                let words = record.strip_suffix(b"\0").unwrap_or(record).split(|byte| *byte == 0);
                words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
            })
            .collect();
        (argvs, format!("{}{}", finished.text(), finished.errors()))
    }

    /// Fails unless the shell runs every case as it should; names the first that is wrong.
    fn check(&self, shell: &Shell, locale: &str, cases: &[&Case], what: impl Fn(&Case) -> &str, seed: u64) {
        let of = |case: &&Case| case.runs(shell).is_some();
        let cases: Vec<&Case> = cases.iter().copied().filter(of).collect();
        for batch in cases.chunks(BATCH) {
            if self.is_right(shell, locale, batch, &what).is_ok() {
                continue;
            }
            for case in batch {
                if let Err((argvs, said)) = self.is_right(shell, locale, &[case], &what) {
                    panic!(
                        "CAPONIER_TEST_SEED={seed} {shell:?} {locale}\ncame: {:?}\nrun:  {:?}\nread: {:?}\ngot:  \
                         {argvs:?}\nsaid: {said}",
                        case.raw,
                        what(case),
                        case.argvs
                    );
                }
            }
            panic!("CAPONIER_TEST_SEED={seed} {shell:?} {locale}: wrong together, each by itself right");
        }
    }

    fn is_right(
        &self,
        shell: &Shell,
        locale: &str,
        batch: &[&Case],
        what: impl Fn(&Case) -> &str,
    ) -> Result<(), (Vec<Argv>, String)> {
        let text: Vec<&str> = batch.iter().map(|case| what(case)).collect();
        let (got, said) = self.run(shell, locale, &text.join("; "));
        let expected: Vec<Vec<&Argv>> = batch.iter().filter_map(|case| case.runs(shell)).flatten().collect();
        let right = if expected.iter().all(|pipeline| pipeline.len() == 1) {
            expected.iter().flatten().copied().eq(&got)
        } else {
            // Commands of a pipeline run at once, and some shells do not wait for all of them.
            let mut expected: Vec<&Argv> = expected.into_iter().flatten().collect();
            let mut got: Vec<&Argv> = got.iter().collect();
            expected.sort();
            got.sort();
            expected == got
        };
        if right { Ok(()) } else { Err((got, said)) }
    }
}

/// Numbers from a seed (SplitMix64): the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn of<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.below(choices.len())]
    }
}

/// What lines are made of: much that means something to some shell, and enough that does not.
#[rustfmt::skip]
const PARTS: &[&str] = &[
    "a", "b", "p", "q", "x", "0", "1", "2", "a", "p", "p", " ", " ", " ", " ", " ", "  ", "\t", "'", "'",
    "'", "'", "\"", "\"", "\"", "\"", "\\", "\\", "\\", "\\\\", "\\'", "\\\"", "\\ ", "\\!", "''", "\"\"",
    "'\\''", "|", " | ", " || ", " && ", "; ", ";", "&", "$", "$x", "$(p)", "`p`", "*", "?", "[", "]", "{",
    "}", "{a,b}", "~", "<", ">", "(", ")", "#", " #", "!", "!!", "!p", "=", "=p", "a=b ", "%", "%1",
    "%self", "^", "^a^b", "@", "+", ",", ".", "/", ":", "-", "--", " -x", " -- ", "if ", "time ", "and ",
    "not ", "end", "repeat 2 ", "noglob ", "p:", "é", "ж", "日", "ß", "\u{301}", "€", "\u{a0}", "\u{200b}",
    "'!'", "'$x'", "'`p`'", "'*'", "'a b'", "\"a b\"", "\"\\$x\"", "\"\\\\\"", "\"a\\b\"", "'a\\'",
    "'%self'", "'~'", "'{a,b}'", "'# a'", "'\\n'", "\\n", "\\t", "\\0",
];

/// What commands often begin with, so that enough of the lines are read.
const PROGRAMS: &[&str] = &[
    "p ", "q ", "b ", " p ", "'p q' ", "é ", "p\\'q ", "'b!' ", "p\\!q ", "'p$x' ", "\"ж*\" ", "p\\\\ ",
    "bb ",
];

/// What words are made of: everything that can be in a word that the grammar reads.
#[rustfmt::skip]
const LETTERS: &[&str] = &[
    "a", "b", "Z", "0", "7", " ", "  ", "'", "''", "\"", "\\", "\\\\", "\\'", "\\n", "\\x41", "\\u0041",
    "\\U1F600", "\\cx", "\\e", "!", "!!", "!$", "\\!", "!a", "$", "$x", "${x}", "$(p)", "$$", "`", "`p`",
    "*", "**", "?", "[", "]", "[a-z]", "{", "}", "{a,b}", "{1..3}", "~", "~root", "=", "=p", "a=b", "a=~",
    "%", "%1", "%self", "^", "^a^b", "@", "@(a)", "+", "+x", ",", ".", "..", "/", "/tmp", ":", ":h", "-",
    "--", "-x", "-n", "#", "&", "&&", "|", "||", ";", ";;", "<", ">", "<(p)", ">|", "(", ")", "é", "ü", "ж",
    "日本", "ﬁ", "Ω", "ẞ", "\u{301}", "€", "\u{1f600}", "\u{10348}", "\u{7ff}", "\u{800}", "\u{ffa1}",
];

/// A third drawn blindly, which mostly are one command; a third lists and a third pipelines of what is read by itself.
fn lines(dice: &mut Dice, count: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    while cases.len() < count {
        let joins: &[&str] = match cases.len() % 3 {
            0 => &[],
            1 => &["||", " || ", "&&", " && ", ";", " ; "],
            _ => &["|", " | ", " || ", " && ", ";"],
        };
        let mut line = fragment(dice);
        let more = if joins.is_empty() { 0 } else { 1 + dice.below(4) };
        for _ in 0..more {
            line.push_str(dice.of(joins));
            line.push_str(&read_alone(dice));
        }
        cases.extend(Case::of(&line).filter(runnable));
    }
    cases
}

fn read_alone(dice: &mut Dice) -> String {
    loop {
        let text = fragment(dice);
        if Case::of(&text).is_some() {
            return text;
        }
    }
}

fn fragment(dice: &mut Dice) -> String {
    let mut text = String::new();
    if dice.below(3) > 0 {
        text.push_str(dice.of(PROGRAMS));
    }
    for _ in 0..=dice.below(8) {
        text.push_str(dice.of(PARTS));
    }
    text
}

/// Whether each command is a program that can be made: no path, and not one that every shell has built in.
fn runnable(case: &Case) -> bool {
    case.argvs.iter().all(|argv| !argv[0].contains('/') && ![":", ".", "..", "["].contains(&argv[0].as_str()))
}

fn words(dice: &mut Dice, count: usize) -> Vec<Case> {
    let case = |dice: &mut Dice| {
        let mut argv = vec!["p".to_owned()];
        for _ in 0..=dice.below(4) {
            let letters = dice.below(6);
            argv.push((0..letters).map(|_| dice.of(LETTERS)).collect());
        }
        let quoted: Vec<String> = argv.iter().map(|word| quote(word)).collect();
        let text = quoted.join(" ");
        Case { raw: text.clone(), text, argvs: vec![argv], joins: Vec::new() }
    };
    (0..count).map(|_| case(dice)).collect()
}

/// Every shell that is here; fails when one that the tests want is not.
fn shells() -> Vec<&'static Shell> {
    let there = |shell: &&Shell| {
        let found = ["/usr/bin", "/bin"].iter().any(|dir| PathBuf::from(dir).join(shell.argv[0]).exists());
        assert!(found || !shell.wanted, "there is no {}: run contrib/test setup", shell.argv[0]);
        found
    };
    SHELLS.iter().filter(there).collect()
}

/// A test for every seed of this run.
fn rounds(test: impl Fn(&mut Bench, &mut Dice, u64, &str)) {
    let given = std::env::var("CAPONIER_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let fuzz = std::env::var_os("CAPONIER_TEST_FUZZ").is_some();
    let (first, count) = match (given, fuzz) {
        (Some(seed), _) => (seed, 1),
        // Another one for every run.
        (None, true) => (u64::from(std::process::id()) << 16, FUZZ_ROUNDS),
        (None, false) => (1, ROUNDS),
    };
    let mut bench = Bench::new();
    for seed in first..first + count {
        // Sessions often come without a locale.
        for locale in ["C", "C.UTF-8"] {
            test(&mut bench, &mut Dice(seed ^ locale.len() as u64), seed, locale);
        }
    }
}

#[test]
fn what_we_read_is_what_every_shell_runs() {
    rounds(|bench, dice, seed, locale| {
        let cases = lines(dice, CASES);
        cases.iter().flat_map(|case| &case.argvs).for_each(|argv| bench.program(&argv[0]));
        let (simple, piped): (Vec<&Case>, Vec<&Case>) =
            cases.iter().partition(|case| !case.joins.contains(&Join::Pipe));
        let joined = |cases: &[&Case]| cases.iter().filter(|case| case.joins.len() > 1).count();
        assert!(joined(&simple) > 10 && joined(&piped) > 10, "the dice are loaded");
        for shell in shells() {
            for group in [&simple, &piped] {
                bench.check(shell, locale, group, |case| &case.text, seed);
                if shell.posix {
                    bench.check(shell, locale, group, |case| &case.raw, seed);
                }
            }
            // At the start of a text some characters mean more than elsewhere.
            for case in cases.iter().take(6) {
                bench.check(shell, locale, &[case], |case| &case.text, seed);
            }
        }
    });
}

#[test]
fn what_we_quote_is_what_every_shell_hands_on() {
    rounds(|bench, dice, seed, locale| {
        bench.program("p");
        let cases = words(dice, CASES);
        let cases: Vec<&Case> = cases.iter().collect();
        for shell in shells() {
            bench.check(shell, locale, &cases, |case| &case.text, seed);
        }
    });
}

/// The tests above could not fail if the shells agreed with everything: what the classic quoting and a plain copy of
/// the line do must be seen to be wrong.
#[test]
fn the_shells_do_tell_right_from_wrong() {
    let mut bench = Bench::new();
    bench.program("p");
    let fish = SHELLS.iter().find(|shell| shell.argv == ["fish"]).unwrap();
    let argv = vec!["p".to_owned(), "a\\".to_owned()];
    let case = |text: &str| Case {
        raw: String::new(),
        text: text.to_owned(),
        argvs: vec![argv.clone()],
        joins: vec![],
    };
    assert!(bench.is_right(fish, "C", &[&case(r"p 'a\'")], |case| &case.text).is_err());
    assert!(bench.is_right(fish, "C", &[&case(r"p 'a'\\")], |case| &case.text).is_ok());
    let dash = SHELLS.iter().find(|shell| shell.argv == ["dash"]).unwrap();
    let (ran, said) = bench.run(dash, "C", "p 1 && no-such-program && p 2; p 3");
    assert_eq!((ran.len(), said.is_empty()), (2, false), "{ran:?} {said}");
    let words = "p x || p y; p z";
    assert_eq!(Case::of(words).unwrap().runs(dash).unwrap().len(), 2);
    assert_eq!(Case::of("b x || p y && p z").map(|case| case.text), None);
}
