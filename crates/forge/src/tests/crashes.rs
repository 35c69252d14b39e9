//! Crashes and rivals: whatever dies and whoever else tries, one branch with one commit.

use super::*;

/// Two instances with data directories of their own try at once; each is killed (with the Git
/// processes it started) at a random moment and tries again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_runs_of_kills_and_rivals_give_one_branch_each() {
    let world = World::new();
    let bad = world.bad_change();
    let rivals = ["a", "b"].map(|name| World::forge_at(&world.bench, &world.dir.path().join(name)));
    let mut seed = 7u64;
    let mut next = |n: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let (mut killed, mut finished) = (0, 0);
    for run in 0..50 {
        let incident = format!("inc-{run:012x}");
        let proposal = proposal(&world.forge, &incident, &bad).await.unwrap();
        let permit = permit(&proposal, "ada");
        let lives = [(); 2].map(|()| [next(90), next(150)]);
        let attempt = async |forge: &PlainGit, life: u64| {
            let cx = Cx::root(SystemClock::new(), Duration::from_millis(5 + life), "0");
            match forge.propose(&proposal, &permit, &cx).await {
                Ok(draft) => Some(draft.commit),
                Err(ForgeError::Deadline) => None,
                Err(error) => panic!("run {run}: {error}"),
            }
        };
        let instance = async |forge: &PlainGit, lives: [u64; 2]| {
            let mut commits = Vec::new();
            for life in lives {
                commits.push(attempt(forge, life).await);
            }
            commits.push(attempt(forge, 60_000).await);
            commits
        };
        let both = futures_util::future::join(
            instance(&rivals[0], lives[0]),
            instance(&rivals[1], lives[1]),
        );
        let (first, second) = both.await;
        let all: Vec<_> = first.into_iter().chain(second).collect();
        killed += all.iter().filter(|commit| commit.is_none()).count();
        finished += all.iter().filter(|commit| commit.is_some()).count();
        let mut commits: Vec<_> = all.into_iter().flatten().collect();
        commits.sort();
        commits.dedup();
        let found = world.forge.find(&proposal.request, &cx()).await.unwrap();
        assert_eq!(
            (commits.len(), found.as_ref()),
            (1, commits.first()),
            "run {run}"
        );
        let of_incident = world
            .bench
            .git_bare(&["for-each-ref", &format!("refs/heads/agent/{incident}")]);
        assert_eq!(of_incident.unwrap().lines().count(), 1, "run {run}");
    }
    // Both must have happened for the test to mean something.
    assert!(
        killed >= 20 && finished >= 100,
        "{killed} killed, {finished} finished"
    );
}
