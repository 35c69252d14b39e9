//! The world the end-to-end tests live in, by itself: a recording sink stands where Nightshift does.

use std::time::Duration;

use tests::sink::Sink;
use tests::world::{ALERT, Plan, SURGE_RATE, USUAL_RATE, World};

const TOKEN: &str = "world-example";

/// A world and what its Alertmanager posts.
pub(crate) struct Watched {
    pub(crate) sink: Sink,
    pub(crate) world: World,
}

/// A healthy world.
pub(crate) async fn watched() -> anyhow::Result<Watched> {
    let sink = Sink::start().await?;
    let plan = Plan {
        service: env!("CARGO_BIN_EXE_demo-service").into(),
        webhook_url: sink.url.clone(),
        token: TOKEN.to_owned(),
    };
    let world = World::start(&plan).await?;
    Ok(Watched { sink, world })
}

/// A commit breaks the service for real, and another one mends it.
#[tokio::test]
async fn a_commit_breaks_the_service_and_another_mends_it() {
    let Watched { sink, mut world } = watched().await.unwrap();
    let healthy = world.load.counts();
    assert_eq!((healthy.failed, healthy.shed), (0, 0));
    assert!(sink.posted().is_empty());

    let guilty = world.break_with_commit().await.unwrap();
    assert_eq!(guilty.len(), 40);
    world
        .wait_until_firing(Duration::from_secs(40))
        .await
        .unwrap();
    let firing = sink.first("firing").await.unwrap();
    assert_eq!(firing.authorization, Some(format!("Bearer {TOKEN}")));
    let alert = &firing.body["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], ALERT);
    assert_eq!(alert["labels"]["service"], "checkout");
    let link = alert["generatorURL"].as_str().unwrap();
    assert!(
        link.starts_with(&world.prometheus.url) && link.contains("requests_total"),
        "{link}"
    );
    assert!(world.load.counts().failed > 0);

    world.mend_with_commit().await.unwrap();
    world
        .wait_until_resolved(Duration::from_secs(40))
        .await
        .unwrap();
    sink.first("resolved").await.unwrap();
    assert_eq!(world.repository.branches().await.unwrap(), ["main"]);

    let status = world
        .service
        .terminate(Duration::from_secs(10))
        .await
        .unwrap();
    assert!(status.success(), "{status}");
}

/// Nobody changed anything; there is only too much to do.
#[tokio::test]
async fn a_surge_breaks_the_service_without_a_commit() {
    let Watched { sink, mut world } = watched().await.unwrap();
    world.load.set_rate(SURGE_RATE);
    world
        .wait_until_firing(Duration::from_secs(40))
        .await
        .unwrap();
    sink.first("firing").await.unwrap();
    world.load.set_rate(USUAL_RATE);
    world
        .wait_until_resolved(Duration::from_secs(40))
        .await
        .unwrap();
    assert!(world.service.is_running());
    world.service.kill_9().await.unwrap();
    assert!(!world.service.is_running());
}
