//! Edits that cannot change what runs: documentation, tests, dashboards, comments, white space.

use std::collections::BTreeMap;

use incident::FileChange;

use super::edits::Run;

fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ending.to_lowercase()
}

pub(super) fn is_settings(path: &str) -> bool {
    const ENDINGS: [&str; 11] = [
        "yaml",
        "yml",
        "toml",
        "json",
        "ini",
        "env",
        "conf",
        "cfg",
        "properties",
        "tfvars",
        "hcl",
    ];
    ENDINGS.contains(&extension(path).as_str())
}

/// Why a file at this path cannot change what runs.
pub(super) fn by_path(path: &str) -> Option<&'static str> {
    let lower = path.to_lowercase();
    let mut parts: Vec<&str> = lower.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    let ending = extension(path);
    let folder = |names: &[&str]| parts.iter().any(|part| names.contains(part));
    let base = name.split('.').next().unwrap_or_default();
    if folder(&["docs", "doc"])
        || matches!(ending.as_str(), "md" | "rst" | "adoc")
        || matches!(
            base,
            "license" | "notice" | "codeowners" | "changelog" | "readme" | "authors"
        )
    {
        return Some("documentation");
    }
    if folder(&[
        "test",
        "tests",
        "testdata",
        "__tests__",
        "fixtures",
        "__snapshots__",
        "e2e",
    ]) || base.ends_with("_test")
        || base.ends_with("_spec")
        || base.starts_with("test_")
        || name.contains(".test.")
        || name.contains(".spec.")
        || ending == "snap"
    {
        return Some("tests");
    }
    if folder(&["dashboards", "grafana"]) && ending.starts_with("json") {
        return Some("dashboards");
    }
    if folder(&[".github", ".circleci", ".gitlab", ".vscode", ".idea"])
        || matches!(
            name,
            ".gitlab-ci.yml" | "jenkinsfile" | ".editorconfig" | ".gitignore"
        )
        || matches!(
            name,
            ".gitattributes" | ".pre-commit-config.yaml" | "renovate.json"
        )
    {
        return Some("build and editor settings");
    }
    None
}

/// Why the changed lines of a file cannot change what runs. A diff that is missing or cut says
/// nothing.
pub(super) fn by_lines(path: &str, file: &FileChange, runs: &[Run<'_>]) -> Option<&'static str> {
    let (mut added, mut removed) = (0_u32, 0_u32);
    let mut balance: BTreeMap<String, i64> = BTreeMap::new();
    let mut comments_only = true;
    for run in runs {
        for (lines, sign) in [(&run.added, 1), (&run.removed, -1)] {
            for line in lines {
                comments_only &= line.trim().is_empty() || is_comment(path, line);
                let bare: String = line.chars().filter(|c| !c.is_whitespace()).collect();
                if !bare.is_empty() {
                    *balance.entry(bare).or_default() += sign;
                }
            }
        }
        added = added.saturating_add(u32::try_from(run.added.len()).unwrap_or(u32::MAX));
        removed = removed.saturating_add(u32::try_from(run.removed.len()).unwrap_or(u32::MAX));
    }
    let whole = file.added == Some(added) && file.removed == Some(removed) && added + removed > 0;
    if !whole {
        return None;
    }
    if comments_only {
        return Some("comments");
    }
    // Order and indentation mean something in some languages; equal lines in equal order elsewhere.
    let only_space = balance.values().all(|n| *n == 0) && !indentation_matters(path);
    let same_order = runs.iter().all(|run| {
        let bare = |lines: &[&str]| -> String {
            let chars = lines.iter().flat_map(|line| line.chars());
            chars.filter(|c| !c.is_whitespace()).collect()
        };
        bare(&run.added) == bare(&run.removed)
    });
    (only_space && same_order).then_some("white space")
}

fn indentation_matters(path: &str) -> bool {
    matches!(
        extension(path).as_str(),
        "py" | "yaml" | "yml" | "haml" | "pug" | "coffee" | "mk" | "nim"
    ) || path.to_lowercase().ends_with("makefile")
}

pub(super) fn is_comment(path: &str, line: &str) -> bool {
    let line = line.trim();
    let ending = extension(path);
    let hash_is_code = matches!(
        ending.as_str(),
        "c" | "cc" | "cpp" | "h" | "hpp" | "rs" | "cs" | "md" | "css" | "scss" | "js" | "ts"
    );
    let slash_is_comment = !matches!(ending.as_str(), "py" | "yaml" | "yml" | "sh" | "toml");
    (slash_is_comment && (line.starts_with("//") || line.starts_with("/*") || line == "*/"))
        || (line.starts_with('#') && !line.starts_with("#!") && !hash_is_code)
        || (matches!(ending.as_str(), "sql" | "lua" | "hs") && line.starts_with("--"))
        || line.starts_with("<!--")
        || (matches!(ending.as_str(), "ini" | "clj" | "conf") && line.starts_with(';'))
}

#[cfg(test)]
mod tests {
    use super::super::edits;
    use crate::sample::change;

    /// Checks why a commit is inert, if it is.
    fn check(path: &str, diff: &str, expect: Option<&str>) {
        let change = change('a', 0, "x", path, diff);
        assert_eq!(
            edits::read(&change, 100, 100).inert,
            expect,
            "{path}: {diff}"
        );
    }

    #[test]
    fn what_cannot_run_is_told_from_what_can() {
        check(
            "docs/pool.md",
            "@@ -1 +1 @@\n-a\n+b\n",
            Some("documentation"),
        );
        check("src/pool_test.go", "@@ -1 +1 @@\n-a\n+b\n", Some("tests"));
        check(
            "grafana/pool.json",
            "@@ -1 +1 @@\n-a\n+b\n",
            Some("dashboards"),
        );
        check(
            ".github/workflows/ci.yml",
            "@@ -1 +1 @@\n-a\n+b\n",
            Some("build and editor settings"),
        );
        check(
            "src/pool.go",
            "@@ -1 +1 @@\n-// a\n+// b\n",
            Some("comments"),
        );
        check(
            "src/pool.go",
            "@@ -1 +1 @@\n-f(a,b)\n+f(a, b)\n",
            Some("white space"),
        );
        check("src/pool.py", "@@ -1 +1 @@\n-  f()\n+    f()\n", None);
        check("src/pool.go", "@@ -1 +1 @@\n-f(a)\n+f(b)\n", None);
        check("src/lib.rs", "@@ -1 +1 @@\n-#[cold]\n+#[hot]\n", None);
        check(
            "src/pool.go",
            "@@ -1,2 +1,2 @@\n-a()\n-b()\n+b()\n+a()\n",
            None,
        );
        check("dashboard/src/pool.json", "@@ -1 +1 @@\n-1\n+2\n", None);
    }

    #[test]
    fn a_diff_that_was_cut_is_not_called_inert() {
        let mut cut = change('a', 0, "x", "src/pool.go", "@@ -1 +1 @@\n-// a\n+// b\n");
        cut.files[0].added = Some(40);
        assert_eq!(edits::read(&cut, 100, 100).inert, None);
        let mut more = change('a', 0, "x", "docs/pool.md", "");
        more.files_left_out = 1;
        assert_eq!(edits::read(&more, 100, 100).inert, None);
    }
}
