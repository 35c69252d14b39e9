//! The one branch a request can be pushed to.

use incident::ids::IncidentId;
use incident::ports::ForgeError;
use incident::proposal::ChangeRequest;
use runtime::git::Oid;

/// `agent/<incident>/<kind>-<hash8>`: made from a request and from nothing else.
///
/// The only thing that can be said with it is "create this branch at that commit": there is no way to
/// name another branch or a tag, to force (`+`), or to delete (an empty or zero source).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchName(String);

impl BranchName {
    /// The branch of `request`, which must not be the base branch or stand in its way.
    ///
    /// # Errors
    /// [`ForgeError::Unfit`] when the request's incident is not an incident id, or the base branch
    /// itself lies where drafts go.
    pub fn of(request: &ChangeRequest, base: &str) -> Result<Self, ForgeError> {
        IncidentId::parse(request.incident.as_str())
            .map_err(|error| ForgeError::Unfit(error.to_string()))?;
        if base == "agent" || base.starts_with("agent/") {
            let why = format!("base branch {base:?} lies under agent/, where only drafts go");
            return Err(ForgeError::Unfit(why));
        }
        Ok(Self(request.branch()))
    }

    /// Its name, without `refs/heads/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What to push: `<commit>:refs/heads/<branch>`.
    pub(crate) fn refspec(&self, commit: &Oid) -> Result<String, ForgeError> {
        if commit.is_zero() {
            return Err(ForgeError::Unfit("there is no commit to push".to_owned()));
        }
        Ok(format!("{commit}:refs/heads/{}", self.0))
    }

    /// The condition of the push: the branch does not exist.
    pub(crate) fn absent(&self) -> String {
        format!("refs/heads/{}:", self.0)
    }
}

#[cfg(test)]
mod tests {
    use incident::proposal::ChangeKind;

    use super::*;

    fn request(incident: &str) -> ChangeRequest {
        ChangeRequest {
            incident: IncidentId::from_stored(incident),
            kind: ChangeKind::Revert,
            repository: "shop".to_owned(),
            commit: "1".repeat(40),
        }
    }

    #[test]
    fn a_branch_says_create_and_nothing_else() {
        let branch = BranchName::of(&request("inc-0123456789ab"), "main").unwrap();
        let commit = Oid::parse(&"1".repeat(40)).unwrap();
        let refspec = branch.refspec(&commit).unwrap();
        assert_eq!(refspec, format!("{commit}:refs/heads/{}", branch.as_str()));
        assert!(
            branch
                .as_str()
                .starts_with("agent/inc-0123456789ab/revert-")
        );
        assert!(
            branch
                .refspec(&Oid::parse(&"0".repeat(40)).unwrap())
                .is_err()
        );
    }

    #[test]
    fn nothing_else_becomes_a_branch() {
        for incident in [
            "",
            "../main",
            "inc-0123456789ab/../../main",
            "inc-0123456789ab:main",
            "+x",
            "inc-0123456789AB",
        ] {
            assert!(
                BranchName::of(&request(incident), "main").is_err(),
                "{incident:?}"
            );
        }
        for base in ["agent", "agent/inc-0123456789ab"] {
            assert!(
                BranchName::of(&request("inc-0123456789ab"), base).is_err(),
                "{base:?}"
            );
        }
    }
}
