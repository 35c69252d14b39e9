//! Reading history, commits, trees and files from a mirror.

use std::path::Path;

use incident::change::{Change, FileChange};
use incident::ports::Cx;
use incident::untrusted::Untrusted;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::call::{Call, Overflow};
use super::error::GitError;
use super::landing::{Landing, believe};
use super::mirror::Mirror;
use super::oid::Oid;
use super::patch::{FileDelta, Patch, align, parse_deltas};
use crate::config::ByteSize;

/// How the flags of a comparison stand, always the same, so that names and patch text agree.
const DIFF: [&str; 5] = ["-r", "-M", "--no-ext-diff", "--no-textconv", "--no-color"];
/// Author, subject and body of a commit that are read at most.
const MESSAGE_MAX: usize = 64 * 1024;

/// How much of a change is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReadLimits {
    /// Files of one commit that are listed; the rest is counted. Services are found from all of them.
    pub files_max: usize,
    /// Bytes of one file's diff that are kept.
    pub file_diff_max: ByteSize,
    /// Bytes of one commit's diff that are kept.
    pub commit_diff_max: ByteSize,
    /// Characters of a commit message's body that are kept.
    pub body_chars: usize,
    /// Bytes of patch text that are read at most to find the beginnings of the files' diffs.
    pub patch_read_max: ByteSize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            files_max: 40,
            file_diff_max: ByteSize::kib(6),
            commit_diff_max: ByteSize::kib(32),
            body_chars: 2000,
            patch_read_max: ByteSize::mib(32),
        }
    }
}

