//! What befalls nodes from outside, and who starts them again.

use std::sync::Arc;
use std::time::Duration;

use runtime::TaskKind;

use super::node::Node;
use super::plan::Blow;
use super::watch::Fault;
use super::world::World;

/// How long a node may take to leave in order.
const GRACE: Duration = Duration::from_secs(25);

/// Starts the nodes, and whatever will befall them.
pub(super) fn start(world: &Arc<World>) {
    for place in 0..world.plan.nodes {
        let keeper = Arc::clone(world);
        world.actors.spawn(TaskKind::Work, "keeper", async move {
            keep(&keeper, place).await;
        });
    }
    for (at, place, blow) in world.plan.blows.clone() {
        let world = Arc::clone(world);
        let actors = world.actors.clone();
        actors.spawn(TaskKind::Work, "blow", async move {
            world.clock.pause(at).await;
            if let Some(node) = world.node(place) {
                strike(&world, &node, blow).await;
            }
        });
    }
    for at in world.plan.moves.clone() {
        let world = Arc::clone(world);
        let actors = world.actors.clone();
        actors.spawn(TaskKind::Work, "move", async move {
            world.clock.pause(at).await;
            world.watch.fault("forge", Fault::BaseMoved, "");
            world.remote.state().base += 1;
        });
    }
}

/// Starts a node again whenever it is gone.
async fn keep(world: &Arc<World>, place: usize) {
    for number in 0.. {
        let node = Node::start(world, place, number);
        world.set_node(place, Some(Arc::clone(&node)));
        tokio::select! {
            biased;
            () = node.life.dead() => {}
            () = node.life.front.service_failed() => {
                world.watch.check("no service ends by itself", false, || node.life.name().to_owned());
                node.life.crash();
            }
        }
        world.watch.note(node.life.name(), "is gone", "", number);
        world.set_node(place, None);
        drop(node);
        let down = world.chance.millis(200, 20_000);
        world.clock.pause(down).await;
    }
}

async fn strike(world: &World, node: &Node, blow: Blow) {
    let (life, who) = (&node.life, node.life.name());
    match blow {
        Blow::Crash => {
            world.watch.fault(who, Fault::Crash, "from outside");
            life.crash();
        }
        Blow::Freeze(length) => {
            world.watch.fault(who, Fault::Freeze, "");
            life.freeze(length);
        }
        Blow::Drain => {
            world.watch.fault(who, Fault::Drain, "");
            life.front.drain(GRACE).await;
            life.back.drain(GRACE / 4).await;
            life.crash();
        }
    }
}
