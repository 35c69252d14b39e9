//! What one section alone cannot see: rules between sections.

use runtime::config::Problem;

use super::Config;

/// Adds a problem for every contradiction between sections.
pub(super) fn check(config: &Config, problems: &mut Vec<Problem>) {
    let found = [
        exposed_agents(config),
        grace(config),
        batch(config),
        work_deadline(config),
        interrupted_draft(config),
        execution(
            config,
            "dispatcher.work.deadline",
            config.dispatcher.work.deadline.0,
        ),
        execution(
            config,
            "dispatcher.triage.deadline",
            config.dispatcher.triage.deadline.0,
        ),
        filter(config),
        url("api.url", config.api.url.as_deref()),
        url("agents.url", config.agents.url.as_deref()),
    ];
    problems.extend(found.into_iter().flatten());
}

fn exposed_agents(config: &Config) -> Option<Problem> {
    let listen = config.agents.listen;
    let open = config.a2a.token_file.is_none() && !listen.ip().to_canonical().is_loopback();
    open.then(|| {
        Problem::new(
            "agents.listen",
            format!(
                "{listen} can be reached from other machines and no token protects the agents (E-A2A-001)"
            ),
            "Set a2a.token_file, or listen on 127.0.0.1.",
        )
    })
}

fn grace(config: &Config) -> Option<Problem> {
    (config.dispatcher.grace >= config.grace).then(|| {
        Problem::new(
            "dispatcher.grace",
            format!(
                "{} leaves nothing of grace = \"{}\" to give work back in",
                config.dispatcher.grace, config.grace
            ),
            "Keep it a few seconds below grace.",
        )
    })
}

fn batch(config: &Config) -> Option<Problem> {
    let (sent, taken) = (
        config.dispatcher.triage.batch_max,
        config.agents.triage.events_max,
    );
    (sent > taken).then(|| {
        Problem::new(
            "dispatcher.triage.batch_max",
            format!("{sent} events in a request are more than triage takes"),
            format!("Choose at most agents.triage.events_max, which is {taken}."),
        )
    })
}

fn work_deadline(config: &Config) -> Option<Problem> {
    let (deadline, report) = (
        config.dispatcher.work.deadline,
        config.pipelines.report_within,
    );
    (deadline <= report).then(|| {
        Problem::new(
            "dispatcher.work.deadline",
            format!("{deadline} ends work before its report, which may take until {report}"),
            "Make it longer than pipelines.report_within, by a minute for the draft.",
        )
    })
}

/// A draft that was interrupted is taken up after its time is over, because it may still be under
/// way. Work that ends before that would wait, end and wait again.
fn interrupted_draft(config: &Config) -> Option<Problem> {
    let (deadline, draft) = (
        config.dispatcher.work.deadline,
        config.pipelines.draft_timeout,
    );
    (deadline.0 <= draft.0.saturating_mul(2)).then(|| {
        Problem::new(
            "pipelines.draft_timeout",
            format!(
                "{draft} to wait for an interrupted draft and {draft} for the next leave nothing of dispatcher.work.deadline = \"{deadline}\""
            ),
            "Make it shorter than half of dispatcher.work.deadline.",
        )
    })
}

fn execution(config: &Config, field: &str, deadline: std::time::Duration) -> Option<Problem> {
    (config.a2a.execution_max.0 < deadline).then(|| {
        Problem::new(
            "a2a.execution_max",
            format!(
                "{} ends an agent's work before {field} does",
                config.a2a.execution_max
            ),
            format!("Make it at least as long as {field}."),
        )
    })
}

fn filter(config: &Config) -> Option<Problem> {
    let why = runtime::telemetry::check_filter(&config.log.filter).err()?;
    Some(Problem::new(
        "log.filter",
        format!("{:?} is no filter: {why}", config.log.filter),
        "Write \"info\", or \"info,bus=debug\" to hear more of one part.",
    ))
}

fn url(field: &str, url: Option<&str>) -> Option<Problem> {
    let url = url?;
    let fits = reqwest::Url::parse(url)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    (!fits).then(|| {
        Problem::new(
            field,
            format!("{url:?} is no address that can be called"),
            "Write scheme, host and port, such as \"http://nightshift:8080\".",
        )
    })
}

#[cfg(test)]
mod tests {
    use runtime::config::{MapEnv, Source, load};

    use super::*;

    fn check(text: &str) -> String {
        let source = Source {
            name: "n.toml",
            text,
        };
        match load::<Config>(Some(source), &MapEnv::default()) {
            Ok(_) => "no problems".to_owned(),
            Err(problems) => problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    #[test]
    fn the_default_and_what_dump_prints_of_it_work() {
        insta::assert_snapshot!(check(""), @"no problems");
        let dumped = toml::to_string_pretty(&Config::default()).unwrap();
        insta::assert_snapshot!(check(&dumped), @"no problems");
    }

    #[test]
    fn sections_that_contradict_each_other_are_all_named() {
        insta::assert_snapshot!(check(
            r#"
            grace = "20s"
            [agents]
            listen = "0.0.0.0:8083"
            url = "agents:8083"
            [agents.triage]
            events_max = 10
            [dispatcher.work]
            deadline = "100s"
            [a2a]
            execution_max = "20s"
            [api]
            url = "nightshift"
            [log]
            filter = "info,bus=loud"
            "#
        ), @r#"
        n.toml:4: agents.listen: 0.0.0.0:8083 can be reached from other machines and no token protects the agents (E-A2A-001). Set a2a.token_file, or listen on 127.0.0.1.
        n.toml:8: dispatcher.grace: 20s leaves nothing of grace = "20s" to give work back in. Keep it a few seconds below grace.
        n.toml:8: dispatcher.triage.batch_max: 64 events in a request are more than triage takes. Choose at most agents.triage.events_max, which is 10.
        n.toml:9: dispatcher.work.deadline: 1m 40s ends work before its report, which may take until 2m 30s. Make it longer than pipelines.report_within, by a minute for the draft.
        pipelines.draft_timeout: 1m to wait for an interrupted draft and 1m for the next leave nothing of dispatcher.work.deadline = "1m 40s". Make it shorter than half of dispatcher.work.deadline.
        n.toml:11: a2a.execution_max: 20s ends an agent's work before dispatcher.work.deadline does. Make it at least as long as dispatcher.work.deadline.
        n.toml:11: a2a.execution_max: 20s ends an agent's work before dispatcher.triage.deadline does. Make it at least as long as dispatcher.triage.deadline.
        n.toml:15: log.filter: "info,bus=loud" is no filter: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5. Write "info", or "info,bus=debug" to hear more of one part.
        n.toml:13: api.url: "nightshift" is no address that can be called. Write scheme, host and port, such as "http://nightshift:8080".
        n.toml:5: agents.url: "agents:8083" is no address that can be called. Write scheme, host and port, such as "http://nightshift:8080".
        "#);
    }

    #[test]
    fn a_token_lets_agents_listen_anywhere() {
        insta::assert_snapshot!(check(
            "[agents]\nlisten = \"0.0.0.0:8083\"\n[a2a]\ntoken_file = \"/run/token\"\n"
        ), @"no problems");
    }
}
