//! The scripts, loaded once and called by their digest.

use redis::Script;

/// Every script there is.
pub(super) struct Scripts {
    pub(super) append: Script,
    pub(super) claim: Script,
    pub(super) settle: Script,
    pub(super) takeover: Script,
    pub(super) backlog: Script,
    pub(super) dead: Script,
    pub(super) unbury: Script,
    pub(super) sweep: Script,
    pub(super) put: Script,
    pub(super) delete: Script,
    pub(super) list: Script,
    pub(super) expire: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let stream = |body: &str| {
            let prelude = include_str!("lua/prelude.lua");
            Script::new(&format!("{prelude}{body}"))
        };
        Self {
            append: stream(include_str!("lua/append.lua")),
            claim: stream(include_str!("lua/claim.lua")),
            settle: stream(include_str!("lua/settle.lua")),
            takeover: stream(include_str!("lua/takeover.lua")),
            backlog: stream(include_str!("lua/backlog.lua")),
            dead: stream(include_str!("lua/dead.lua")),
            unbury: stream(include_str!("lua/unbury.lua")),
            sweep: stream(include_str!("lua/sweep.lua")),
            put: Script::new(include_str!("lua/put.lua")),
            delete: Script::new(include_str!("lua/delete.lua")),
            list: Script::new(include_str!("lua/list.lua")),
            expire: Script::new(include_str!("lua/expire.lua")),
        }
    }
}
