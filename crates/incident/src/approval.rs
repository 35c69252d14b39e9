//! Approval: a signed, single-use, expiring token, bound to one diff and one person.
//!
//! A [`Permit`] is the only thing that lets a forge write, and it can only be had from a verified
//! token or from a policy that asks for none. Single use is kept by the store, not here: whoever
//! acts on a token records its nonce first.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::digest::{Digest, hex};
use crate::ids::IncidentId;
use crate::proposal::{ChangeKind, Proposal};

/// What a person decided about a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Open the draft.
    Approve,
    /// Do not.
    Reject,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The incident.
    pub incident: IncidentId,
    /// Yes or no.
    pub decision: Decision,
    /// [`Proposal::digest`] of what the person saw.
    pub proposal: Digest,
    /// Who decided.
    pub person: String,
    /// Makes the token single-use.
    pub nonce: String,
    /// After this it is void.
    pub expires_at: Timestamp,
}

/// A signed approval, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalToken {
    /// What is signed.
    #[serde(flatten)]
    pub approval: Approval,
    /// HMAC-SHA256 over the approval's fields, hex.
    pub signature: String,
}

/// Longest life of a token.
pub const LIFETIME_MAX: SignedDuration = SignedDuration::from_mins(60);
/// Shortest key, in bytes.
pub const KEY_BYTES_MIN: usize = 32;

/// The key that signs and verifies approvals.
#[derive(Clone)]
pub struct ApprovalKey(Vec<u8>);

impl fmt::Debug for ApprovalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApprovalKey(***)")
    }
}

/// Why a token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadApproval {
    /// The key is too short to be one.
    #[error("the approval key has {0} bytes; it needs at least {KEY_BYTES_MIN}")]
    ShortKey(usize),
    /// Not signed with our key, or changed after signing.
    #[error("the token's signature does not match; sign it with this installation's approval key")]
    Signature,
    /// Too late.
    #[error("the token expired at {0}; ask for a new one")]
    Expired(Timestamp),
    /// Valid for longer than any token may be.
    #[error("the token expires at {0}, more than {LIFETIME_MAX:#} from now")]
    TooLong(Timestamp),
    /// Made for another proposal.
    #[error(
        "the token is for proposal {token}, but the proposal is now {current}; read the new diff"
    )]
    OtherProposal {
        /// First digits of the digest in the token.
        token: String,
        /// First digits of the digest of today's proposal.
        current: String,
    },
    /// Says no.
    #[error("the token rejects the proposal")]
    Rejected,
}

impl ApprovalKey {
    /// Takes key material of at least [`KEY_BYTES_MIN`] bytes.
    ///
    /// # Errors
    /// [`BadApproval::ShortKey`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, BadApproval> {
        let bytes = bytes.into();
        if bytes.len() < KEY_BYTES_MIN {
            Err(BadApproval::ShortKey(bytes.len()))
        } else {
            Ok(Self(bytes))
        }
    }

    /// Signs an approval.
    pub fn sign(&self, approval: Approval) -> ApprovalToken {
        let signature = self.mac(&approval);
        ApprovalToken {
            approval,
            signature,
        }
    }

    /// Checks signature and life time, in that order.
    ///
    /// # Errors
    /// Why the token is refused.
    pub fn verify(&self, token: &ApprovalToken, now: Timestamp) -> Result<(), BadApproval> {
        let expected = self.mac(&token.approval);
        if !bool::from(expected.as_bytes().ct_eq(token.signature.as_bytes())) {
            return Err(BadApproval::Signature);
        }
        Self::in_time(token.approval.expires_at, now)
    }

    /// Whether something signed is good at `now`.
    pub(crate) fn in_time(expires_at: Timestamp, now: Timestamp) -> Result<(), BadApproval> {
        if expires_at <= now {
            return Err(BadApproval::Expired(expires_at));
        }
        if expires_at.duration_since(now) > LIFETIME_MAX {
            return Err(BadApproval::TooLong(expires_at));
        }
        Ok(())
    }

    fn mac(&self, approval: &Approval) -> String {
        let decision = match approval.decision {
            Decision::Approve => "approve",
            Decision::Reject => "reject",
        };
        let expires_at = approval.expires_at.to_string();
        let fields = [
            approval.incident.as_str(),
            decision,
            approval.proposal.as_str(),
            &approval.person,
            &approval.nonce,
            &expires_at,
        ];
        self.seal("approval/1", fields)
    }

    /// HMAC-SHA256 over a list of fields, hex. No two domains have a seal in common.
    pub(crate) fn seal<'a>(
        &self,
        domain: &'a str,
        fields: impl IntoIterator<Item = &'a str>,
    ) -> String {
        let message = Digest::of_fields(domain, fields);
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(message.as_str().as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

/// Which kinds of change a person must approve. From the configuration, never from an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalPolicy {
    /// Kinds that need an approval.
    pub needed_for: Vec<ChangeKind>,
}

/// Leave to open the draft of one proposal. Its fields are private: it comes from
/// [`Permit::from_token`] or [`Permit::from_policy`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    proposal: Digest,
    approved_by: Option<String>,
}

impl Permit {
    /// Leave by a person's token. The token must have been verified when it arrived; its life time
    /// is not looked at again, because the decision was made while it was valid and the work may
    /// resume later.
    ///
    /// # Errors
    /// The signature is wrong, it says no, or it was given for another diff.
    pub fn from_token(
        key: &ApprovalKey,
        token: &ApprovalToken,
        proposal: &Proposal,
    ) -> Result<Self, BadApproval> {
        if !bool::from(
            key.mac(&token.approval)
                .as_bytes()
                .ct_eq(token.signature.as_bytes()),
        ) {
            return Err(BadApproval::Signature);
        }
        if token.approval.decision == Decision::Reject {
            return Err(BadApproval::Rejected);
        }
        let current = proposal.digest();
        if token.approval.proposal != current
            || token.approval.incident != proposal.request.incident
        {
            return Err(BadApproval::OtherProposal {
                token: token.approval.proposal.short(12).to_owned(),
                current: current.short(12).to_owned(),
            });
        }
        Ok(Self {
            proposal: current,
            approved_by: Some(token.approval.person.clone()),
        })
    }

    /// Leave by policy, for kinds that need no approval.
    pub fn from_policy(policy: &ApprovalPolicy, proposal: &Proposal) -> Option<Self> {
        let needed = policy.needed_for.contains(&proposal.request.kind);
        (!needed).then(|| Self {
            proposal: proposal.digest(),
            approved_by: None,
        })
    }

    /// Whether this is leave for exactly this proposal.
    pub fn covers(&self, proposal: &Proposal) -> bool {
        self.proposal == proposal.digest()
    }

    /// Who gave it.
    pub fn approved_by(&self) -> Option<&str> {
        self.approved_by.as_deref()
    }
}
