//! Kubernetes' generated names, read backwards.
//!
//! The suffix of a pod and the hash of a ReplicaSet are drawn from letters and digits without vowels
//! (so that no words appear); anything else at the end of a name was chosen by a person and stays.

/// What a generated suffix is drawn from (apimachinery, `rand.SafeEncodeString`).
const GENERATED: &str = "bcdfghjklmnpqrstvwxz2456789";

/// Kind and name of what a pod belongs to.
pub(super) fn pod(name: &str) -> (&'static str, &str) {
    if let Some((owner, suffix)) = name.rsplit_once('-') {
        match owner.rsplit_once('-') {
            Some((cron, time)) if is_schedule(time) && is_suffix(suffix) => return ("job", cron),
            // Behind a hash, any five letters and digits are a suffix.
            Some((deployment, hash)) if is_hash(hash) && suffix.len() == 5 && is_plain(suffix) => {
                return ("deployment", deployment);
            }
            _ if is_suffix(suffix) => return ("daemonset", owner),
            _ => {}
        }
        if is_number(suffix, 1..=4) && !owner.is_empty() {
            return ("statefulset", owner);
        }
    }
    ("service", name)
}

/// The deployment of a ReplicaSet.
pub(super) fn replica_set(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((deployment, hash)) if is_hash(hash) => deployment,
        _ => name,
    }
}

/// The cron job of a job, or the job itself.
pub(super) fn job(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((cron, time)) if is_schedule(time) => cron,
        _ => name,
    }
}

/// An address without its port. A web address is what is probed and stays whole.
pub(super) fn host(instance: &str) -> &str {
    match instance.rsplit_once(':') {
        Some((host, port)) if is_number(port, 1..=5) && !host.is_empty() => {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            if bracketed || !host.contains(':') {
                host
            } else {
                instance
            }
        }
        _ => instance,
    }
}

fn is_number(text: &str, digits: std::ops::RangeInclusive<usize>) -> bool {
    digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Minutes since 1970 as CronJob writes them; older controllers wrote seconds.
fn is_schedule(text: &str) -> bool {
    is_number(text, 8..=10)
}

fn is_suffix(text: &str) -> bool {
    text.len() == 5 && is_generated(text)
}

fn is_hash(text: &str) -> bool {
    (6..=10).contains(&text.len()) && is_generated(text)
}

/// Either drawn from the generator's letters, or letters and digits mixed as no word is: older
/// controllers used all of them.
fn is_generated(text: &str) -> bool {
    if text.chars().all(|c| GENERATED.contains(c)) {
        return true;
    }
    let word = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let mixed = word.bytes().any(|b| b.is_ascii_digit());
    is_plain(text) && mixed
}

fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_lead_to_their_owners() {
        let names = [
            "checkout-7d9c5b6f4-b81kq",
            "checkout-7d9c5b6f4-x2x7p",
            "web-shop-6b8d9c7f5d-zz4rm",
            "web-shop-6b8d9c7f5d-x0001",
            "web-shop-x0001",
            "ledger-0",
            "ledger-12",
            "node-agent-x2x7p",
            "backup-28461230-k4j5z",
            "redis-cache",
            "redis-proxy",
            "db-node1",
            "standalone",
            "-0",
            "",
            "ünïcode-é",
        ];
        let out: Vec<String> = names
            .iter()
            .map(|name| format!("{name} -> {:?}", pod(name)))
            .collect();
        insta::assert_snapshot!(out.join("\n"), @r#"
        checkout-7d9c5b6f4-b81kq -> ("deployment", "checkout")
        checkout-7d9c5b6f4-x2x7p -> ("deployment", "checkout")
        web-shop-6b8d9c7f5d-zz4rm -> ("deployment", "web-shop")
        web-shop-6b8d9c7f5d-x0001 -> ("deployment", "web-shop")
        web-shop-x0001 -> ("service", "web-shop-x0001")
        ledger-0 -> ("statefulset", "ledger")
        ledger-12 -> ("statefulset", "ledger")
        node-agent-x2x7p -> ("daemonset", "node-agent")
        backup-28461230-k4j5z -> ("job", "backup")
        redis-cache -> ("service", "redis-cache")
        redis-proxy -> ("service", "redis-proxy")
        db-node1 -> ("service", "db-node1")
        standalone -> ("service", "standalone")
        -0 -> ("service", "-0")
         -> ("service", "")
        ünïcode-é -> ("service", "ünïcode-é")
        "#);
    }

    #[test]
    fn hosts_lose_their_port_only() {
        let names = [
            "node-1.example:9100",
            "10.0.0.1:9100",
            "[::1]:9090",
            "::1",
            "fe80::1:80",
            "https://shop.example/health",
            "https://shop.example:8443/health",
            ":9090",
        ];
        let out: Vec<String> = names
            .iter()
            .map(|name| format!("{name} -> {}", host(name)))
            .collect();
        insta::assert_snapshot!(out.join("\n"), @"
        node-1.example:9100 -> node-1.example
        10.0.0.1:9100 -> 10.0.0.1
        [::1]:9090 -> [::1]
        ::1 -> ::1
        fe80::1:80 -> fe80::1:80
        https://shop.example/health -> https://shop.example/health
        https://shop.example:8443/health -> https://shop.example:8443/health
        :9090 -> :9090
        ");
    }
}
