//! What is deployed against what the programs really are: names, ports, streams, configuration, and
//! the arithmetic by which the dispatcher is scaled. Nothing here needs a cluster or a container
//! engine.

mod base;
mod compose;
mod compose_world;
mod files;
mod hpa;
mod keda;
mod load;
mod night;
mod scaling;
mod schema;
mod served;
