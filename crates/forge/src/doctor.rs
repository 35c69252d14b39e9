//! What `nightshift doctor` can say about a repository without changing it.

use incident::error::Classify as _;
use incident::error::Code;
use incident::ports::Cx;
use runtime::git::{Call, GitError, Mirror};

use crate::guard::is_guarded;
use crate::plain::PlainGit;

/// What keeps the bot from the base branch, besides our own types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseProtection {
    /// The remote is on this machine and has our hook.
    Guarded,
    /// The remote takes nothing from these credentials: reading works, drafts will not.
    ReadOnly(String),
    /// The remote takes pushes from these credentials, and only it knows whether it would take one to
    /// the base branch. Protect the branch there.
    Unproven,
}

/// What was found about one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The configured repository's name.
    pub repository: String,
    /// What keeps the bot from the base branch, or why nothing could be found out.
    pub base: Result<BaseProtection, (Code, String)>,
}

impl Finding {
    /// Whether a person should do something about it.
    pub fn is_warning(&self) -> bool {
        !matches!(self.base, Ok(BaseProtection::Guarded))
    }

    /// For people.
    pub fn text(&self) -> String {
        let name = &self.repository;
        match &self.base {
            Ok(BaseProtection::Guarded) => {
                format!("{name}: the guard refuses everything but new branches under agent/")
            }
            Ok(BaseProtection::ReadOnly(why)) => {
                format!("{name}: can be read, but no draft can be pushed ({why})")
            }
            Ok(BaseProtection::Unproven) => format!(
                "{name}: the remote takes pushes from these credentials; protect the base branch there \
                 (or install the guard hook), a dry run cannot show whether it is"
            ),
            Err((code, why)) => format!("{name}: {code}: {why}"),
        }
    }
}

impl PlainGit {
    /// Looks at every repository. Nothing is changed: the push is a dry run, and what it would push
    /// to the base branch is what the base branch already holds.
    pub async fn doctor_check(&self, cx: &Cx) -> Vec<Finding> {
        let mut findings = Vec::new();
        for mirror in &self.mirrors {
            let base = protection(mirror, cx).await;
            findings.push(Finding {
                repository: mirror.repository().name.clone(),
                base: base.map_err(|error| (error.code(), error.to_string())),
            });
        }
        findings
    }
}

async fn protection(mirror: &Mirror, cx: &Cx) -> Result<BaseProtection, GitError> {
    let tip = mirror.refresh(cx).await?.tip;
    let repository = mirror.repository();
    let call = Call::new("push")
        .flags(&[
            "--dry-run",
            "--porcelain",
            "--no-verify",
            "--recurse-submodules=no",
        ])
        .operand(&repository.remote)
        .operand(format!("{tip}:refs/heads/{}", repository.base));
    match mirror.talk(call, cx).await {
        Ok(_) if repository.local_path().is_some_and(is_guarded) => Ok(BaseProtection::Guarded),
        Ok(_) => Ok(BaseProtection::Unproven),
        Err(error @ (GitError::Denied { .. } | GitError::NotFound { .. })) => {
            Ok(BaseProtection::ReadOnly(error.to_string()))
        }
        Err(error) => Err(error),
    }
}
