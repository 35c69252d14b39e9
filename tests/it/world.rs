//! The world the end-to-end tests live in, by itself: a recording sink stands where Nightshift does.

use std::time::Duration;

use tests::sink::{Posted, Sink};
use tests::wait::until;
use tests::world::{ALERT, Plan, SURGE_RATE, USUAL_RATE, World};

const TOKEN: &str = "world-example";

async fn world(sink: &Sink) -> anyhow::Result<World> {
    let plan = Plan {
        service: env!("CARGO_BIN_EXE_demo-service").into(),
        webhook_url: sink.url.clone(),
        token: TOKEN.to_owned(),
    };
    World::start(&plan).await
}

/// The first body with this status.
async fn posted(sink: &Sink, status: &str) -> anyhow::Result<Posted> {
    let what = format!("a body that is {status}");
    until(&what, Duration::from_secs(30), async || {
        let mut posted = sink.posted().into_iter();
        posted.find(|posted| posted.body["status"] == status)
    })
    .await
}

/// A commit breaks the service for real, and another one mends it.
#[tokio::test]
async fn a_commit_breaks_the_service_and_another_mends_it() {
    let sink = Sink::start().await.unwrap();
    let mut world = world(&sink).await.unwrap();
    let healthy = world.load.counts();
    assert_eq!((healthy.failed, healthy.shed), (0, 0));
    assert!(sink.posted().is_empty());

    let guilty = world.break_with_commit().await.unwrap();
    assert_eq!(guilty.len(), 40);
    world
        .wait_until_firing(Duration::from_secs(40))
        .await
        .unwrap();
    let firing = posted(&sink, "firing").await.unwrap();
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
    posted(&sink, "resolved").await.unwrap();
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
    let sink = Sink::start().await.unwrap();
    let mut world = world(&sink).await.unwrap();
    world.load.set_rate(SURGE_RATE);
    world
        .wait_until_firing(Duration::from_secs(40))
        .await
        .unwrap();
    posted(&sink, "firing").await.unwrap();
    world.load.set_rate(USUAL_RATE);
    world
        .wait_until_resolved(Duration::from_secs(40))
        .await
        .unwrap();
    assert!(world.service.is_running());
    world.service.kill_9().await.unwrap();
    assert!(!world.service.is_running());
}
