//! What a revert is: Git's own, and only a fit one.

use std::fmt::Write as _;
use std::os::unix::fs::symlink;

use super::*;

#[tokio::test]
async fn a_preview_is_the_revert_and_leaves_nothing_behind() {
    let world = World::new();
    let bad = world.bad_change();
    let preview = world.proposal(&bad).await.preview;
    let tip = world.bench.git(&["rev-parse", "HEAD"]).unwrap();
    assert_eq!((preview.base.as_str(), preview.base_commit), ("main", tip));
    assert_eq!(
        (preview.files, preview.lines),
        (vec!["cart/pool.toml".to_owned()], 2)
    );
    insta::assert_snapshot!(preview.diff, @"
    diff --git a/cart/pool.toml b/cart/pool.toml
    index aedfda57bfa4dff393018a179cdc7c2f1853c788..d116b43e8ce5875afb4a058d952056bda0e33c30 100644
    --- a/cart/pool.toml
    +++ b/cart/pool.toml
    @@ -1,7 +1,7 @@
     # pool
     [pool]
     min = 1
    -max = 5
    +max = 50
     idle = 10
     
     [log]
    ");
    assert_eq!(world.branches(), "main");
    let scratch = world.dir.path().join("data/git/scratch");
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
}

#[tokio::test]
async fn what_cannot_be_reverted_says_why() {
    let world = World::new();
    let bad = world.bad_change();
    world.commit(
        7,
        "Touch it again",
        &[("cart/pool.toml", Some("max = 7\n"))],
    );
    insta::assert_snapshot!(world.refuses(&bad).await, @"the change cannot be made: the revert conflicts with later changes in cart/pool.toml");
    insta::assert_snapshot!(world.refuses(&"1".repeat(40)).await, @"the change cannot be made: commit 1111111111 is not on branch main");
    insta::assert_snapshot!(world.refuses("HEAD").await, @"the change cannot be made: the commit is not a full object name");
    let last = world.commit(8, "Again", &[("x", Some("1\n"))]);
    world.commit(9, "And back", &[("x", None)]);
    let undone = world.refuses(&last).await;
    assert!(undone.contains("changes nothing"), "{undone}");
    world.bench.git(&["checkout", "-q", "-b", "side"]).unwrap();
    world
        .bench
        .git(&["commit", "-q", "--allow-empty", "-m", "elsewhere"])
        .unwrap();
    world.bench.git(&["push", "-q", "origin", "side"]).unwrap();
    let elsewhere = world.bench.git(&["rev-parse", "HEAD"]).unwrap();
    assert!(
        world
            .refuses(&elsewhere)
            .await
            .contains("is not on branch main")
    );
}

#[tokio::test]
async fn unfit_files_are_refused() {
    let world = World::new();
    world.commit(0, "Begin", &[("a", Some("1\n"))]);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: MQ==}\n";
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n";
    let many = "line\n".repeat(500);
    let cases: [(&str, &str, &str); 7] = [
        ("pipeline", ".github/workflows/x.yml", "on: push\n"),
        ("owners", "docs/CODEOWNERS", "* @ada\n"),
        ("secret", "k8s/secret.yaml", secret),
        ("manifest", "k8s/map.yaml", config_map),
        ("long", "long.txt", &many),
        ("binary", "logo.png", "\0\0"),
        ("deceptive", "a\u{202e}b", "x\n"),
    ];
    let mut told = String::new();
    for (name, path, content) in cases {
        let commit = world.commit(1, name, &[(path, Some(content))]);
        writeln!(told, "{name}: {}", world.refuses(&commit).await).unwrap();
    }
    symlink("/etc/passwd", world.bench.work.join("link")).unwrap();
    let commit = world.bench.commit_all("Eve", at(2), "link").unwrap();
    writeln!(told, "link: {}", world.refuses(&commit).await).unwrap();
    let files: Vec<String> = (0..30).map(|n| format!("f{n}")).collect();
    let files: Vec<_> = files
        .iter()
        .map(|name| (name.as_str(), Some("1\n")))
        .collect();
    let commit = world.commit(3, "files", &files);
    writeln!(told, "files: {}", world.refuses(&commit).await).unwrap();
    insta::assert_snapshot!(told, @"
    pipeline: the change cannot be made: .github/workflows/x.yml is outside of the paths that may be reverted
    owners: the change cannot be made: docs/CODEOWNERS is outside of the paths that may be reverted
    secret: the change cannot be made: k8s/secret.yaml holds a Secret, which no proposal touches
    manifest: the change cannot be made: it would remove k8s/map.yaml, and with it a live object of the cluster
    long: the change cannot be made: it changes 500 lines, the limit is 400
    binary: the change cannot be made: logo.png is binary, so that nobody can read its diff
    deceptive: the change cannot be made: the name of ab cannot be shown to a person as it is
    link: the change cannot be made: link is a symbolic link or a submodule
    files: the change cannot be made: it touches 30 files, the limit is 20
    ");
}

#[tokio::test]
async fn a_merge_is_reverted_whole() {
    let world = World::new();
    world.bad_change();
    world.bench.git(&["checkout", "-q", "-b", "side"]).unwrap();
    world
        .bench
        .git(&["commit", "-q", "--allow-empty", "-m", "empty"])
        .unwrap();
    std::fs::write(world.bench.work.join("cart/timeout.toml"), "ms = 5\n").unwrap();
    world.bench.git(&["add", "--all"]).unwrap();
    world
        .bench
        .git(&["commit", "-q", "-m", "On the side"])
        .unwrap();
    world.bench.git(&["checkout", "-q", "main"]).unwrap();
    world
        .bench
        .git(&["merge", "-q", "--no-ff", "-m", "Merge side", "side"])
        .unwrap();
    world.bench.push().unwrap();
    let merge = world.bench.git(&["rev-parse", "HEAD"]).unwrap();
    let preview = world.proposal(&merge).await.preview;
    assert_eq!(preview.files, ["cart/timeout.toml"]);
    assert!(preview.diff.contains("deleted file mode"));
}

/// The tree that `git revert` leaves, or none where it stops at a conflict.
fn reference(bench: &Workbench, commit: &str) -> Option<String> {
    let done = bench.git(&["revert", "--no-commit", commit]).is_ok();
    let tree = done.then(|| bench.git(&["write-tree"]).unwrap());
    bench.git(&["reset", "-q", "--hard", "HEAD"]).unwrap();
    tree
}

#[tokio::test]
async fn it_is_the_same_as_git_revert_on_random_histories() {
    let world = World::new();
    let mut seed = 42u64;
    let mut next = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % n
    };
    let mut commits = Vec::new();
    let mut files = vec![String::new(); 3];
    for minute in 0..25 {
        let file = usize::try_from(next(3)).unwrap();
        let mut lines: Vec<String> = files[file].lines().map(str::to_owned).collect();
        lines.resize(12, "same".to_owned());
        let line = usize::try_from(next(12)).unwrap();
        lines[line] = format!("value {}", next(4));
        files[file] = lines.join("\n") + "\n";
        let name = format!("f{file}");
        commits.push(world.commit(minute, "Change", &[(&name, Some(&files[file]))]));
    }
    let (mut clean, mut refused) = (0, 0);
    for commit in commits.iter().skip(3) {
        let expected = reference(&world.bench, commit);
        let head = world.bench.git(&["rev-parse", "HEAD^{tree}"]).unwrap();
        match (
            expected,
            proposal(&world.forge, "inc-0123456789ab", commit).await,
        ) {
            (Some(tree), Ok(proposal)) => {
                clean += 1;
                let draft = world
                    .forge
                    .propose(&proposal, &by_policy(&proposal), &cx())
                    .await
                    .unwrap();
                let made = world
                    .bench
                    .git_bare(&["rev-parse", &format!("{}^{{tree}}", draft.commit)])
                    .unwrap();
                assert_eq!(made, tree, "{commit}");
            }
            (expected, Err(ForgeError::Unfit(why))) => {
                refused += 1;
                assert!(expected.is_none_or(|tree| tree == head), "{commit} {why}");
            }
            (expected, other) => panic!("{commit}: git says {expected:?}, we say {other:?}"),
        }
    }
    assert!(clean >= 5 && refused >= 3, "{clean} {refused}");
}
