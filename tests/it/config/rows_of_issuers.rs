//! What wrong `[[issuer]]` tables get: a change to a good file, and the line it earns.

use super::Row;

pub(super) const ISSUER_ROWS: &[Row<'_>] = &[
    ("[ssh]", "[[issuer]]\nname = \"gh\"\ntype = \"github\"\n[ssh]", &[]),
    ("[ssh]", "[[issuer]]\nname = \"gl\"\ntype = \"gitlab\"\nrun_max = \"2h\"\n[ssh]", &[]),
    (
        "[ssh]",
        "[[issuer]]\nname = \"gh\"\ntype = \"githob\"\n[ssh]",
        &["caponier.toml:4:8: unknown type \"githob\"; did you mean \"github\"?"],
    ),
    (
        "[ssh]",
        "[[issuer]]\n[ssh]",
        &[
            "caponier.toml:2:1: \"name\" is missing in [[issuer]] number 1: a short name of your choice; rules of the policy name it",
            "caponier.toml:2:1: \"type\" is missing in [[issuer]] number 1: what it is: \"github\", \"gitlab\", \"forgejo\", \"buildkite\", \"circleci\", \"kubernetes\" or \"oidc\"",
        ],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"corp\"\ntype = \"github\"\n[ssh]",
        &["caponier.toml:3:1: there is a provider or issuer \"corp\" already"],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"service\"\ntype = \"github\"\n[ssh]",
        &["caponier.toml:3:1: \"service\" is the name of the policy's service accounts: take another"],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"a\"\ntype = \"github\"\n[[issuer]]\nname = \"b\"\ntype = \"github\"\n[ssh]",
        &["caponier.toml:5:1: \"a\" has the same issuer; rules tell its runs apart, so one is enough"],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"k\"\ntype = \"kubernetes\"\n[ssh]",
        &[
            "caponier.toml:2:1: \"issuer\" is missing in [[issuer]] number 1: the issuer URL, byte for byte as in its tokens",
        ],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"gh\"\ntype = \"github\"\nissuer = \"http://tokens.example\"\n[ssh]",
        &["caponier.toml:5:10: \"issuer\": http is allowed on loopback only; use https"],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"gh\"\ntype = \"github\"\nbind = \"signature\"\n[ssh]",
        &[
            "caponier.toml:5:8: jobs there can bind their token to their key by its audience, so \"signature\" would only weaken it: leave \"bind\" out",
        ],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"gl\"\ntype = \"gitlab\"\nbind = \"audience\"\n[ssh]",
        &[
            "caponier.toml:5:8: GitLab's audiences are fixed in its job file, so no job could do this: leave \"bind\" out",
        ],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"gh\"\ntype = \"github\"\naudience = \"https://b.example?x=1\"\n[ssh]",
        &["caponier.toml:5:1: \"audience\" must be ASCII without blanks, \"?\" and \"#\""],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"gh\"\ntype = \"github\"\nalgorithms = [\"HS256\"]\n[ssh]",
        &[
            "caponier.toml:5:15: \"HS256\" is refused: with HMAC, whoever knows the client secret can make tokens",
        ],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"gh\"\ntype = \"github\"\nid_claim = \"x\"\n[ssh]",
        &["caponier.toml:5:1: \"id_claim\" is for the type \"oidc\": of the others we know the claims"],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"o\"\ntype = \"oidc\"\nissuer = \"https://o.example\"\n[ssh]",
        &[
            "caponier.toml:2:1: \"id_claim\" is missing in [[issuer]] number 1: the claim that is the immutable id of what runs",
        ],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"o\"\ntype = \"oidc\"\nissuer = \"https://o.example\"\nid_claim = \"iss\"\n[ssh]",
        &["caponier.toml:6:1: \"iss\" is judged for every token already and is no claim for rules"],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"gh\"\ntype = \"github\"\nwebhook_secret_env = \"SECRET\"\n[ssh]",
        &[
            "caponier.toml:5:22: the webhook secret is shorter than 16 characters: whoever guesses it ends other people's runs",
        ],
    ),
    (
        "[ssh]",
        "[[issuer]]\nname = \"b\"\ntype = \"buildkite\"\nwebhook_secret_file = \"secret\"\n[ssh]",
        &[
            "caponier.toml:5:23: the webhook secret is shorter than 16 characters: whoever guesses it ends other people's runs",
            "caponier.toml:5:23: webhooks are understood from github and gitlab only",
        ],
    ),
    (
        "name = \"corp\"",
        "name = \"service\"",
        &["caponier.toml:9:1: \"service\" is the name of the policy's service accounts: take another"],
    ),
];
