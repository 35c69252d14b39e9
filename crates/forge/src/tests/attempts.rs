//! Everything the bot must not do, tried with Git itself under the bot's account: the guard is the
//! only thing in the way, none of our own code is.

use std::fmt::Write as _;
use std::process::Command;

use super::*;

/// Pushes as the bot; what the remote says, or `accepted`.
fn push(world: &World, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(&world.bench.work)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", world.dir.path())
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["push", "-q", "origin"])
        .args(args)
        .output()
        .unwrap();
    if output.status.success() {
        return "accepted".to_owned();
    }
    let stderr = String::from_utf8(output.stderr).unwrap();
    let said = stderr
        .lines()
        .find_map(|line| line.strip_prefix("remote: nightshift-guard: "));
    let said = said.and_then(|said| said.split(" (").next());
    said.map_or_else(
        || format!("refused by Git: {stderr}"),
        |said| format!("refused: {said}"),
    )
}

/// Name and arguments of `git push`; DRAFT is the draft's branch, NEXT a commit on top of it, OTHER a
/// name that a draft could have.
const ATTEMPTS: [(&str, &str); 20] = [
    ("update base", "one:refs/heads/main"),
    ("force base", "+old:refs/heads/main"),
    (
        "force base with lease",
        "--force-with-lease old:refs/heads/main",
    ),
    ("delete base", ":refs/heads/main"),
    ("delete base (--delete)", "--delete main"),
    ("update draft", "NEXT:refs/heads/DRAFT"),
    ("rewrite draft", "+one:refs/heads/DRAFT"),
    ("delete draft", ":refs/heads/DRAFT"),
    ("another branch", "one:refs/heads/feature"),
    ("a branch beside agent/", "one:refs/heads/agentx/a/b"),
    ("a branch right below agent/", "one:refs/heads/agent/x"),
    ("a tag", "v1"),
    ("a tag under agent/", "one:refs/tags/agent/a/b"),
    ("notes", "one:refs/notes/agent/b"),
    ("a review", "one:refs/for/main"),
    ("everything", "--all"),
    ("a mirror", "--mirror"),
    ("a draft of two commits", "two:refs/heads/OTHER"),
    ("a draft without a commit", "old:refs/heads/OTHER"),
    ("a draft that is a tree", "one^{tree}:refs/heads/OTHER"),
];

#[tokio::test]
async fn the_bot_can_create_a_draft_branch_and_nothing_else() {
    let world = World::new();
    let proposal = world.proposal(&world.bad_change()).await;
    let draft = world
        .forge
        .propose(&proposal, &by_policy(&proposal), &cx())
        .await
        .unwrap();
    let refs = || world.bench.git_bare(&["for-each-ref"]).unwrap();
    let before = refs();
    // Git's own protections go, so that only the guard is left.
    world
        .bench
        .git_bare(&["config", "receive.denyDeleteCurrent", "ignore"])
        .unwrap();
    let git = |args: &[&str]| world.bench.git(args).unwrap();
    git(&["fetch", "-q", "origin", &draft.branch]);
    let next = git(&[
        "commit-tree",
        "-p",
        "FETCH_HEAD",
        "-m",
        "next",
        "FETCH_HEAD^{tree}",
    ]);
    git(&["branch", "old", "HEAD~1"]);
    git(&["tag", "v1"]);
    for name in ["one", "two"] {
        git(&["commit", "-q", "--allow-empty", "-m", name]);
        git(&["branch", name]);
    }
    let mut told = String::new();
    for (name, args) in ATTEMPTS {
        let args = args.replace("NEXT", &next).replace("DRAFT", &draft.branch);
        let args = args.replace("OTHER", "agent/inc-0123456789ab/revert-00000000");
        let args: Vec<&str> = args.split(' ').collect();
        writeln!(told, "{name:28} {}", push(&world, &args)).unwrap();
        assert_eq!(refs(), before, "{name}");
    }
    insta::assert_snapshot!(told, @"
    update base                  refused: only branches under agent/ may be created
    force base                   refused: only branches under agent/ may be created
    force base with lease        refused: only branches under agent/ may be created
    delete base                  refused: only branches under agent/ may be created
    delete base (--delete)       refused: only branches under agent/ may be created
    update draft                 refused: a branch that exists is never changed or removed
    rewrite draft                refused: a branch that exists is never changed or removed
    delete draft                 refused: a branch that exists is never changed or removed
    another branch               refused: only branches under agent/ may be created
    a branch beside agent/       refused: only branches under agent/ may be created
    a branch right below agent/  refused: only branches under agent/ may be created
    a tag                        refused: only branches under agent/ may be created
    a tag under agent/           refused: only branches under agent/ may be created
    notes                        refused: only branches under agent/ may be created
    a review                     refused: only branches under agent/ may be created
    everything                   refused: only branches under agent/ may be created
    a mirror                     refused: a branch that exists is never changed or removed
    a draft of two commits       refused: not one commit ahead of main
    a draft without a commit     refused: not one commit ahead of main
    a draft that is a tree       refused: not a commit
    ");
    // What it may do, and that people still may do everything.
    assert_eq!(
        push(
            &world,
            &["one:refs/heads/agent/inc-0123456789ac/revert-00000000"]
        ),
        "accepted"
    );
    git(&["push", "-q", "origin", "two:refs/heads/main", "v1"]);
    git(&["push", "-q", "origin", "--delete", &draft.branch]);
}

#[tokio::test]
async fn a_guard_for_everyone_holds_for_people_too() {
    let world = World::new();
    world.bad_change();
    let guard = Guard {
        base: "main".to_owned(),
        bot: Bot::Everyone,
    };
    install_guard(&world.bench.bare, &guard).unwrap();
    assert!(
        world
            .bench
            .git(&["commit", "-q", "--allow-empty", "-m", "x"])
            .is_ok()
    );
    assert!(
        world
            .bench
            .push()
            .unwrap_err()
            .to_string()
            .contains("only branches under agent/")
    );
}

#[test]
fn a_base_name_cannot_leave_its_quotes() {
    let guard = Guard {
        base: "x'; touch /tmp/y; '".to_owned(),
        bot: Bot::Named("b'c".to_owned()),
    };
    let script = crate::hook_script(&guard);
    assert!(
        script.contains(r"base='x'\''; touch /tmp/y; '\'''") && script.contains(r"bot='b'\''c'")
    );
}
