//! What `caponier ci login --dry-run` prints: which rules fit the run, and what does not fit in those for the same repository.

use std::process::ExitCode;

use super::told::run_line;
use crate::cli::terminal::{plain, print};
use crate::web::api::workloads::{ExchangeLook, NearRule};

/// Shows it; the exit code says whether a certificate would be issued.
pub(super) fn show(look: &ExchangeLook, is_json: bool) -> anyhow::Result<ExitCode> {
    if is_json {
        print(serde_json::to_string_pretty(look)?)?;
    } else {
        print(text(look).trim_end())?;
    }
    Ok(if look.refusal.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(look: &ExchangeLook) -> String {
    let names = |names: &[String]| plain(&names.join(", "), 1000);
    let mut lines = vec![run_line(&look.run)];
    lines.extend(look.rules.iter().map(|rule| format!("fits      {}", plain(rule, 64))));
    lines.extend(look.near.iter().map(near));
    if look.rules.is_empty() && look.near.is_empty() {
        lines.push("no rule speaks of this repository, project or account".to_owned());
    }
    match &look.refusal {
        None => lines.push(format!("would get a certificate for {}", names(&look.principals))),
        Some(why) => lines.push(format!("would be refused: {}", plain(why, 1000))),
    }
    if !look.by_request.is_empty() {
        lines.push(format!("to be asked for (--wait): {}", names(&look.by_request)));
    }
    lines.join("\n")
}

fn near(rule: &NearRule) -> String {
    let found = rule
        .found
        .as_ref()
        .map_or_else(|| "is not said".to_owned(), |found| format!("is {:?}", plain(found, 300)));
    format!(
        "not       {}: {} {found}, the rule wants {}",
        plain(&rule.rule, 64),
        plain(&rule.claim, 64),
        plain(&rule.wanted, 500)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::api::workloads::RunAnswer;

    #[test]
    fn the_look_names_rules_claims_and_the_end() {
        let mut look = ExchangeLook {
            run: RunAnswer {
                platform: "github".into(),
                subject: "repository/1".into(),
                label: "acme/shop\u{1b}[2J".into(),
                id: Some("7".into()),
                attempt: None,
                commit: None,
                url: None,
            },
            rules: vec!["deploy".into()],
            near: vec![NearRule {
                rule: "prod".into(),
                claim: "environment".into(),
                wanted: "production".into(),
                found: None,
            }],
            principals: vec!["app".into()],
            by_request: vec!["prod-role".into()],
            refusal: None,
        };
        let shown = text(&look);
        for part in [
            "github acme/shop[2J (repository/1), run 7",
            "fits      deploy",
            "not       prod: environment is not said, the rule wants production",
            "would get a certificate for app",
            "to be asked for (--wait): prod-role",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert_eq!(show(&look, false).unwrap(), ExitCode::SUCCESS);
        look.refusal = Some("no rule fits".into());
        assert!(text(&look).contains("would be refused: no rule fits"));
        assert_eq!(show(&look, true).unwrap(), ExitCode::FAILURE);
        (look.rules, look.near) = (Vec::new(), Vec::new());
        assert!(text(&look).contains("no rule speaks of this"));
    }
}
