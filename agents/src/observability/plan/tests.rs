use std::collections::BTreeMap;

use super::super::catalog::gather;
use super::super::prometheus::Labels;
use super::*;

fn series(name: &str, labels: &[(&str, &str)]) -> Labels {
    let pairs = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    pairs
        .chain([("__name__".to_owned(), name.to_owned())])
        .collect()
}

fn check(all: &[Labels], named: &[&str], limit: usize) -> String {
    let (metrics, _) = gather(all, &BTreeMap::new(), 100);
    let scope = Scope {
        subject: vec![Matcher::equal("job", "demo")],
        rate: Duration::from_mins(1),
    };
    let named = named.iter().map(|n| (*n).to_owned()).collect();
    let (planned, left_out) = plan(&metrics, &scope, &named, limit);
    let lines: Vec<String> = planned
        .iter()
        .map(|p| {
            format!(
                "{} [{}] {}\n    {}",
                p.role.label(),
                p.unit,
                p.label,
                p.query
            )
        })
        .collect();
    format!("{}\nleft out: {left_out}", lines.join("\n"))
}

fn service() -> Vec<Labels> {
    vec![
        series("http_requests_total", &[("code", "200"), ("job", "demo")]),
        series("http_requests_total", &[("code", "503"), ("job", "demo")]),
        series("http_request_duration_seconds_bucket", &[("le", "1")]),
        series("http_request_duration_seconds_sum", &[]),
        series("pool_in_use", &[("pool", "db")]),
        series("pool_in_use", &[("pool", "cache")]),
        series("pool_size", &[("pool", "db")]),
        series("pool_size", &[("pool", "cache")]),
        series("queue_depth", &[]),
        series("rpc_server_handled_total", &[("grpc_code", "OK")]),
        series("jobs_total", &[("outcome", "success")]),
        series("config_reloads_total", &[]),
        series("config_reload_failures_total", &[]),
        series("process_cpu_seconds_total", &[]),
        series("process_resident_memory_bytes", &[]),
        series("process_open_fds", &[]),
        series("process_max_fds", &[]),
        series("upstream_errors_total", &[]),
        series("go_goroutines", &[]),
        series("build_info", &[("version", "1")]),
        series("up", &[]),
    ]
}

#[test]
fn the_four_roles_are_found_by_convention() {
    insta::assert_snapshot!(check(&service(), &["http_requests_total"], 40));
}

#[test]
fn a_small_budget_still_sees_every_role() {
    insta::assert_snapshot!(check(&service(), &[], 4));
}
