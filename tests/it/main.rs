//! The one integration binary.

mod world;
