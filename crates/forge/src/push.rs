//! The one push.

use incident::ports::{Cx, ForgeError};
use incident::untrusted::Untrusted;
use runtime::git::{Call, Mirror, Oid};

use crate::branch::BranchName;
use crate::plain::failed;

/// Creates `branch` at `commit`, on condition that there is no such branch: both Git here and the
/// remote refuse otherwise. This is the only function that sends anything to a remote.
pub(crate) async fn create(
    mirror: &Mirror,
    branch: &BranchName,
    commit: &Oid,
    cx: &Cx,
) -> Result<(), ForgeError> {
    let call = Call::new("push")
        .flags(&[
            "--porcelain",
            "--no-verify",
            "--no-follow-tags",
            "--no-signed",
        ])
        .flags(&["--recurse-submodules=no"])
        .option("--force-with-lease=", branch.absent())
        .operand(&mirror.repository().remote)
        .operand(branch.refspec(commit)?)
        .answers(&[0, 1]);
    let output = mirror.talk(call, cx).await.map_err(failed)?;
    if output.code == 0 {
        return Ok(());
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let verdict = stdout
        .lines()
        .find(|line| line.starts_with('!'))
        .unwrap_or_default();
    let verdict = verdict.rsplit('\t').next().unwrap_or_default();
    let remote: Vec<&str> = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("remote:"))
        .map(str::trim)
        .collect();
    let said = format!("{verdict} {}", remote.join(" "));
    Err(ForgeError::Refused(Untrusted::new(said).one_line(300)))
}
