//! Opening a draft, finding it again, and what makes it moot.

use super::*;

#[tokio::test]
async fn a_draft_is_one_commit_on_one_branch() {
    let world = World::new();
    let proposal = world.proposal(&world.bad_change()).await;
    let permit = permit(&proposal, "ada <script>\nChange-Key: forged");
    assert_eq!(
        world.forge.find(&proposal.request, &cx()).await.unwrap(),
        None
    );
    let draft = world
        .forge
        .propose(&proposal, &permit, &cx())
        .await
        .unwrap();
    assert_eq!(world.branches(), format!("{}\nmain", draft.branch));
    let found = world.forge.find(&proposal.request, &cx()).await.unwrap();
    assert_eq!(found.as_deref(), Some(draft.commit.as_str()));
    let show = world.bench.git_bare(&[
        "show",
        "--format=%an <%ae> %cn %ct%n%P%n%B",
        "--stat",
        &draft.commit,
    ]);
    let show = show.unwrap().replace(&proposal.preview.base_commit, "BASE");
    insta::assert_snapshot!(show.replace(&proposal.request.commit, "CULPRIT"), @r#"
    Nightshift <nightshift@localhost> Nightshift 1780000360
    BASE
    Revert "Lower pool size"

    This reverts commit CULPRIT.

    Revert the pool size of cart
    Drafted for inc-0123456789ab, on evidence E1, E4. A person has to merge it.

    Incident: inc-0123456789ab
    Change-Key: e8c2483964472a966c4391e1d8defbdcd1c54020cc7670f545ea17e0e01f971a
    Approved-by: ada <script> Change-Key: forged


     cart/pool.toml | 2 +-
     1 file changed, 1 insertion(+), 1 deletion(-)
    "#);
    let again = world
        .forge
        .propose(&proposal, &permit, &cx())
        .await
        .unwrap();
    assert_eq!(again.commit, draft.commit);
    let elsewhere = World::forge_at(&world.bench, &world.dir.path().join("other"));
    let again = elsewhere.propose(&proposal, &permit, &cx()).await.unwrap();
    assert_eq!(again.commit, draft.commit);
}

#[tokio::test]
async fn leave_for_another_proposal_is_no_leave() {
    let world = World::new();
    let proposal = world.proposal(&world.bad_change()).await;
    let permit = by_policy(&proposal);
    let mut other = proposal.clone();
    other.preview.diff.push(' ');
    assert_eq!(
        world.forge.propose(&other, &permit, &cx()).await,
        Err(ForgeError::NotPermitted)
    );
    // With leave for the forged diff it is still not what a revert gives.
    let forged = world
        .forge
        .propose(&other, &by_policy(&other), &cx())
        .await
        .unwrap_err();
    insta::assert_snapshot!(forged, @"the diff is not the one that was shown; the proposal must be made and approved anew");
    let mut other = proposal.clone();
    other.request.repository = "bank".to_owned();
    let unknown = world
        .forge
        .propose(&other, &by_policy(&other), &cx())
        .await
        .unwrap_err();
    insta::assert_snapshot!(unknown, @r#"repository "bank" is not configured; add it under [[repositories]]"#);
    assert_eq!(world.branches(), "main");
}

#[tokio::test]
async fn a_base_that_moved_beside_the_change_is_fine() {
    let world = World::new();
    let proposal = world.proposal(&world.bad_change()).await;
    let text = std::fs::read_to_string(world.bench.work.join("cart/pool.toml")).unwrap();
    let moved = format!(
        "# a new first line\n{}",
        text.replace("level = 1", "level = 2")
    );
    world.commit(
        8,
        "Beside",
        &[("cart/pool.toml", Some(&moved)), ("new", Some("x\n"))],
    );
    let draft = world
        .forge
        .propose(&proposal, &by_policy(&proposal), &cx())
        .await
        .unwrap();
    let parent = world
        .bench
        .git_bare(&["rev-parse", &format!("{}^", draft.commit)])
        .unwrap();
    assert_eq!(parent, proposal.preview.base_commit);
    // And a person can merge it.
    world.bench.git(&["fetch", "-q", "origin"]).unwrap();
    world
        .bench
        .git(&["merge", "-q", "--no-edit", &draft.commit])
        .unwrap();
}

#[tokio::test]
async fn a_base_that_moved_under_the_change_is_not() {
    let world = World::new();
    let proposal = world.proposal(&world.bad_change()).await;
    let text = std::fs::read_to_string(world.bench.work.join("cart/pool.toml")).unwrap();
    world.commit(
        8,
        "Fix it by hand",
        &[("cart/pool.toml", Some(&text.replace("max = 5", "max = 40")))],
    );
    let error = world
        .forge
        .propose(&proposal, &by_policy(&proposal), &cx())
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @"the base branch moved and the revert conflicts with later changes in cart/pool.toml; the proposal must be made and approved anew");
    world.commit(
        9,
        "Or revert it",
        &[("cart/pool.toml", Some(&text.replace("max = 5", "max = 50")))],
    );
    let error = world
        .forge
        .propose(&proposal, &by_policy(&proposal), &cx())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ForgeError::Moved(why) if why.contains("changes nothing")),
        "{error}"
    );
    world
        .bench
        .git(&["checkout", "-q", "--orphan", "fresh"])
        .unwrap();
    world
        .bench
        .git(&["commit", "-q", "-m", "New history"])
        .unwrap();
    world.bench.push().unwrap();
    let error = world
        .forge
        .propose(&proposal, &by_policy(&proposal), &cx())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ForgeError::Moved(why) if why.contains("rewritten")),
        "{error}"
    );
    assert_eq!(world.branches(), "main");
}

