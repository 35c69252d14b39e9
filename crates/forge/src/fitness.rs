//! Whether a change is one that may be proposed at all.

use std::path::Path;

use incident::ports::{Cx, ForgeError};
use incident::untrusted::Untrusted;
use runtime::git::{Blob, FileDelta, Mirror, Oid};

use crate::config::Config;
use crate::plain::failed;
use crate::revert::{Revert, shown};

/// Kinds of Kubernetes objects that no proposal touches: who may do what, what may talk to whom,
/// secrets, data, and the definitions others depend on.
const GUARDED: [&str; 17] = [
    "Secret",
    "SealedSecret",
    "ExternalSecret",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ServiceAccount",
    "NetworkPolicy",
    "CiliumNetworkPolicy",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "MutatingAdmissionPolicy",
];

/// The longest path that may be touched, in characters.
const PATH_CHARS_MAX: usize = 400;

/// Lines added plus lines removed.
pub(crate) fn lines(deltas: &[FileDelta]) -> u32 {
    let counts = deltas.iter().flat_map(|delta| [delta.added, delta.removed]);
    counts.fold(0, |sum, count| {
        sum.saturating_add(count.unwrap_or_default())
    })
}

/// Checks limits, paths, kinds of files and kinds of objects.
pub(crate) async fn check(
    mirror: &Mirror,
    revert: &Revert,
    scratch: Option<&Path>,
    config: &Config,
    cx: &Cx,
) -> Result<(), ForgeError> {
    let unfit = |why: String| Err(ForgeError::Unfit(why));
    let (files, lines) = (revert.deltas.len(), lines(&revert.deltas));
    if files > config.files_max {
        return unfit(format!(
            "it touches {files} files, the limit is {}",
            config.files_max
        ));
    }
    if lines > config.lines_max {
        return unfit(format!(
            "it changes {lines} lines, the limit is {}",
            config.lines_max
        ));
    }
    for delta in &revert.deltas {
        if let Some(why) = refusal(mirror, delta) {
            return unfit(why);
        }
        if is_manifest(&delta.path) {
            manifest(mirror, delta, scratch, config, cx).await?;
        }
    }
    Ok(())
}

/// Why this file may not be touched, as far as its name and mode say.
fn refusal(mirror: &Mirror, delta: &FileDelta) -> Option<String> {
    let name = shown(&delta.path);
    for path in delta.old_path.iter().chain([&delta.path]) {
        // Whatever a renderer would change in the name could make it look like another.
        let printable = std::str::from_utf8(path)
            .is_ok_and(|p| Untrusted::new(p).one_line(PATH_CHARS_MAX) == p);
        if !printable {
            return Some(format!(
                "the name of {name} cannot be shown to a person as it is"
            ));
        }
        if !mirror
            .repository()
            .may_revert(&String::from_utf8_lossy(path))
        {
            return Some(format!(
                "{} is outside of the paths that may be reverted",
                shown(path)
            ));
        }
    }
    if delta.old.leads_elsewhere() || delta.new.leads_elsewhere() {
        return Some(format!("{name} is a symbolic link or a submodule"));
    }
    if delta.added.is_none() || delta.removed.is_none() {
        return Some(format!(
            "{name} is binary, so that nobody can read its diff"
        ));
    }
    None
}

fn is_manifest(path: &[u8]) -> bool {
    let path = String::from_utf8_lossy(path).to_lowercase();
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    matches!(extension, "yaml" | "yml" | "json" | "tpl")
}

async fn manifest(
    mirror: &Mirror,
    delta: &FileDelta,
    scratch: Option<&Path>,
    config: &Config,
    cx: &Cx,
) -> Result<(), ForgeError> {
    let name = shown(&delta.path);
    let read = async |side: &Blob| -> Result<String, ForgeError> {
        if !side.exists() {
            return Ok(String::new());
        }
        let object = Oid::parse(&side.object).map_err(failed)?;
        let bytes = mirror
            .blob(&object, scratch, config.manifest_max.get(), cx)
            .await;
        Ok(String::from_utf8_lossy(&bytes.map_err(failed)?).into_owned())
    };
    let (old, new) = (read(&delta.old).await?, read(&delta.new).await?);
    let guarded = kinds(&old)
        .chain(kinds(&new))
        .find(|kind| GUARDED.contains(kind));
    if let Some(kind) = guarded {
        let why = format!("{name} holds a {kind}, which no proposal touches");
        return Err(ForgeError::Unfit(why));
    }
    if !delta.new.exists() && old.contains("apiVersion") && kinds(&old).next().is_some() {
        let why = format!("it would remove {name}, and with it a live object of the cluster");
        return Err(ForgeError::Unfit(why));
    }
    Ok(())
}

/// The values of all `kind` fields, in YAML and in JSON. Also finds nested ones, such as
/// `roleRef.kind`: rather one refusal too many.
fn kinds(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', ',', '{', '}']).filter_map(|part| {
        let part = part.trim_start_matches(|c: char| c.is_whitespace() || c == '-');
        let rest = part
            .strip_prefix("kind")
            .or_else(|| part.strip_prefix("\"kind\""))?;
        let rest = rest
            .strip_prefix("'")
            .unwrap_or(rest)
            .trim_start()
            .strip_prefix(':')?;
        let value = rest.split('#').next().unwrap_or_default();
        let value = value.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
        (!value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        assert_eq!(kinds(text).collect::<Vec<_>>(), expect, "{text:?}");
    }

    #[test]
    fn kinds_are_found_in_yaml_and_json() {
        check(
            "apiVersion: v1\nkind: Secret # note\n---\nkind: \"Role\"\n",
            &["Secret", "Role"],
        );
        check(
            "- kind: ConfigMap\n  roleRef:\n    kind: ClusterRole\n",
            &["ConfigMap", "ClusterRole"],
        );
        check(
            "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"x\":{\"kind\" : \"List\"}}",
            &["Secret", "List"],
        );
        check("{apiVersion: v1, kind: Secret}", &["Secret"]);
        check("kindness: 1\nmykind: x\nkind:\n", &[]);
    }
}
