//! Environment variables that make a program run something else than its name says, whoever sets them.

/// Such variables, each with what it does; a `*` at the end is any rest.
const DANGEROUS: [(&str, &str); 33] = [
    ("LD_*", "the linker loads code from it"),
    ("DYLD_*", "the linker loads code from it"),
    ("GCONV_PATH", "the C library loads code from it"),
    ("BASH_ENV", "bash runs the file it names"),
    ("ENV", "sh runs the file it names"),
    ("ZDOTDIR", "zsh runs the files in it"),
    ("BASH_FUNC_*", "bash takes functions from it"),
    ("SHELLOPTS", "shells change their ways by it"),
    ("BASHOPTS", "shells change their ways by it"),
    ("PS4", "bash runs what stands in it"),
    ("PROMPT_COMMAND", "bash runs what stands in it"),
    ("IFS", "shells split words by it"),
    ("PATH", "programs are found by it"),
    ("HOME", "startup files are found by it"),
    ("XDG_CONFIG_*", "startup files are found by it"),
    ("EDITOR", "programs run what it names"),
    ("VISUAL", "programs run what it names"),
    ("PAGER", "programs run what it names"),
    ("MANPAGER", "programs run what it names"),
    ("LESSOPEN", "less runs what stands in it"),
    ("LESSCLOSE", "less runs what stands in it"),
    ("GIT_SSH*", "git runs what it names"),
    ("GIT_CONFIG*", "git runs what such settings name"),
    ("GIT_PAGER", "git runs what it names"),
    ("GIT_EDITOR", "git runs what it names"),
    ("GIT_EXTERNAL_DIFF", "git runs what it names"),
    ("GIT_EXEC_PATH", "git runs programs from it"),
    ("PERL5*", "perl loads code from it"),
    ("PYTHON*", "python loads code from it"),
    ("RUBY*", "ruby loads code from it"),
    ("NODE_*", "node loads code from it"),
    ("JAVA_TOOL_OPTIONS", "java loads code from it"),
    ("_JAVA_OPTIONS", "java loads code from it"),
];

/// A sentence for each pattern that lets such a variable pass.
pub(super) fn dangerous(patterns: &[String]) -> impl Iterator<Item = String> {
    patterns.iter().filter_map(|pattern| {
        let (name, what) = DANGEROUS.iter().find(|(name, _)| meet(pattern, name))?;
        Some(if pattern == name {
            format!("\"env\" lets {pattern} pass: {what}, past any rule about commands; take it out")
        } else {
            format!(
                "\"env\" lets {pattern} pass, and so {name}: {what}, past any rule about commands; name less"
            )
        })
    })
}

/// Whether some name fits both.
fn meet(one: &str, other: &str) -> bool {
    match (one.strip_suffix('*'), other.strip_suffix('*')) {
        (None, None) => one == other,
        (Some(begin), None) => other.starts_with(begin),
        (None, Some(begin)) => one.starts_with(begin),
        (Some(one), Some(other)) => one.starts_with(other) || other.starts_with(one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        for (pattern, expect) in [
            ("LANG", None),
            ("LC_*", None),
            ("TZ", None),
            ("TERM", None),
            ("GIT_AUTHOR_*", None),
            ("GIT_PROTOCOL", None),
            ("LD_PRELOAD", Some("LD_*")),
            ("LD_*", Some("pass: the linker")),
            ("L*", Some("LD_*")),
            ("BASH*", Some("BASH_ENV")),
            ("ENV", Some("ENV pass: sh")),
            ("ENVIRONMENT", None),
            ("P*", Some("PS4")),
            ("GIT_*", Some("GIT_SSH*")),
            ("PYTHONPATH", Some("PYTHON*")),
            ("NODE_OPTIONS", Some("NODE_*")),
        ] {
            let said: Vec<String> = dangerous(&[pattern.to_owned()]).collect();
            assert_eq!(said.len(), usize::from(expect.is_some()), "{pattern}: {said:?}");
            assert!(said.iter().all(|said| said.contains(expect.unwrap_or_default())), "{pattern}: {said:?}");
        }
    }
}
