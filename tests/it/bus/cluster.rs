//! A Redis Cluster while the node with our keys dies, freezes or gives them away.

use anyhow::{Context as _, ensure};
use incident::ports::Appended;
use tests::conformance::{Open, Rules, STREAM, cluster};
use tests::redis::cluster::Cluster;

use super::failover::{Check, Writers, brisk, entry, eventually, is_short};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_takes_nothing_with_it() -> Check {
    let mut servers = Cluster::start("nightshift").await?;
    let writers = Writers::start(&brisk(cluster(&servers, Rules::default()))).await?;
    servers.fail_over().await?;
    writers.recovered().await?;
    servers.fail_over().await?;
    writers.recovered().await?;
    writers.audit().await.with_context(|| servers.logs())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_that_comes_back_is_not_believed() -> Check {
    let servers = Cluster::start("nightshift").await?;
    let writers = Writers::start(&brisk(cluster(&servers, Rules::default()))).await?;
    let old = servers.master()?;
    servers.servers[old].freeze()?;
    servers.another_master(old).await?;
    servers.settled(1).await?;
    writers.recovered().await?;
    servers.servers[old].thaw()?;
    servers.settled(2).await?;
    writers.more().await?;
    writers.audit().await.with_context(|| servers.logs())
}

/// The old node is well and goes on answering until it hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_node_that_is_replaced_takes_nothing_with_it() -> Check {
    let servers = Cluster::start("nightshift").await?;
    let writers = Writers::start(&brisk(cluster(&servers, Rules::default()))).await?;
    for new in [3, 4, 0, 3] {
        let old = servers.master()?;
        servers.servers[new].cli(0, &["CLUSTER", "FAILOVER", "TAKEOVER"])?;
        servers.another_master(old).await?;
        servers.settled(2).await?;
        writers.recovered().await?;
    }
    writers.audit().await.with_context(|| servers.logs())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_move_to_another_node_are_found_there() -> Check {
    let servers = Cluster::start("nightshift").await?;
    // The node they go to has no replicas.
    let config = bus::Config {
        durability: bus::Durability {
            replicas: Some(0),
            ..bus::Durability::default()
        },
        ..brisk(cluster(&servers, Rules::default()))
    };
    let writers = Writers::start(&config).await?;
    let old = servers.master()?;
    let new = (old + 1) % 3;
    servers.move_slot(old, new)?;
    writers.recovered().await?;
    ensure!(servers.another_master(old).await? == new);
    writers.audit().await.with_context(|| servers.logs())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_replica_nothing_counts_as_stored() -> Check {
    let mut servers = Cluster::start("nightshift").await?;
    let open = Open::new(&brisk(cluster(&servers, Rules::default()))).await?;
    let stream = open.bus.stream(STREAM, "a").await?;
    stream.append(vec![entry("1")]).await?;
    for replica in [3, 4] {
        servers.servers[replica].kill()?;
    }
    is_short(&open, &stream, "2").await?;
    servers.servers[3].restart().await?;
    servers.settled(1).await?;
    eventually("it is stored", async || {
        let stored = stream.append(vec![entry("2")]).await;
        stored.is_ok_and(|stored| stored == [Appended::Duplicate])
    })
    .await?;
    let keys = servers.servers[0].cli(0, &["KEYS", "*"])?;
    let strange = keys.lines().find(|key| !key.starts_with("{nightshift}:"));
    ensure!(strange.is_none(), "{strange:?}");
    open.close().await;
    Ok(())
}