#[tokio::test]
async fn somebody_elses_branch_is_left_alone() {
    let world = World::new();
    let proposal = world.proposal(&world.bad_change()).await;
    let branch = proposal.request.branch();
    let mut told = String::new();
    let forged = format!("Fake\n\nChange-Key: {}", proposal.request.key());
    for message in ["Mine", &forged] {
        world
            .bench
            .git(&["commit", "-q", "--allow-empty", "-m", message])
            .unwrap();
        world
            .bench
            .git(&[
                "push",
                "-q",
                "--force",
                "origin",
                &format!("HEAD:refs/heads/{branch}"),
            ])
            .unwrap();
        let error = world
            .forge
            .propose(&proposal, &by_policy(&proposal), &cx())
            .await
            .unwrap_err();
        assert!(matches!(error, ForgeError::Taken { .. }));
        let found = world
            .forge
            .find(&proposal.request, &cx())
            .await
            .unwrap()
            .unwrap();
        told.push_str(&error.to_string().replace(found.get(..10).unwrap(), "FOUND"));
        told.push('\n');
    }
    insta::assert_snapshot!(told, @r#"
    branch agent/inc-0123456789ab/revert-e8c24839 exists with other content (FOUND "Mine")
    branch agent/inc-0123456789ab/revert-e8c24839 exists with other content (FOUND "Fake")
    "#);
}

#[tokio::test]
async fn another_persons_leave_for_the_same_change_is_the_same_draft() {
    let world = World::new();
    let proposal = world.proposal(&world.bad_change()).await;
    let first = world
        .forge
        .propose(&proposal, &permit(&proposal, "ada"), &cx())
        .await
        .unwrap();
    let second = world
        .forge
        .propose(&proposal, &permit(&proposal, "grace"), &cx())
        .await
        .unwrap();
    assert_eq!(first.commit, second.commit);
}

#[tokio::test]
async fn a_draft_is_moot_once_its_effect_is_there() {
    let merge = |world: &World, draft: &str, how: &[&str]| {
        world.bench.git(&["fetch", "-q", "origin"]).unwrap();
        world
            .bench
            .git(&[&["merge", "-q"], how, &[draft]].concat())
            .unwrap();
    };
    for case in ["open", "merged", "squashed", "by hand", "removed", "beside"] {
        let world = World::new();
        let proposal = world.proposal(&world.bad_change()).await;
        let draft = world
            .forge
            .propose(&proposal, &by_policy(&proposal), &cx())
            .await
            .unwrap();
        let text = std::fs::read_to_string(world.bench.work.join("cart/pool.toml")).unwrap();
        match case {
            "merged" => merge(&world, &draft.commit, &["--no-edit"]),
            "squashed" => {
                merge(&world, &draft.commit, &["--squash"]);
                world
                    .bench
                    .git(&["commit", "-q", "-m", "Squashed"])
                    .unwrap();
            }
            "by hand" => {
                let fixed = text
                    .replace("max = 5", "max = 30")
                    .replace("min = 1", "min = 2");
                world.commit(9, "Otherwise", &[("cart/pool.toml", Some(&fixed))]);
            }
            "removed" => drop(world.commit(9, "Gone", &[("cart/pool.toml", None)])),
            "beside" => drop(world.commit(9, "Beside", &[("README", Some("other\n"))])),
            _ => {}
        }
        world.bench.push().unwrap();
        let expected = !matches!(case, "open" | "beside");
        assert_eq!(
            world.forge.is_superseded(&draft, &cx()).await.unwrap(),
            expected,
            "{case}"
        );
        let cold = World::forge_at(&world.bench, &world.dir.path().join("cold"));
        assert_eq!(
            cold.is_superseded(&draft, &cx()).await.unwrap(),
            expected,
            "{case}, cold"
        );
    }
}

#[tokio::test]
async fn a_remote_that_is_gone_may_come_back() {
    let world = World::new();
    let proposal = world.proposal(&world.bad_change()).await;
    let gone = world.dir.path().join("gone");
    std::fs::rename(&world.bench.bare, &gone).unwrap();
    let error = world
        .forge
        .propose(&proposal, &by_policy(&proposal), &cx())
        .await
        .unwrap_err();
    assert!(matches!(error, ForgeError::Unavailable(_)), "{error}");
    let late = Cx::root(SystemClock::new(), Duration::ZERO, "0");
    let error = world
        .forge
        .preview(&proposal.request, &late)
        .await
        .unwrap_err();
    assert_eq!(error, ForgeError::Deadline);
    std::fs::rename(&gone, &world.bench.bare).unwrap();
    let permit = by_policy(&proposal);
    let draft = world.forge.propose(&proposal, &permit, &cx()).await;
    assert_eq!(draft.unwrap().branch, proposal.request.branch());
}

#[tokio::test]
async fn the_doctor_knows_a_guarded_base() {
    let world = World::new();
    world.bad_change();
    let text = |findings: Vec<crate::Finding>| findings[0].text();
    insta::assert_snapshot!(text(world.forge.doctor_check(&cx()).await), @"shop: the guard refuses everything but new branches under agent/");
    std::fs::remove_file(world.bench.bare.join("hooks/update")).unwrap();
    insta::assert_snapshot!(text(world.forge.doctor_check(&cx()).await), @"shop: the remote takes pushes from these credentials; protect the base branch there (or install the guard hook), a dry run cannot show whether it is");
    std::fs::write(world.bench.bare.join("hooks/update"), "#!/bin/sh\nexit 0\n").unwrap();
    let error = install_guard(&world.bench.bare, &guard()).unwrap_err();
    assert!(error.to_string().contains("is not ours"));
    let error = install_guard(&world.bench.work, &guard()).unwrap_err();
    assert!(error.to_string().contains("is not a bare repository"));
}
