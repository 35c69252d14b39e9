//! A small disk of its own that can be filled.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Room for a run, and small enough to fill at once.
const SIZE_MIB: usize = 96;
const MIB: usize = 1024 * 1024;

/// A mounted tmpfs. Dropping it unmounts it.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
}

impl Disk {
    /// Whether this user may mount: only root.
    pub(crate) fn is_allowed() -> bool {
        std::fs::metadata("/proc/self")
            .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
    }

    /// Mounts it at a new folder.
    pub(crate) fn mount(path: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&path)?;
        let size = format!("size={SIZE_MIB}m,mode=755");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&path))?;
        Ok(Self { path })
    }

    /// Takes the last byte.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(self.ballast())?;
        let mut piece = MIB;
        // Smaller pieces at the end, until not even one byte fits.
        while piece > 0 {
            if file.write_all(&vec![7; piece]).is_err() {
                piece /= 2;
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub(crate) fn free(&self) -> Result<()> {
        std::fs::remove_file(self.ballast()).context("the disk was not filled")
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may still be leaving.
        run(Command::new("umount").arg("-l").arg(&self.path)).ok();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("mount cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", said.trim());
    Ok(())
}
