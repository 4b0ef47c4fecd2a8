//! What wrong `[audit]` tables get: a change to a good file, and the line it earns.

use super::Row;

pub(super) const AUDIT_ROWS: &[Row<'_>] = &[
    (
        "[ssh]",
        "[audit]\ncheckpoint_every = \"10s\"\n[[audit.sink]]\nname = \"a\"\ntype = \"file\"\npath = \"a.ndjson\"\n[ssh]",
        &[],
    ),
    (
        "[ssh]",
        "[[audit.sink]]\nname = \"a\"\ntype = \"syslog\"\nto = \"tcp://[::1]:601\"\nfrom = \"now\"\n[ssh]",
        &[],
    ),
    (
        "[ssh]",
        "[[audit.sink]]\nname = \"a\"\ntype = \"syslog\"\nto = \"tcp://logs:601\"\ncleartext = true\n[ssh]",
        &[],
    ),
    ("[ssh]", "[[audit.sink]]\nname = \"a\"\ntype = \"syslog\"\nto = \"unix:log.sock\"\n[ssh]", &[]),
    ("[ssh]", "[[audit.sink]]\nname = \"a\"\ntype = \"http\"\nurl = \"https://logs.example/x\"\n[ssh]", &[]),
    (
        "[ssh]",
        "[[audit.sink]]\n[ssh]",
        &[
            "caponier.toml:2:1: \"name\" is missing in [[sink]] number 1: a short name of your choice; it stands in the audit log",
            "caponier.toml:2:1: \"type\" is missing in [[sink]] number 1: \"file\", \"syslog\" or \"http\"",
        ],
    ),
    (
        "[ssh]",
        "[[audit.sink]]\nname = \"a\"\ntype = \"kafka\"\nfrom = \"yesterday\"\n[ssh]",
        &[
            "caponier.toml:4:8: \"type\" must be \"file\", \"syslog\" or \"http\", not \"kafka\"",
            "caponier.toml:5:8: \"from\" must be \"beginning\" or \"now\", not \"yesterday\"",
        ],
    ),
    (
        "[ssh]",
        "[[audit.sink]]\nname = \"a\"\ntype = \"file\"\npath = \"a\"\nurl = \"https://x.example\"\n[ssh]",
        &[
            "caponier.toml:6:1: unknown key \"url\" in [[sink]] number 1; there is: name, type, path, from, behind_max, timeout",
        ],
    ),
    (
        "[ssh]",
        "[[audit.sink]]\nname = \"a\"\ntype = \"syslog\"\nto = \"udp://logs:514\"\n[[audit.sink]]\nname = \"b\"\ntype = \"syslog\"\nto = \"tls://logs:6514\"\n[ssh]",
        &[
            "caponier.toml:5:6: \"to\" must be \"tls://HOST:PORT\", \"tcp://HOST:PORT\" or \"unix:PATH\", not \"udp://logs:514\"",
            "caponier.toml:6:1: \"ca_file\" is missing in [[sink]] number 2: certificates (PEM) of those who sign the server's; the system's are often in /etc/ssl/certs/ca-certificates.crt",
        ],
    ),
    (
        "[ssh]",
        "[[audit.sink]]\nname = \"a\"\ntype = \"syslog\"\nto = \"tcp://logs:601\"\n[ssh]",
        &[
            "caponier.toml:5:6: entries would go over the network in the clear, and anybody on the way could alter them: use \"tls://\", or say \"cleartext = true\" when the way is protected otherwise",
        ],
    ),
    (
        "[ssh]",
        "[[audit.sink]]\nname = \"a\"\ntype = \"http\"\nurl = \"http://logs.example/x\"\n[[audit.sink]]\nname = \"a\"\ntype = \"http\"\nurl = \"https://u@logs.example/x\"\nsecret_file = \"secret\"\n[ssh]",
        &[
            "caponier.toml:5:7: \"url\": http is allowed on loopback only; use https",
            "caponier.toml:9:7: \"url\": no user name and no password belong into this URL",
            "caponier.toml:10:15: the secret is shorter than 16 bytes; make one: openssl rand -hex 32",
        ],
    ),
    (
        "[ssh]",
        "[[audit.sink]]\nname = \"a\"\ntype = \"http\"\nurl = \"https://logs.example/x#y\"\n[ssh]",
        &["caponier.toml:5:1: the URL of a sink has no fragment"],
    ),
    (
        "[ssh]",
        "[[audit.sink]]\nname = \"a\"\ntype = \"file\"\npath = \"a\"\n[[audit.sink]]\nname = \"a\"\ntype = \"file\"\npath = \"b\"\n[ssh]",
        &["caponier.toml:7:1: there is a sink \"a\" already"],
    ),
];
