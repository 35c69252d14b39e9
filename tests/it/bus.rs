//! The Stream and Store ports: one suite for every implementation, and what only one of them has.

mod embedded;
mod redis;

/// One test per function of a suite and implementation.
macro_rules! suite {
    ($kind:ident, $module:ident, $port:ident: $($check:ident)*) => {
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

macro_rules! both_suites {
    ($kind:ident, $stream:ident, $store:ident) => {
        suite!($kind, $stream, stream:
            order atomic_batch dedup no_two_holders expiry extension exhaustion causes graves
            redrive delay backlog waiting dropped_claims reopening nonsense);
        suite!($kind, $store, store:
            values expectations races all_or_nothing fencing expiry listing limits reopening);
    };
}

both_suites!(Memory, memory_stream, memory_store);
both_suites!(Embedded, embedded_stream, embedded_store);
both_suites!(Redis, redis_stream, redis_store);
