//! The message of a draft's commit.

use incident::approval::Permit;
use incident::proposal::Proposal;
use incident::untrusted::Untrusted;

/// The trailer that ties a commit to its request.
pub(crate) const KEY_TRAILER: &str = "Change-Key: ";

/// The message. Nothing in it depends on when it is written, so that a second try makes the same
/// commit. `subject` is the first line of the commit that is reverted; somebody outside wrote it.
pub(crate) fn message(proposal: &Proposal, permit: &Permit, subject: &str) -> String {
    let request = &proposal.request;
    let subject = Untrusted::new(subject).one_line(72);
    let evidence: Vec<String> = proposal.evidence.iter().map(ToString::to_string).collect();
    let evidence = if evidence.is_empty() {
        "none".to_owned()
    } else {
        evidence.join(", ")
    };
    let title = Untrusted::new(&*proposal.title).one_line(200);
    let mut text = format!(
        "Revert \"{subject}\"\n\n\
         This reverts commit {}.\n\n\
         {title}\n\
         Drafted for {}, on evidence {evidence}. A person has to merge it.\n\n\
         Incident: {}\n\
         {KEY_TRAILER}{}\n",
        Untrusted::new(&*request.commit).one_line(64),
        request.incident,
        request.incident,
        request.key(),
    );
    if let Some(person) = permit.approved_by() {
        text.push_str("Approved-by: ");
        text.push_str(&Untrusted::new(person).one_line(120));
        text.push('\n');
    }
    text
}

/// The key in a message's last paragraph, if there is exactly one.
pub(crate) fn key_of(message: &str) -> Option<&str> {
    let last = message.trim_end().rsplit("\n\n").next()?;
    let mut keys = last
        .lines()
        .filter_map(|line| line.strip_prefix(KEY_TRAILER));
    let key = keys.next()?.trim();
    keys.next().is_none().then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_trailer_in_the_last_paragraph_counts() {
        assert_eq!(key_of("a\n\nIncident: x\nChange-Key: k1\n"), Some("k1"));
        assert_eq!(key_of("Change-Key: k1\n\nother\n"), None);
        assert_eq!(key_of("a\n\nChange-Key: k1\nChange-Key: k2\n"), None);
        assert_eq!(key_of(""), None);
    }
}
