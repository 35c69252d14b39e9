//! The Stream and Store ports: one suite for every implementation, and what only one of them has.

mod cluster;
mod durability;
mod embedded;
mod failover;
mod nats;
mod redis;
mod sentinel;

/// Hands the list of everything there is to check to `$with`.
macro_rules! checks {
    ($with:ident! $($kind:tt)*) => {
        $with! {
            $($kind)*
            stream: [order atomic_batch dedup no_two_holders expiry extension exhaustion causes graves
                redrive delay backlog waiting dropped_claims nonsense reopening]
            store: [values expectations races all_or_nothing fencing expiry listing limits reopening]
        }
    };
}

/// One test per function of a suite and implementation.
macro_rules! each_alone {
    ($kind:ident $streams:ident $stores:ident
        stream: [$($stream:ident)*] store: [$($store:ident)*]) => {
        each_alone!(@ $kind $streams stream $($stream)*);
        each_alone!(@ $kind $stores store $($store)*);
    };
    (@ $kind:ident $module:ident $port:ident $($check:ident)*) => {
        mod $module {
            use tests::conformance::{Kind, $port};
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() -> anyhow::Result<()> {
                    $port::$check(Kind::$kind).await
                }
            )*
        }
    };
}

/// One test for all functions on the same servers, because those take long to start: first all at
/// once, then those that restart something again, one by one, and their restart is a failover.
macro_rules! all_together {
    ($kind:ident $name:ident stream: [$($stream:ident)*] store: [$($store:ident)*]) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() -> anyhow::Result<()> {
            use tests::conformance::{Hold, Kind, store, stream};
            let servers = Hold::new(Kind::$kind).await?;
            let checks: Vec<(&str, $crate::bus::Checking)> = vec![
                $((
                    concat!("stream::", stringify!($stream)),
                    Box::pin(stream::$stream(Kind::$kind)),
                ),)*
                $((
                    concat!("store::", stringify!($store)),
                    Box::pin(store::$store(Kind::$kind)),
                ),)*
            ];
            $crate::bus::at_once(checks).await?;
            servers.fail_over_from_now_on();
            stream::reopening(Kind::$kind).await?;
            store::reopening(Kind::$kind).await
        }
    };
}

type Checking = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// How many checks share the servers at a time: most of them wait most of the time.
const AT_ONCE: usize = 8;

/// Runs all on this thread and names the one that fails.
async fn at_once(checks: Vec<(&'static str, Checking)>) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let local = tokio::task::LocalSet::new();
    let mut running = tokio::task::JoinSet::new();
    let mut names = std::collections::BTreeMap::new();
    let mut checks = checks.into_iter();
    local
        .run_until(async {
            loop {
                while running.len() < AT_ONCE
                    && let Some((name, check)) = checks.next()
                {
                    names.insert(running.spawn_local(check).id(), name);
                }
                match running.join_next_with_id().await {
                    None => return Ok(()),
                    Some(Ok((id, checked))) => checked.context(names[&id])?,
                    Some(Err(panic)) => anyhow::bail!("{}: {panic}", names[&panic.id()]),
                }
            }
        })
        .await
}

checks!(each_alone! Memory memory_stream memory_store);
checks!(each_alone! Embedded embedded_stream embedded_store);
checks!(each_alone! Redis redis_stream redis_store);
checks!(each_alone! Nats nats_stream nats_store);
checks!(all_together! Sentinel sentinel_suite);
checks!(all_together! Cluster cluster_suite);
