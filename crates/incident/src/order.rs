//! Orders: a person's signed word about one dead letter.
//!
//! An order needs no nonce: it is carried out at most once, because the letter is gone afterwards
//! and its id never comes back.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::approval::{ApprovalKey, BadApproval};

/// What to do with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Make it an entry of its stream again.
    Redrive,
    /// Remove it for good.
    Drop,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redrive => "redrive",
            Self::Drop => "drop",
        })
    }
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What to do.
    pub action: Action,
    /// The stream, by its short name such as `critical`.
    pub stream: String,
    /// The dead letter's id in it.
    pub letter: String,
    /// Who says so.
    pub person: String,
    /// After this the order is void.
    pub expires_at: Timestamp,
}

/// A signed order, as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOrder {
    /// What is signed.
    #[serde(flatten)]
    pub order: Order,
    /// HMAC-SHA256 over the order's fields, hex.
    pub signature: String,
}

impl Order {
    /// Signs it with this installation's key.
    pub fn sign(self, key: &ApprovalKey) -> SignedOrder {
        SignedOrder {
            signature: self.seal(key),
            order: self,
        }
    }

    fn seal(&self, key: &ApprovalKey) -> String {
        let (action, expires_at) = (self.action.to_string(), self.expires_at.to_string());
        let fields = [
            action.as_str(),
            &self.stream,
            &self.letter,
            &self.person,
            &expires_at,
        ];
        key.seal("order/1", fields)
    }
}

impl SignedOrder {
    /// The order, if it was signed with `key` and is in time.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(self, key: &ApprovalKey, now: Timestamp) -> Result<Order, BadApproval> {
        let expected = self.order.seal(key);
        if !bool::from(expected.as_bytes().ct_eq(self.signature.as_bytes())) {
            return Err(BadApproval::Signature);
        }
        ApprovalKey::in_time(self.order.expires_at, now)?;
        Ok(self.order)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn every_field_is_signed_and_time_is_kept() {
        let now: Timestamp = "2026-11-20T03:00:00Z".parse().unwrap();
        let key = ApprovalKey::new([7; 32]).unwrap();
        let order = Order {
            action: Action::Redrive,
            stream: "critical".into(),
            letter: "17".into(),
            person: "ana".into(),
            expires_at: now + SignedDuration::from_mins(5),
        };
        let signed = order.clone().sign(&key);
        assert_eq!(signed.clone().verify(&key, now), Ok(order));
        let changes: [fn(&mut Order); 5] = [
            |order| order.action = Action::Drop,
            |order| order.stream = "warning".into(),
            |order| order.letter = "18".into(),
            |order| order.person = "eve".into(),
            |order| order.expires_at += SignedDuration::from_mins(1),
        ];
        for change in changes {
            let mut forged = signed.clone();
            change(&mut forged.order);
            assert_eq!(forged.verify(&key, now), Err(BadApproval::Signature));
        }
        let other = ApprovalKey::new([8; 32]).unwrap();
        assert_eq!(
            signed.clone().verify(&other, now),
            Err(BadApproval::Signature)
        );
        let late = now + SignedDuration::from_mins(5);
        assert_eq!(
            signed.clone().verify(&key, late),
            Err(BadApproval::Expired(late))
        );
        let early = now - SignedDuration::from_mins(56);
        assert_eq!(signed.verify(&key, early), Err(BadApproval::TooLong(late)));
    }
}