impl Mirror {
    /// The last `max` steps of the base branch up to `tip`, newest first, with the times at which
    /// they landed ([`Landing`]). A merge is one step: what it brought is its diff against its first
    /// parent.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn history(&self, tip: &Oid, max: usize, cx: &Cx) -> Result<Vec<Landing>, GitError> {
        let call = Call::new("log")
            .flags(&[
                "--first-parent",
                "--no-show-signature",
                "--no-decorate",
                "--no-mailmap",
            ])
            .option("--max-count=", max)
            .flags(&["--format=%H%x09%P%x09%ct"])
            .oid(tip);
        let text = self.read(call, cx).await?.text();
        let mut steps = text
            .lines()
            .map(parse_step)
            .collect::<Result<Vec<_>, _>>()?;
        let claimed: Vec<_> = steps.iter().rev().map(|step| step.claimed).collect();
        let times = believe(&claimed, cx.clock.now());
        for (step, at) in steps.iter_mut().rev().zip(times) {
            step.at = at;
        }
        Ok(steps)
    }

    /// One step of the base branch in full, within `limits`.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn change(
        &self,
        step: &Landing,
        limits: &ReadLimits,
        cx: &Cx,
    ) -> Result<Change, GitError> {
        let (author, subject, body) = self.message(&step.commit, cx).await?;
        let before = self.parent_or_empty(step, cx).await?;
        let mut change = Change {
            repository: self.repository.name.clone(),
            commit: step.commit.as_str().to_owned(),
            parents: step.parents.iter().map(|p| p.as_str().to_owned()).collect(),
            author: Untrusted::new(author),
            at: step.at,
            subject: Untrusted::new(subject),
            body: Untrusted::new(body.chars().take(limits.body_chars).collect::<String>()),
            files: Vec::new(),
            files_left_out: 0,
            services: Vec::new(),
        };
        let deltas = match self.deltas(&before, &step.commit, None, cx).await {
            Err(GitError::TooLarge { .. }) => {
                change.files_left_out = self.count_files(&before, &step.commit, cx).await?;
                return Ok(change);
            }
            deltas => deltas?,
        };
        let names: Vec<String> = deltas.iter().flat_map(FileDelta::names).collect();
        change.services = self.repository.services(names.iter().map(String::as_str));
        let left_out = deltas.len().saturating_sub(limits.files_max);
        change.files_left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
        let diffs = self
            .diffs(&before, &step.commit, &deltas, limits, cx)
            .await?;
        change.files = deltas
            .iter()
            .take(limits.files_max)
            .zip(diffs)
            .map(|(delta, diff)| FileChange {
                path: Untrusted::new(delta.name()),
                added: delta.added,
                removed: delta.removed,
                diff: Untrusted::new(diff),
            })
            .collect();
        Ok(change)
    }

    /// Author, subject and body of a commit.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn message(
        &self,
        commit: &Oid,
        cx: &Cx,
    ) -> Result<(String, String, String), GitError> {
        let call = Call::new("log")
            .flags(&["-1", "--no-show-signature", "--no-decorate", "--no-mailmap"])
            .flags(&["--format=%an%x00%s%x00%b"])
            .oid(commit)
            .output_max(MESSAGE_MAX, Overflow::Cut);
        let text = self.read(call, cx).await?.text();
        let mut fields = text.splitn(3, '\0').map(str::to_owned);
        let mut field = || fields.next().unwrap_or_default();
        Ok((field(), field(), field()))
    }

    /// What differs between two trees or commits; `scratch` also holds objects.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn deltas(
        &self,
        from: &Oid,
        to: &Oid,
        scratch: Option<&Path>,
        cx: &Cx,
    ) -> Result<Vec<FileDelta>, GitError> {
        let call = Call::new("diff-tree")
            .flags(&DIFF)
            .flags(&["-z", "--raw", "--numstat", "--no-abbrev"])
            .oid(from)
            .oid(to);
        let call = self.with_scratch(call, scratch);
        parse_deltas(&self.read(call, cx).await?.stdout)
    }

    /// The whole patch between two trees or commits, at most `max` bytes.
    ///
    /// # Errors
    /// [`GitError::TooLarge`] if it is longer, and any other [`GitError`].
    pub async fn patch(
        &self,
        from: &Oid,
        to: &Oid,
        scratch: Option<&Path>,
        max: usize,
        cx: &Cx,
    ) -> Result<Vec<u8>, GitError> {
        let call = Call::new("diff-tree")
            .flags(&DIFF)
            .flags(&["-p", "--full-index"])
            .oid(from)
            .oid(to)
            .output_max(max, Overflow::Fail);
        let call = self.with_scratch(call, scratch);
        Ok(self.read(call, cx).await?.stdout)
    }

    /// Whether `ancestor` is `commit` or one of its ancestors.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn is_ancestor(
        &self,
        ancestor: &Oid,
        commit: &Oid,
        cx: &Cx,
    ) -> Result<bool, GitError> {
        let call = Call::new("merge-base")
            .flags(&["--is-ancestor"])
            .oid(ancestor)
            .oid(commit)
            .answers(&[0, 1]);
        Ok(self.read(call, cx).await?.code == 0)
    }

    /// Whether the mirror holds this commit.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn has_commit(&self, commit: &Oid, cx: &Cx) -> Result<bool, GitError> {
        let call = Call::new("cat-file")
            .flags(&["-e"])
            .oid_with(commit, "^{commit}")
            .answers(&[0, 1, 128]);
        Ok(self.read(call, cx).await?.code == 0)
    }

    /// The tree of a commit.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn tree(&self, commit: &Oid, cx: &Cx) -> Result<Oid, GitError> {
        let call = Call::new("rev-parse")
            .flags(&["--verify"])
            .oid_with(commit, "^{tree}");
        Oid::parse(&self.read(call, cx).await?.text())
    }

    /// The parents of a commit and its committer time in seconds.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn step(&self, commit: &Oid, cx: &Cx) -> Result<Landing, GitError> {
        let steps = self.history(commit, 1, cx).await?;
        steps
            .into_iter()
            .next()
            .ok_or_else(|| GitError::unreadable("a commit", b""))
    }

    /// A file's bytes, by its object name; `scratch` also holds objects.
    ///
    /// # Errors
    /// [`GitError::TooLarge`] beyond `max` bytes, and any other [`GitError`].
    pub async fn blob(
        &self,
        blob: &Oid,
        scratch: Option<&Path>,
        max: usize,
        cx: &Cx,
    ) -> Result<Vec<u8>, GitError> {
        let call = Call::new("cat-file").flags(&["blob"]).oid(blob);
        let call = self.with_scratch(call.output_max(max, Overflow::Fail), scratch);
        Ok(self.read(call, cx).await?.stdout)
    }

    /// The same command, with new objects going to `scratch` if there is one.
    pub fn with_scratch(&self, call: Call, scratch: Option<&Path>) -> Call {
        match scratch {
            Some(scratch) => call.scratch(scratch, &self.directory),
            None => call,
        }
    }

    /// The file at `path` in a tree or commit; none if there is no such file.
    ///
    /// # Errors
    /// [`GitError::TooLarge`] beyond `max` bytes, and any other [`GitError`].
    pub async fn file(
        &self,
        tree: &Oid,
        path: &str,
        max: usize,
        cx: &Cx,
    ) -> Result<Option<Vec<u8>>, GitError> {
        let call = Call::new("ls-tree")
            .flags(&["-z", "--full-tree"])
            .oid(tree)
            .operand(path);
        let listed = self.read(call, cx).await?.stdout;
        // `<mode> blob <object>\t<path>`
        let entry = listed.split(|b| *b == 0).next().unwrap_or_default();
        let entry = String::from_utf8_lossy(entry).into_owned();
        let head = entry.split('\t').next().unwrap_or_default();
        match head.split(' ').collect::<Vec<_>>().as_slice() {
            [_, "blob", object] => self
                .blob(&Oid::parse(object)?, None, max, cx)
                .await
                .map(Some),
            _ => Ok(None),
        }
    }

    async fn diffs(
        &self,
        from: &Oid,
        to: &Oid,
        deltas: &[FileDelta],
        limits: &ReadLimits,
        cx: &Cx,
    ) -> Result<Vec<String>, GitError> {
        // A file that became another kind has two sections, hence the room for twice as many.
        let mut patch = Patch::new(
            limits.file_diff_max.get(),
            limits.files_max.saturating_mul(2),
            limits.patch_read_max.get(),
        );
        let mut call = Call::new("diff-tree")
            .flags(&DIFF)
            .flags(&["-p"])
            .oid(from)
            .oid(to);
        call.overflow = Overflow::Cut;
        self.read_into(call, cx, &mut |chunk| patch.feed(chunk))
            .await?;
        let mut room = limits.commit_diff_max.get();
        let mut diffs = align(deltas, patch.finish());
        for diff in &mut diffs {
            if diff.len() > room {
                "[left out]\n".clone_into(diff);
                continue;
            }
            room -= diff.len();
        }
        Ok(diffs)
    }

    async fn count_files(&self, from: &Oid, to: &Oid, cx: &Cx) -> Result<u32, GitError> {
        let call = Call::new("diff-tree")
            .flags(&["-r", "-z", "--name-only"])
            .oid(from)
            .oid(to);
        let mut count = 0u32;
        let mut sink = |chunk: &[u8]| {
            let ends = chunk.split(|b| *b == 0).count() - 1;
            count = count.saturating_add(u32::try_from(ends).unwrap_or(u32::MAX));
            true
        };
        self.read_into(call, cx, &mut sink).await?;
        Ok(count)
    }

    /// The first parent, or the empty tree for a root commit.
    async fn parent_or_empty(&self, step: &Landing, cx: &Cx) -> Result<Oid, GitError> {
        match step.parents.first() {
            Some(parent) => Ok(parent.clone()),
            None => self.empty_tree(cx).await,
        }
    }

    /// The name of the tree without files, which Git knows without storing it.
    ///
    /// # Errors
    /// Any [`GitError`].
    pub async fn empty_tree(&self, cx: &Cx) -> Result<Oid, GitError> {
        let call = Call::new("hash-object").flags(&["-t", "tree", "--stdin"]);
        Oid::parse(&self.read(call, cx).await?.text())
    }
}

fn parse_step(line: &str) -> Result<Landing, GitError> {
    let bad = || GitError::unreadable("a line of history", line.as_bytes());
    let mut fields = line.split('\t');
    let commit = Oid::parse(fields.next().ok_or_else(bad)?)?;
    let parents = fields.next().ok_or_else(bad)?.split_whitespace();
    let parents = parents.map(Oid::parse).collect::<Result<Vec<_>, _>>()?;
    let seconds = fields.next().ok_or_else(bad)?.parse::<i64>().ok();
    let claimed = seconds.and_then(|s| Timestamp::from_second(s).ok());
    Ok(Landing {
        commit,
        parents,
        claimed,
        at: claimed.unwrap_or(Timestamp::UNIX_EPOCH),
    })
}
