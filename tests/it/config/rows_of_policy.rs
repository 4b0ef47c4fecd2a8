//! What a wrong policy gets: a change to a good file, and the line it earns.

use super::Row;

pub(super) const POLICY_ROWS: &[Row<'_>] = &[
    ("[[target]]", "[[target]]", &[]),
    ("[[target]]", "[[target", &["policy.toml:1:9: not TOML: unclosed array table, expected `]]`"]),
    ("[[role]]", "[[rule]]", &["policy.toml:6:3: unknown key \"rule\"; did you mean \"role\"?"]),
    (
        "address =",
        "adress =",
        &[
            "policy.toml:1:1: \"address\" is missing in [[target]] number 1: HOST or HOST:PORT, where it listens",
            "policy.toml:3:1: unknown key \"adress\" in [[target]] number 1; did you mean \"address\"?",
        ],
    ),
    (
        "logins =",
        "login =",
        &[
            "policy.toml:6:1: \"logins\" is missing in [[role]] number 1: the accounts it opens, such as [\"deploy\"]",
            "policy.toml:10:1: unknown key \"login\" in [[role]] number 1; did you mean \"logins\"?",
        ],
    ),
    (
        "name = \"web1\"",
        "name = \"Web 1\"",
        &[
            "policy.toml:2:8: \"Web 1\" is not a valid target name: 1 to 253 characters of a-z 0-9 . _ -, starting and ending with a letter or digit, no two dots in a row",
            "policy.toml:9:22: there is no target \"web1\"",
        ],
    ),
    (
        "address = \"10.0.0.5\"",
        "address = \"::1\"",
        &["policy.toml:3:11: \"::1\" is not an address: write HOST, HOST:PORT, [IPV6] or [IPV6]:PORT"],
    ),
    (
        "address = \"10.0.0.5\"",
        "address = 10",
        &["policy.toml:3:11: \"address\" must be text, \"...\"; this is a whole number"],
    ),
    (
        "labels = { env = \"prod\" }",
        "labels = { env = \"*\", \"a b\" = \"x\", n = 1 }",
        &[
            "policy.toml:4:18: \"*\": labels know no wildcard; write the value",
            "policy.toml:4:23: \"a b\" is not a label's name: a-z A-Z 0-9 . _ - /",
            "policy.toml:4:40: \"n\" must be text, \"...\"; this is a whole number",
        ],
    ),
    (
        "host_key = { ca = true }",
        "",
        &[
            "policy.toml:1:1: \"host_key\" is missing in [[target]] number 1: { ca = true } when our host CA certified it, or { pinned = [\"ssh-ed25519 AAAA...\"] }",
        ],
    ),
    (
        "host_key = { ca = true }",
        "host_key = {}",
        &["policy.toml:5:1: \"host_key\" must be { ca = true } or { pinned = [\"ssh-ed25519 AAAA...\"] }"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = \"ca\"",
        &["policy.toml:5:12: \"host_key\" must be a table, { ... }; this is text"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { ca = false }",
        &["policy.toml:5:19: \"ca = false\" says nothing: write { ca = true } or { pinned = [...] }"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { ca = true, principal = \"*\" }",
        &["policy.toml:5:37: \"*\" is not a host name"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { ca = true, pinned = [] }",
        &["policy.toml:5:19: \"ca\" and \"pinned\" exclude each other: keep one"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { pinned = [] }",
        &["policy.toml:5:23: \"pinned\" is empty, so no host key could be right"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { pinned = [\"ssh-ed25519 AAAA\"] }",
        &[
            "policy.toml:5:24: not a public key (length invalid): paste a line of the target's /etc/ssh/ssh_host_ed25519_key.pub",
        ],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { pinned = [\"ssh-ed25519-cert-v01@openssh.com AAAA\"] }",
        &["policy.toml:5:24: this is a certificate: pin the plain key, or write host_key = { ca = true }"],
    ),
    (
        "host_key = { ca = true }",
        "host_key = { any = true }",
        &[
            "policy.toml:5:1: \"host_key\" must be { ca = true } or { pinned = [\"ssh-ed25519 AAAA...\"] }",
            "policy.toml:5:14: unknown key \"any\" in \"host_key\"; there is: ca, principal, pinned",
        ],
    ),
    (
        "[[role]]",
        "[[target]]\nname = \"web1\"\naddress = \"h\"\nhost_key = { ca = true }\n[[role]]",
        &["policy.toml:7:8: there is a target \"web1\" already"],
    ),
    (
        "channels = [\"shell\", \"exec\"]\n",
        "channels = [\"shell\", \"exec\"]\nstanding = true\n[[role]]\nname = \"operators\"\nmembers = { groups = [\"corp:x\"] }\ntargets = { names = [\"web1\"] }\nlogins = [\"a\"]\nchannels = [\"exec\"]\n",
        &["policy.toml:14:1: there is a role \"operators\" already"],
    ),
    (
        "members = { groups = [\"corp:ops\"] }",
        "",
        &[
            "policy.toml:6:1: \"members\" is missing in [[role]] number 1: { groups = [\"PROVIDER:GROUP\"] }, or likewise subjects, workloads or services",
        ],
    ),
    (
        "members = { groups = [\"corp:ops\"] }",
        "members = {}",
        &[
            "policy.toml:8:1: the role is for nobody: name \"groups\" or \"subjects\" of people, \"workloads\" or \"services\"",
        ],
    ),
    (
        "members = { groups = [\"corp:ops\"] }",
        "members = { groups = [], subjects = [] }",
        &[
            "policy.toml:8:1: the role is for nobody: name \"groups\" or \"subjects\" of people, \"workloads\" or \"services\"",
        ],
    ),
    (
        "\"corp:ops\"",
        "\"ops\"",
        &[
            "policy.toml:8:23: \"ops\" is not a valid group: PROVIDER:GROUP, the group 1 to 256 bytes without control characters",
        ],
    ),
    (
        "\"corp:ops\"",
        "\"corp:*\"",
        &["policy.toml:8:23: \"corp:*\": members know no wildcard; name each group or subject"],
    ),
    (
        "\"corp:ops\"",
        "\"crop:ops\"",
        &["policy.toml:8:23: there is no provider \"crop\"; did you mean \"corp\"?"],
    ),
    ("\"corp:ops\"", "\"corp:ops\", \"corp:ops\"", &["policy.toml:8:35: \"corp:ops\" is listed twice"]),
    (
        "groups = [\"corp:ops\"]",
        "subjects = [\"ann\", \"corp:\", \"nowhere:ann\"]",
        &[
            "policy.toml:8:25: \"ann\" is not a subject: write PROVIDER:SUBJECT",
            "policy.toml:8:32: \"corp:\" is not a subject: write PROVIDER:SUBJECT",
            "policy.toml:8:41: there is no provider \"nowhere\"; there is: corp",
        ],
    ),
    (
        "groups = [\"corp:ops\"]",
        "group = [\"corp:ops\"]",
        &[
            "policy.toml:8:1: the role is for nobody: name \"groups\" or \"subjects\" of people, \"workloads\" or \"services\"",
            "policy.toml:8:13: unknown key \"group\" in \"members\"; did you mean \"groups\"?",
        ],
    ),
    (
        "names = [\"web1\"]",
        "",
        &["policy.toml:9:1: the role opens no target: give \"names\", \"patterns\" or \"labels\""],
    ),
    (
        "names = [\"web1\"]",
        "names = [\"web2\"]",
        &["policy.toml:9:22: there is no target \"web2\"; did you mean \"web1\"?"],
    ),
    (
        "names = [\"web1\"]",
        "names = [\"*\"]",
        &[
            "policy.toml:9:22: \"*\" is not a valid target name: 1 to 253 characters of a-z 0-9 . _ -, starting and ending with a letter or digit, no two dots in a row",
        ],
    ),
    (
        "names = [\"web1\"]",
        "labels = [{}]",
        &["policy.toml:9:23: a selector without labels would match every target: name at least one label"],
    ),
    (
        "names = [\"web1\"]",
        "labels = []",
        &["policy.toml:9:1: the role opens no target: give \"names\", \"patterns\" or \"labels\""],
    ),
    (
        "names = [\"web1\"]",
        "labels = { env = \"prod\" }",
        &["policy.toml:9:22: \"labels\" must be an array of tables, [{ ... }]; this is a table"],
    ),
    (
        "names = [\"web1\"]",
        "labels = [{ evn = \"prod\" }]",
        &["policy.toml:9:23: no target has a label \"evn\"; did you mean \"env\"?"],
    ),
    (
        "names = [\"web1\"]",
        "labels = [{ env = \"prd\" }]",
        &["policy.toml:9:23: no target has the label env = \"prd\"; did you mean \"prod\"?"],
    ),
    (
        "targets = { names = [\"web1\"] }",
        "targets = [\"web1\"]",
        &["policy.toml:9:11: \"targets\" must be a table, { ... }; this is an array"],
    ),
    ("[\"deploy\"]", "[]", &["policy.toml:10:10: \"logins\" is empty, so the role could never be used"]),
    (
        "[\"deploy\"]",
        "[\"*\", \"a,b\", \"-oX\"]",
        &[
            "policy.toml:10:11: \"*\" is not a valid login: 1 to 32 characters of a-z A-Z 0-9 . _ -, starting with a letter, digit or underscore",
            "policy.toml:10:16: \"a,b\" is not a valid login: 1 to 32 characters of a-z A-Z 0-9 . _ -, starting with a letter, digit or underscore",
            "policy.toml:10:23: \"-oX\" is not a valid login: 1 to 32 characters of a-z A-Z 0-9 . _ -, starting with a letter, digit or underscore",
        ],
    ),
    (
        "[\"shell\", \"exec\"]",
        "[]",
        &["policy.toml:11:12: \"channels\" is empty, so the role could never be used"],
    ),
    (
        "[\"shell\", \"exec\"]",
        "[\"shel\", \"exec\", \"exec\", \"x11\"]",
        &[
            "policy.toml:11:13: unknown channel kind \"shel\"; did you mean \"shell\"?",
            "policy.toml:11:29: \"exec\" is listed twice",
            "policy.toml:11:37: unknown channel kind \"x11\"; there is: shell, exec, sftp, scp, rsync, git",
        ],
    ),
    (
        "channels = [\"shell\", \"exec\"]",
        "",
        &[
            "policy.toml:6:1: \"channels\" is missing in [[role]] number 1: what it opens, such as [\"shell\", \"exec\", \"sftp\"]",
        ],
    ),
    (
        "[[role]]",
        "[[role]]\nsession_max = \"forever\"\nidle_max = 30\nrecording = \"all\"",
        &[
            "policy.toml:7:15: \"session_max\": \"forever\" is not a time span: write it as \"90s\", \"5m\", \"10h\" or \"1h30m\"",
            "policy.toml:8:12: \"idle_max\" must be a time span as text, such as \"90s\", \"5m\", \"1h30m\"; this is a whole number",
            "policy.toml:9:13: unknown recording \"all\"; there is: no, yes, input",
        ],
    ),
    (
        "[[role]]",
        "[[role]]\nsession_max = \"8d\"",
        &["policy.toml:7:15: \"session_max\" must be from 1s to 7d"],
    ),
    (
        "[[role]]",
        "[[role]]\nsession_max = \"10m\"\nidle_max = \"20m\"",
        &["policy.toml:8:12: \"idle_max\" is longer than \"session_max\" and would never end a session"],
    ),
    (
        "name = \"operators\"",
        "name = \"\"",
        &[
            "policy.toml:7:8: \"\" is not a valid role name: 1 to 64 characters of a-z A-Z 0-9 . _ -, starting with a letter or digit",
        ],
    ),
];
