//! A wall clock that can be made to jump: Debian's `faketime` library with a file that it reads again
//! every second. The monotonic clock stays true.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Where Debian installs libraries; the name of the folder below depends on the machine.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The wall clock of every process that is started with its [`Wall::environment`].
#[derive(Debug)]
pub(crate) struct Wall {
    library: PathBuf,
    file: PathBuf,
    /// Seconds by which it is off now.
    pub(crate) offset_s: i64,
}

impl Wall {
    /// A clock that is right, kept in `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let mut wall = Self {
            library: library()?,
            file: folder.join("wall-clock"),
            offset_s: 0,
        };
        wall.jump(0)?;
        Ok(wall)
    }

    /// From now on it is off by so many seconds. Processes see it within a second.
    pub(crate) fn jump(&mut self, offset_s: i64) -> Result<()> {
        // Written aside and renamed: a half-written file would be another jump.
        let aside = self.file.with_extension("new");
        std::fs::write(&aside, format!("{offset_s:+}\n"))?;
        std::fs::rename(&aside, &self.file)?;
        self.offset_s = offset_s;
        Ok(())
    }

    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            // Shared memory would outlive a killed process and meet the next one with its id.
            ("FAKETIME_DISABLE_SHM", "1".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }
}

fn library() -> Result<PathBuf> {
    let mut places = vec![Path::new(LIBRARIES).join(LIBRARY)];
    for place in std::fs::read_dir(LIBRARIES)? {
        places.push(place?.path().join(LIBRARY));
    }
    let found = places.into_iter().find(|path| path.exists());
    found.context("libfaketime is not installed; run `cargo xtask setup`")
}
