//! What a wrong configuration gets: a change to a good file, and the line it earns.

use super::Row;

pub(super) const CONFIG_ROWS: &[Row<'_>] = &[
    // Nothing wrong.
    ("state_dir", "state_dir", &[]),
    // TOML itself.
    ("[ssh]", "[ssh", &["caponier.toml:2:5: not TOML: unclosed table, expected `]`"]),
    (
        "name = \"corp\"",
        "name = corp",
        &["caponier.toml:9:8: not TOML: string values must be quoted, expected literal string"],
    ),
    (
        "client_id = \"caponier\"",
        "client_id = \"caponier\"\nclient_id = \"other\"",
        &["caponier.toml:12:1: \"client_id\" is given twice; keep one"],
    ),
    // Unknown keys.
    (
        "[ssh]",
        "[ssh]\nlisen = \"0.0.0.0:22\"",
        &["caponier.toml:3:1: unknown key \"lisen\" in [ssh]; did you mean \"listen\"?"],
    ),
    (
        "[ssh]",
        "[ssh]\npublic-port = 22",
        &["caponier.toml:3:1: unknown key \"public-port\" in [ssh]; did you mean \"public_port\"?"],
    ),
    (
        "[ssh]",
        "[ssh]\nflavour = 1",
        &[
            "caponier.toml:3:1: unknown key \"flavour\" in [ssh]; there is: listen, host_names, public_port, client_patterns, connections_max, unauthenticated_max, login_grace",
        ],
    ),
    (
        "state_dir",
        "state_folder",
        &[
            "caponier.toml:1:1: unknown key \"state_folder\"; there is: state_dir, ssh, web, store, ca, certificates, provider, issuer, sign_in, sessions, recording, archive, audit, notify, alerts, policy, log",
        ],
    ),
    (
        "client_secret_file",
        "client_secret",
        &[
            "caponier.toml:12:1: unknown key \"client_secret\" in [[provider]] number 1; did you mean \"client_secret_env\"?",
        ],
    ),
    (
        "[ssh]",
        "[certificate]\nlife = \"5m\"\n[ssh]",
        &["caponier.toml:2:2: unknown key \"certificate\"; did you mean \"certificates\"?"],
    ),
    (
        "client_id",
        "cliend_id",
        &[
            "caponier.toml:8:1: \"client_id\" is missing in [[provider]] number 1: the client id that the provider gave you",
            "caponier.toml:11:1: unknown key \"cliend_id\" in [[provider]] number 1; did you mean \"client_id\"?",
        ],
    ),
    // Wrong types.
    (
        "[ssh]",
        "[ssh]\npublic_port = \"22\"",
        &["caponier.toml:3:15: \"public_port\" must be a whole number; this is text"],
    ),
    (
        "[\"bastion.example.com\"]",
        "\"bastion.example.com\"",
        &["caponier.toml:3:14: \"host_names\" must be an array of texts, [\"...\"]; this is text"],
    ),
    (
        "[\"bastion.example.com\"]",
        "[\"bastion.example.com\", 5]",
        &["caponier.toml:3:38: every item of \"host_names\" must be text, \"...\"; this is a whole number"],
    ),
    (
        "[[provider]]",
        "[provider]",
        &["caponier.toml:8:1: \"provider\" must be an array of tables, [[...]]; this is a table"],
    ),
    (
        "[ssh]\nhost_names",
        "[certificates]\nlife = 300\nbind_source_address = \"no\"\n[ssh]\nhost_names",
        &[
            "caponier.toml:3:8: \"life\" must be a time span as text, such as \"90s\", \"5m\", \"1h30m\"; this is a whole number",
            "caponier.toml:4:23: \"bind_source_address\" must be true or false; this is text",
        ],
    ),
    // Ranges.
    (
        "[ssh]",
        "[certificates]\nlife = \"16m\"\n[sign_in]\nlife = \"4m\"\n[ssh]",
        &[
            "caponier.toml:3:8: \"life\" must be from 30s to 15m",
            "caponier.toml:5:8: \"life\" must be from 5m to 1d",
        ],
    ),
    (
        "[ssh]",
        "[certificates]\nlife = \"10s\"\n[sign_in]\nlife = \"25h\"\n[ssh]",
        &[
            "caponier.toml:3:8: \"life\" must be from 30s to 15m",
            "caponier.toml:5:8: \"life\" must be from 5m to 1d",
        ],
    ),
    (
        "[ssh]",
        "[certificates]\nlife = \"5 minutes\"\n[ssh]",
        &[
            "caponier.toml:3:8: \"life\": \"5 minutes\" is not a time span: write it as \"90s\", \"5m\", \"10h\" or \"1h30m\"",
        ],
    ),
    (
        "[ssh]",
        "[ssh]\npublic_port = 65536\nconnections_max = 0",
        &[
            "caponier.toml:3:15: \"public_port\" must be from 1 to 65535",
            "caponier.toml:4:19: \"connections_max\" must be from 1 to 65536",
        ],
    ),
    ("[ssh]", "[ssh]\npublic_port = -22", &["caponier.toml:3:15: \"public_port\" must be from 1 to 65535"]),
    (
        "[ssh]",
        "[ssh]\nconnections_max = 10\nunauthenticated_max = 11",
        &["caponier.toml:4:23: \"unauthenticated_max\" is over \"connections_max\" (10)"],
    ),
    ("[ssh]", "[ssh]\nlogin_grace = \"1h\"", &["caponier.toml:3:15: \"login_grace\" must be from 5s to 15m"]),
    (
        "[ssh]",
        "[recording]\nexec_output_max = \"2GiB\"\n[ssh]",
        &["caponier.toml:3:19: \"exec_output_max\" must be from 0 to 1GiB"],
    ),
    (
        "[ssh]",
        "[recording]\nexec_output_max = \"1MB\"\n[ssh]",
        &[
            "caponier.toml:3:19: \"exec_output_max\": \"1MB\" is not a size: write \"64KiB\", \"1MiB\", \"2GiB\" or a number of bytes",
        ],
    ),
    (
        "[ssh]",
        "[log]\nformat = \"xml\"\n[ssh]",
        &["caponier.toml:3:10: \"format\" must be \"text\" or \"json\", not \"xml\""],
    ),
    (
        "[ssh]",
        "[sessions]\nmax = \"1h\"\nidle = \"2h\"\nenv = [\"LD_*\", \"*\"]\n[ssh]",
        &[
            "caponier.toml:4:8: \"idle\" is longer than \"max\" and would never end a session: make it shorter",
            "caponier.toml:5:8: \"LD_*\" would let LD_PRELOAD pass, which makes programs run other code; list harmless names",
            "caponier.toml:5:16: \"*\" is not a variable's name, with \"*\" at most at the end",
        ],
    ),
    // The doors.
    (
        "[ssh]",
        "[ssh]\nlisten = \"2222\"",
        &[
            "caponier.toml:3:10: \"listen\" must be ADDRESS:PORT, such as \"0.0.0.0:2222\" or \"[::]:2222\", not \"2222\"",
        ],
    ),
    (
        "[ssh]",
        "[ssh]\nlisten = \"bastion:22\"",
        &[
            "caponier.toml:3:10: \"listen\" must be ADDRESS:PORT, such as \"0.0.0.0:2222\" or \"[::]:2222\", not \"bastion:22\"",
        ],
    ),
    (
        "[ssh]",
        "[ssh]\nlisten = \"127.0.0.1:8443\"",
        &["caponier.toml:3:1: [ssh] and [web] both listen on 127.0.0.1:8443: give each its own port"],
    ),
    (
        "[\"bastion.example.com\"]",
        "[]",
        &["caponier.toml:3:14: \"host_names\" is empty: list the names clients use for this bastion"],
    ),
    (
        "[\"bastion.example.com\"]",
        "[\"*.example.com\", \"Bastion\", \"ok\", \"ok\"]",
        &[
            "caponier.toml:3:15: \"*.example.com\" is not a host name (lower case, no wildcard) nor an IP address",
            "caponier.toml:3:32: \"Bastion\" is not a host name (lower case, no wildcard) nor an IP address",
            "caponier.toml:3:49: \"ok\" is listed twice",
        ],
    ),
    (
        "host_names = [\"bastion.example.com\"]",
        "",
        &[
            "caponier.toml:2:2: \"host_names\" is missing in [ssh]: list the names clients use for this bastion, such as [\"bastion.example.com\"]",
        ],
    ),
    (
        "[\"bastion.example.com\"]",
        "[\"::1\", \"bastion.example.com\"]",
        &[
            "caponier.toml:3:15: \"::1\" comes first, but ssh configurations cannot call a host so: put a name or an IPv4 address first",
        ],
    ),
    (
        "[ssh]",
        "[ssh]\nclient_patterns = [\"*.cor.p\", \"*\", \"*.*\", \"a b\", \"!x\", \"Web1\", \"*a\"]",
        &[
            "caponier.toml:3:31: \"*\" is not a host pattern that may be managed: wildcards only in the first label, with at least 2 whole labels behind, such as *.corp.example",
            "caponier.toml:3:36: \"*.*\" is not a host pattern that may be managed: wildcards only in the first label, with at least 2 whole labels behind, such as *.corp.example",
            "caponier.toml:3:43: \"a b\" is not a host pattern (letters, digits, . - _ and the wildcards * and ?)",
            "caponier.toml:3:50: \"!x\" is not a host pattern (letters, digits, . - _ and the wildcards * and ?)",
            "caponier.toml:3:56: \"Web1\": host patterns are written in lower case",
            "caponier.toml:3:64: \"*a\" is not a host pattern that may be managed: wildcards only in the first label, with at least 2 whole labels behind, such as *.corp.example",
        ],
    ),
    (
        "https://bastion",
        "http://bastion",
        &["caponier.toml:5:14: \"public_url\": http is allowed on loopback only; use https"],
    ),
    (
        "example.com\"\n[ca]",
        "example.com/caponier?x=1\"\n[ca]",
        &[
            "caponier.toml:5:14: \"public_url\": only scheme, host and port, such as \"https://bastion.example.com\"; no path, no query",
        ],
    ),
    (
        "https://bastion",
        "https://user:hunter2@bastion",
        &["caponier.toml:5:14: \"public_url\": no user name and no password belong into this URL"],
    ),
    (
        "https://bastion.example.com",
        "bastion.example.com",
        &["caponier.toml:5:14: \"public_url\": not a URL (relative URL without a base); write https://HOST"],
    ),
    (
        "https://bastion.example.com",
        "ftp://bastion.example.com",
        &["caponier.toml:5:14: \"public_url\": ftp: is not for browsers; use https://HOST"],
    ),
    (
        "[web]\n",
        "[web]\ntls_cert = \"cert.pem\"\n",
        &["caponier.toml:5:1: \"tls_cert\" needs \"tls_key\" beside it"],
    ),
    (
        "[web]\n",
        "[web]\ntls_key = \"key.pem\"\n",
        &["caponier.toml:5:1: \"tls_key\" needs \"tls_cert\" beside it"],
    ),
    (
        "[web]\n",
        "[web]\ntls_cert = \"nowhere.pem\"\ntls_key = \"open-key.pem\"\n",
        &[
            "caponier.toml:5:12: cannot read nowhere.pem: No such file or directory (os error 2)",
            "caponier.toml:6:11: open-key.pem can be read by others (mode 644): chmod o= open-key.pem",
        ],
    ),
    (
        "[web]\n",
        "[web]\nlisten = \"0.0.0.0:8443\"\n",
        &[
            "caponier.toml:5:1: 0.0.0.0:8443 would speak http to the network in the clear: set \"tls_cert\" and \"tls_key\", listen on 127.0.0.1, or name the reverse proxy in \"trusted_proxies\"",
        ],
    ),
    (
        "[web]\n",
        "[web]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
        &["caponier.toml:5:20: \"10.0.0.0/8\" is not an IP address (networks are not known here)"],
    ),
    (
        "[web]\npublic_url = \"https://bastion.example.com\"\n",
        "",
        &[
            "caponier.toml: \"public_url\" is missing in [web]: write how browsers reach this server, such as \"https://bastion.example.com\"",
        ],
    ),
    // The store.
    (
        "[ssh]",
        "[store]\nurl = \"mysql://db/x\"\n[ssh]",
        &["caponier.toml:3:7: the store must be \"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\""],
    ),
    (
        "[ssh]",
        "[store]\nurl = \"postgres://u:hunter2@db/x\"\n[ssh]",
        &[
            "caponier.toml:3:7: \"url\" has a password and others can read this file: use \"url_file\" or \"url_env\", or chmod 600 caponier.toml",
        ],
    ),
    (
        "[ssh]",
        "[store]\nurl_env = \"STORE\"\nurl_file = \"url\"\n[ssh]",
        &["caponier.toml:3:1: both \"url_file\" and \"url_env\" are given: keep one"],
    ),
    (
        "[ssh]",
        "[store]\nurl_env = \"NOT_SET\"\n[ssh]",
        &["caponier.toml:3:11: \"url_env\": the environment variable NOT_SET is not set; export it first"],
    ),
    (
        "[ssh]",
        "[store]\nurl_file = \"open\"\n[ssh]",
        &["caponier.toml:3:12: open can be read by others (mode 644): chmod 600 open"],
    ),
    // The authorities.
    (
        "passphrase_file = \"pass\"",
        "",
        &[
            "caponier.toml:6:2: [ca] says nowhere how the keys are protected: set one of \"passphrase_file\", \"passphrase_env\", \"passphrase_credential\" or \"agent\" (or, for trying out, \"plain = true\")",
        ],
    ),
    (
        "passphrase_file = \"pass\"",
        "plain = false",
        &[
            "caponier.toml:6:2: [ca] says nowhere how the keys are protected: set one of \"passphrase_file\", \"passphrase_env\", \"passphrase_credential\" or \"agent\" (or, for trying out, \"plain = true\")",
        ],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_file = \"pass\"\nplain = true",
        &["caponier.toml:8:1: both \"passphrase_file\" and \"plain\" are given: keep one"],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_file = \"pass\"\npassphrase_env = \"SECRET\"\nagent = \"s\"",
        &[
            "caponier.toml:8:1: both \"passphrase_file\" and \"passphrase_env\" are given: keep one",
            "caponier.toml:9:1: both \"passphrase_file\" and \"agent\" are given: keep one",
        ],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_file = \"open\"",
        &["caponier.toml:7:19: open can be read by others (mode 644): chmod 600 open"],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_file = \"empty\"",
        &["caponier.toml:7:19: the first line of empty is empty: it must hold the secret"],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_file = \"nowhere\"",
        &["caponier.toml:7:19: cannot read nowhere: No such file or directory (os error 2)"],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_env = \"NOT_SET\"",
        &[
            "caponier.toml:7:18: \"passphrase_env\": the environment variable NOT_SET is not set; export it first",
        ],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_env = \"EMPTY\"",
        &[
            "caponier.toml:7:18: \"passphrase_env\": the environment variable EMPTY is not set; export it first",
        ],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_env = \"open sesame\"",
        &["caponier.toml:7:18: \"passphrase_env\" must be the name of an environment variable, not a value"],
    ),
    (
        "passphrase_file = \"pass\"",
        "passphrase_credential = \"../x\"",
        &["caponier.toml:7:25: \"../x\" is not the name of a systemd credential (a-z A-Z 0-9 . _ -)"],
    ),
    // The providers.
    (
        "[[provider]]\nname = \"corp\"\nissuer = \"https://id.example.com\"\nclient_id = \"caponier\"\nclient_secret_file = \"secret\"\n",
        "",
        &[
            "caponier.toml: no [[provider]] is given, so nobody could sign in: add one with \"name\", \"issuer\" and \"client_id\"",
        ],
    ),
    (
        "https://id.example.com",
        "http://id.example.com",
        &["caponier.toml:10:10: \"issuer\": http is allowed on loopback only; use https"],
    ),
    (
        "https://id.example.com",
        "https://id.example.com?tenant=1",
        &["caponier.toml:10:10: \"issuer\": no query and no fragment (OpenID Connect Discovery section 3)"],
    ),
    (
        "client_secret_file = \"secret\"",
        "client_secret_file = \"secret\"\nclient_secret_env = \"SECRET\"",
        &["caponier.toml:13:1: both \"client_secret_file\" and \"client_secret_env\" are given: keep one"],
    ),
    (
        "client_secret_file = \"secret\"",
        "client_secret_file = \"open\"",
        &["caponier.toml:12:22: open can be read by others (mode 644): chmod 600 open"],
    ),
    (
        "client_secret_file = \"secret\"",
        "client_secret_env = \"NOT_SET\"",
        &[
            "caponier.toml:12:21: \"client_secret_env\": the environment variable NOT_SET is not set; export it first",
        ],
    ),
    (
        "name = \"corp\"",
        "name = \"corp:eu\"",
        &[
            "caponier.toml:9:8: \"corp:eu\" is not a valid provider name: 1 to 64 characters of a-z A-Z 0-9 . _ -, starting with a letter or digit",
        ],
    ),
    (
        "name = \"corp\"",
        "algorithms = [\"none\", \"HS256\", \"RS265\"]\nname = \"corp\"",
        &[
            "caponier.toml:9:15: \"none\" would accept tokens that nobody signed",
            "caponier.toml:9:23: \"HS256\" is refused: with HMAC, whoever knows the client secret can make tokens",
            "caponier.toml:9:32: unknown algorithm \"RS265\"; did you mean \"RS256\"?",
        ],
    ),
    (
        "name = \"corp\"",
        "algorithms = []\nname = \"corp\"",
        &[
            "caponier.toml:9:1: \"algorithms\" is empty, so no token could be accepted: leave it out for the default",
        ],
    ),
    (
        "[[provider]]",
        "[[provider]]\nname = \"corp\"\nissuer = \"https://other.example\"\nclient_id = \"x\"\n[[provider]]",
        &["caponier.toml:13:1: there is a provider \"corp\" already"],
    ),
    (
        "[[provider]]",
        "[[provider]]\nname = \"twin\"\nissuer = \"https://id.example.com\"\nclient_id = \"caponier\"\n[[provider]]",
        &["caponier.toml:15:1: \"twin\" has the same issuer and client id; keep one of them"],
    ),
    (
        "[[provider]]\nname = \"corp\"",
        "[[provider]]",
        &[
            "caponier.toml:8:1: \"name\" is missing in [[provider]] number 1: a short name of your choice; groups are written NAME:GROUP",
        ],
    ),
    (
        "[ssh]",
        "[sign_in.admins]\ngroups = [\"crop:ops\", \"corp\", \"corp:ann\"]\nsubjects = [\"crop:ann\", \"corp:\"]\n[ssh]",
        &[
            "caponier.toml:3:11: there is no provider \"crop\"; did you mean \"corp\"?",
            "caponier.toml:3:23: \"corp\" is not a valid group: PROVIDER:GROUP, the group 1 to 256 bytes without control characters",
            "caponier.toml:4:13: there is no provider \"crop\"; did you mean \"corp\"?",
            "caponier.toml:4:25: \"corp:\" is not a valid subject: PROVIDER:SUBJECT, the subject 1 to 256 bytes without control characters",
        ],
    ),
    (
        "[ssh]",
        "[sign_in]\nadmins = [\"corp:ops\"]\n[ssh]",
        &["caponier.toml:3:10: \"admins\" must be a table, { ... }; this is an array"],
    ),
    (
        "[ssh]",
        "[sign_in.auditors]\nsubjects = [\"crop:ann\"]\npeople = []\n[ssh]",
        &[
            "caponier.toml:3:13: there is no provider \"crop\"; did you mean \"corp\"?",
            "caponier.toml:4:1: unknown key \"people\" in \"auditors\"; there is: groups, subjects",
        ],
    ),
    (
        "[ssh]",
        "[sign_in]\ncheck_every = \"0s\"\nprovider_outage = \"kept\"\nprovider_outage_max = \"5m\"\n[ssh]",
        &[
            "caponier.toml:3:15: \"check_every\" must be from 1s to 4h",
            "caponier.toml:4:19: \"provider_outage\" must be \"keep\" or \"end\", not \"kept\"; there is: keep, end",
            "caponier.toml:5:23: \"provider_outage_max\" is shorter than \"check_every\": between two checks that succeed nothing could be renewed; make it longer",
        ],
    ),
    (
        "[[provider]]",
        "[[provider]]\nrefresh_token = \"alway\"",
        &[
            "caponier.toml:9:17: \"refresh_token\" must be one of \"auto\", \"ask\", \"consent\", \"given\", \"never\", not \"alway\"; there is: auto, ask, consent, given, never",
        ],
    ),
    // Several at once, in the order of the file.
    (
        "host_names = [\"bastion.example.com\"]\n[web]\npublic_url = \"https://bastion.example.com\"\n[ca]\npassphrase_file = \"pass\"",
        "listen = 1\n[web]\npublic_url = \"x\"\ntls = true\n[ca]",
        &[
            "caponier.toml:2:2: \"host_names\" is missing in [ssh]: list the names clients use for this bastion, such as [\"bastion.example.com\"]",
            "caponier.toml:3:10: \"listen\" must be text, \"...\"; this is a whole number",
            "caponier.toml:5:14: \"public_url\": not a URL (relative URL without a base); write https://HOST",
            "caponier.toml:6:1: unknown key \"tls\" in [web]; did you mean \"tls_key\"?",
            "caponier.toml:7:2: [ca] says nowhere how the keys are protected: set one of \"passphrase_file\", \"passphrase_env\", \"passphrase_credential\" or \"agent\" (or, for trying out, \"plain = true\")",
        ],
    ),
    // Receivers of notices.
    (
        "[ssh]",
        "[[notify.webhook]]\nname = \"Ops\"\nurl = \"http://hooks.example.com/x\"\nkinds = [\"request.*\", \"grant.open\"]\n[ssh]",
        &[
            "caponier.toml:2:1: a secret is missing: without a signature anybody could post notices there; set \"secret_file\" or \"secret_env\"",
            "caponier.toml:3:8: \"name\" must be 1 to 32 small letters, digits, - and _",
            "caponier.toml:4:7: \"url\": http is allowed on loopback only; use https",
            "caponier.toml:5:23: \"grant.open\" is no kind of notice; did you mean \"grant.opened\"?",
        ],
    ),
    (
        "[ssh]",
        "[[notify.webhook]]\nname = \"a\"\nurl = \"https://h.example\"\nsecret_file = \"secret\"\nformat = \"teams\"\n[ssh]",
        &[
            "caponier.toml:5:15: the secret is shorter than 16 bytes; make one: openssl rand -hex 32",
            "caponier.toml:6:10: \"format\" must be \"caponier\" or \"slack\", not \"teams\"",
        ],
    ),
    (
        "[ssh]",
        "[notify.mail]\nserver = \"smtp.example.com\"\ntls = \"none\"\nfrom = \"Ann <ann@example.com>\"\nuser = \"u\"\n[ssh]",
        &[
            "caponier.toml:3:10: \"server\" must be HOST:PORT, such as \"smtp.example.com:587\", not \"smtp.example.com\"",
            "caponier.toml:5:8: \"Ann <ann@example.com>\" is not a mail address; write user@example.com",
            "caponier.toml:6:1: \"user\" and a password (\"password_file\", \"password_env\") belong together",
        ],
    ),
    (
        "[ssh]",
        "[notify.mail]\nserver = \"smtp.example.com:25\"\ntls = \"none\"\nfrom = \"a@example.com\"\n[notify.mail.people]\n\"ann\" = \"ann@example.com\\r\\nBcc: x@y\"\n[ssh]",
        &[
            "caponier.toml:4:7: \"tls\" may be \"none\" on loopback only: others could read and change mail",
            "caponier.toml:7:1: \"ann\" is nobody: write PROVIDER:SUBJECT",
            "caponier.toml:7:9: \"ann@example.com\\r\\nBcc: x@y\" is not a mail address; write user@example.com",
        ],
    ),
    // Rules.
    (
        "[ssh]",
        "[alerts.failed_sign_ins]\ncount = 0\nwindow = \"2d\"\n[alerts.break_glass]\ncount = 2\n[alerts.odd_hour]\non = true\n[ssh]",
        &[
            "caponier.toml:3:9: \"count\" must be from 1 to 1000",
            "caponier.toml:4:10: \"window\" must be from 10s to 1d",
            "caponier.toml:6:1: unknown key \"count\" in \"break_glass\"; there is: on",
            "caponier.toml:7:9: unknown key \"odd_hour\" in [alerts]; did you mean \"odd_hours\"?",
        ],
    ),
    (
        "[ssh]",
        "[alerts.odd_hours]\nzone = \"Mars/Base\"\ndays = [\"mo\"]\nfrom = \"20:00\"\nto = \"7:00\"\n[ssh]",
        &[
            "caponier.toml:3:8: \"Mars/Base\" is not a time zone; write one such as \"Europe/Berlin\"",
            "caponier.toml:4:1: \"mo\" is no day; there is: mon, tue, wed, thu, fri, sat, sun",
            "caponier.toml:6:6: \"to\" must be a time of the day such as \"07:30\", not \"7:00\"",
        ],
    ),
    // The archive.
    (
        "[ssh]",
        "[archive]\npath = \"x\"\n[ssh]",
        &[
            "caponier.toml:2:2: \"kind\" is missing in [archive]: \"folder\", \"s3\", or \"none\" when recordings stay here and are only deleted in time",
        ],
    ),
    (
        "[ssh]",
        "[archive]\nkind = \"folder\"\npath = \"x\"\nbucket = \"b\"\nencrypt_to = [\"ssh-rsa AAAA\", \"AGE-SECRET-KEY-1X\"]\n[ssh]",
        &[
            "caponier.toml:5:1: \"bucket\" means nothing with kind = \"folder\"; take it away",
            "caponier.toml:6:15: \"ssh-rsa AAAA\" is no public key: write \"age1...\" or \"ssh-ed25519 AAAA...\"",
            "caponier.toml:6:31: \"encrypt_to\" has a private key in it: consider it stolen, and write the public one",
        ],
    ),
    (
        "[ssh]",
        "[archive]\nkind = \"s3\"\nbucket = \"a/b\"\nprefix = \"../x\"\nendpoint = \"http://s3.example.com\"\n[ssh]",
        &[
            "caponier.toml:2:2: the access key is missing: set \"secret_key_file\" or \"secret_key_env\"",
            "caponier.toml:2:2: the id of the access key is missing: set \"access_key_file\" or \"access_key_env\"",
            "caponier.toml:4:10: \"bucket\" must be letters, digits, \".\", \"-\" and \"_\"",
            "caponier.toml:5:10: \"prefix\" must be letters, digits, \".\", \"-\" and \"_\", with single slashes between them",
            "caponier.toml:6:12: \"endpoint\": http is allowed on loopback only; use https",
        ],
    ),
    (
        "[ssh]",
        "[archive]\nkind = \"none\"\n[[archive.retention]]\ndays = 5\n[[archive.retention]]\nlabel = \"prod\"\ndays = 0\n[ssh]",
        &[
            "caponier.toml:4:1: a rule needs \"role\" or \"label\"; for all others there is \"retention_days\"",
            "caponier.toml:7:9: \"label\" must be \"KEY=VALUE\", a label of targets",
            "caponier.toml:8:8: \"days\" must be from 1 to 36500",
        ],
    ),
];
