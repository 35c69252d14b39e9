//! What reverting a commit on top of a base would give.
//!
//! It is Git's own three-way merge, the one `git revert` runs: base = the commit, ours = the branch,
//! theirs = the commit's first parent. It runs on trees alone, without a checkout, so that no filter,
//! hook, symbolic link or file system of ours takes part, and a large repository costs no more than a
//! small one. A test compares the result with `git revert` on random histories.

use std::path::Path;

use incident::ports::{Cx, ForgeError};
use runtime::git::{Call, FileDelta, Mirror, Oid};

use crate::plain::failed;

/// A revert that merged cleanly and changes something.
#[derive(Debug)]
pub(crate) struct Revert {
    /// The tree after it.
    pub(crate) tree: Oid,
    /// The files it touches.
    pub(crate) deltas: Vec<FileDelta>,
    /// The whole patch.
    pub(crate) diff: String,
}

/// The most paths named in a message.
const NAMED_MAX: usize = 5;

/// Reverts `commit` on top of `base`; a merge is reverted against its first parent. Objects go to
/// `scratch` if there is one, else to the mirror.
pub(crate) async fn revert(
    mirror: &Mirror,
    (commit, base): (&Oid, &Oid),
    scratch: Option<&Path>,
    diff_max: usize,
    cx: &Cx,
) -> Result<Revert, ForgeError> {
    let step = mirror.step(commit, cx).await.map_err(failed)?;
    let before = match step.parents.first() {
        Some(parent) => mirror.tree(parent, cx).await.map_err(failed)?,
        None => mirror.empty_tree(cx).await.map_err(failed)?,
    };
    let after = mirror.tree(commit, cx).await.map_err(failed)?;
    let current = mirror.tree(base, cx).await.map_err(failed)?;
    let tree = merge(mirror, (&after, &current, &before), scratch, cx).await?;
    if tree == current {
        let why = format!(
            "reverting {} changes nothing, its effect is no longer there",
            commit.short()
        );
        return Err(ForgeError::Unfit(why));
    }
    let deltas = mirror
        .deltas(&current, &tree, scratch, cx)
        .await
        .map_err(failed)?;
    let diff = mirror
        .patch(&current, &tree, scratch, diff_max, cx)
        .await
        .map_err(failed)?;
    let diff = String::from_utf8_lossy(&diff).into_owned();
    Ok(Revert { tree, deltas, diff })
}

/// The three-way merge of trees (common, ours, theirs).
async fn merge(
    mirror: &Mirror,
    (common, ours, theirs): (&Oid, &Oid, &Oid),
    scratch: Option<&Path>,
    cx: &Cx,
) -> Result<Oid, ForgeError> {
    // Git 2.38 and 2.39 take commits only and find the common one themselves, hence three commits
    // that exist for this purpose alone.
    let common = tree_commit(mirror, common, None, scratch, cx).await?;
    let ours = tree_commit(mirror, ours, Some(&common), scratch, cx).await?;
    let theirs = tree_commit(mirror, theirs, Some(&common), scratch, cx).await?;
    let call = Call::new("merge-tree")
        .flags(&["--write-tree", "-z", "--name-only", "--no-messages"])
        .oid(&ours)
        .oid(&theirs)
        .answers(&[0, 1]);
    let output = mirror
        .read(mirror.with_scratch(call, scratch), cx)
        .await
        .map_err(failed)?;
    let mut fields = output.stdout.split(|b| *b == 0);
    if output.code == 0 {
        let tree = String::from_utf8_lossy(fields.next().unwrap_or_default()).into_owned();
        return Oid::parse(&tree).map_err(failed);
    }
    let files: Vec<&[u8]> = fields.skip(1).take_while(|name| !name.is_empty()).collect();
    let named: Vec<String> = files
        .iter()
        .take(NAMED_MAX)
        .map(|name| shown(name))
        .collect();
    let more = files.len().saturating_sub(NAMED_MAX);
    let more = if more == 0 {
        String::new()
    } else {
        format!(" and {more} more")
    };
    Err(ForgeError::Unfit(format!(
        "the revert conflicts with later changes in {}{more}",
        named.join(", ")
    )))
}

async fn tree_commit(
    mirror: &Mirror,
    tree: &Oid,
    parent: Option<&Oid>,
    scratch: Option<&Path>,
    cx: &Cx,
) -> Result<Oid, ForgeError> {
    let mut call = Call::new("commit-tree").oid(tree);
    if let Some(parent) = parent {
        call = call.flags(&["-p"]).oid(parent);
    }
    let call = signed("Nightshift", "nightshift@localhost", 0, call).stdin("merge input\n");
    let output = mirror
        .read(mirror.with_scratch(call, scratch), cx)
        .await
        .map_err(failed)?;
    Oid::parse(&output.text()).map_err(failed)
}

/// Author and committer of a commit that is made, and its time in seconds.
pub(crate) fn signed(name: &str, email: &str, seconds: i64, call: Call) -> Call {
    let date = format!("@{seconds} +0000");
    call.env("GIT_AUTHOR_NAME", name)
        .env("GIT_AUTHOR_EMAIL", email)
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_NAME", name)
        .env("GIT_COMMITTER_EMAIL", email)
        .env("GIT_COMMITTER_DATE", date)
}

/// A path for a person: one printable line.
pub(crate) fn shown(path: &[u8]) -> String {
    incident::Untrusted::new(String::from_utf8_lossy(path)).one_line(120)
}
