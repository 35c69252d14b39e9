//! Whether a draft is still needed.

use incident::ports::{Cx, ForgeError};
use incident::proposal::DraftPr;
use runtime::git::{Mirror, Oid};

use crate::config::Config;
use crate::patch::{FileEdit, edits};
use crate::plain::failed;

/// Whether the base branch holds the draft's commit, or its effect: everything it removes is gone
/// and everything it adds is there, or what it removes was removed in another way.
///
/// Runs of lines are looked for, not whole patches, because a squashed merge with later changes
/// around it is still a merge.
pub(crate) async fn is_superseded(
    mirror: &Mirror,
    draft: &DraftPr,
    config: &Config,
    cx: &Cx,
) -> Result<bool, ForgeError> {
    let tip = mirror.fetch(cx).await.map_err(failed)?.tip;
    let commit = Oid::parse(&draft.commit).map_err(failed)?;
    if mirror.has_commit(&commit, cx).await.map_err(failed)?
        && mirror
            .is_ancestor(&commit, &tip, cx)
            .await
            .map_err(failed)?
    {
        return Ok(true);
    }
    let edits = edits(&draft.diff);
    for edit in &edits {
        if !took_place(mirror, edit, &tip, config, cx).await? {
            return Ok(false);
        }
    }
    Ok(!edits.is_empty())
}

async fn took_place(
    mirror: &Mirror,
    edit: &FileEdit,
    tip: &Oid,
    config: &Config,
    cx: &Cx,
) -> Result<bool, ForgeError> {
    if edit.removed.is_empty() && edit.added.is_empty() {
        return Ok(false);
    }
    let file = mirror
        .file(tip, &edit.path, config.manifest_max.get(), cx)
        .await
        .map_err(failed)?;
    let text = file.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let lines: Vec<&str> = text.as_deref().unwrap_or_default().lines().collect();
    let holds = |run: &Vec<String>| {
        let width = run.len();
        lines
            .windows(width)
            .any(|window| window.iter().zip(run).all(|(a, b)| a == b))
    };
    if edit.removed.is_empty() {
        return Ok(edit.added.iter().all(holds));
    }
    Ok(!edit.removed.iter().any(holds))
}
