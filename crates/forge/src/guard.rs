//! The server's own refusal: an `update` hook for bare repositories.
//!
//! It lets the bot create branches under `refs/heads/agent/`, one commit ahead of the base branch,
//! and nothing else. People are not restricted by it.
//!
//! Who pushes is what the server says: `REMOTE_USER` (git over HTTP), `GL_USER` (gitolite),
//! `GITEA_PUSHER_NAME` (Forgejo, Gitea), else the account the hook runs under. When nobody can be
//! named the bot's rules hold. For a repository on the same machine, under the same account as
//! Nightshift, the hook stops mistakes, not an intruder who already has that account; give the bot an
//! account of its own where that matters.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use incident::error::{Classify, Code, Kind};

/// First words of our hook: what may be replaced.
const MARK: &str = "# nightshift-guard/1";

/// Who the hook holds for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bot {
    /// Whoever pushes: for a repository that people do not push to directly.
    Everyone,
    /// The pusher of this name.
    Named(String),
}

/// What is guarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The base branch.
    pub base: String,
    /// Who the hook holds for.
    pub bot: Bot,
}

/// Why the hook could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Not a bare repository.
    #[error("{0} is not a bare repository; give the folder that holds HEAD and objects/")]
    NotBare(PathBuf),
    /// There is a hook of somebody else.
    #[error("{0} exists and is not ours; call the guard from it, or move it away")]
    OtherHook(PathBuf),
    /// The file cannot be written.
    #[error("the hook {path} cannot be written: {why}")]
    Disk {
        /// The hook.
        path: PathBuf,
        /// What the operating system said.
        why: String,
    },
}

impl Classify for GuardError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotBare(_) | Self::OtherHook(_) => Kind::Permanent,
            Self::Disk { .. } => Kind::Transient,
        }
    }

    fn code(&self) -> Code {
        Code("E-FORGE-009")
    }
}

/// The `update` hook, POSIX sh.
pub fn hook_script(guard: &Guard) -> String {
    let people = match &guard.bot {
        Bot::Everyone => String::new(),
        Bot::Named(name) => format!(
            "who=${{REMOTE_USER:-${{GL_USER:-${{GITEA_PUSHER_NAME:-$(id -un 2>/dev/null)}}}}}}\n\
             bot={}\n\
             if [ -n \"$who\" ] && [ \"$who\" != \"$bot\" ]; then exit 0; fi\n",
            quoted(name)
        ),
    };
    format!(
        r#"#!/bin/sh
{MARK}: the bot creates branches under refs/heads/agent/ and nothing else.
ref=$1 old=$2 new=$3
base={base}
refuse() {{ echo "nightshift-guard: $1 ($ref)" >&2; exit 1; }}
{people}case $ref in
refs/heads/agent/?*/?*) ;;
*) refuse "only branches under agent/ may be created" ;;
esac
case $old in
*[!0]*) refuse "a branch that exists is never changed or removed" ;;
esac
case $new in
*[!0]*) ;;
*) refuse "nothing is ever removed" ;;
esac
[ "$(git cat-file -t "$new" 2>/dev/null)" = commit ] || refuse "not a commit"
[ "$(git rev-list --count "$new" "^refs/heads/$base" 2>/dev/null)" = 1 ] || refuse "not one commit ahead of $base"
exit 0
"#,
        base = quoted(&guard.base),
    )
}

/// Puts the hook into a bare repository, in place of an older one of ours.
///
/// # Errors
/// [`GuardError`]; what was there is still there.
pub fn install_guard(bare_repo: &Path, guard: &Guard) -> Result<(), GuardError> {
    if !bare_repo.join("HEAD").is_file() || !bare_repo.join("objects").is_dir() {
        return Err(GuardError::NotBare(bare_repo.to_owned()));
    }
    let hook = bare_repo.join("hooks/update");
    if hook.exists() && !is_guarded(bare_repo) {
        return Err(GuardError::OtherHook(hook));
    }
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(bare_repo.join("hooks"))?;
        let new = bare_repo.join("hooks/update.new");
        std::fs::write(&new, hook_script(guard))?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&new, &hook)
    };
    write().map_err(|error| GuardError::Disk {
        path: hook.clone(),
        why: error.to_string(),
    })
}

/// Whether a bare repository has our hook, and it can run.
pub fn is_guarded(bare_repo: &Path) -> bool {
    let hook = bare_repo.join("hooks/update");
    let ours = std::fs::read_to_string(&hook).is_ok_and(|text| text.contains(MARK));
    let runs = std::fs::metadata(&hook).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0);
    ours && runs
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
