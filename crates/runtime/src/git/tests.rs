//! The mirror against real repositories, hostile ones among them.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use incident::error::Classify as _;
use incident::ports::Cx;
use jiff::Timestamp;
use tempfile::TempDir;

use super::testing::Workbench;
use super::*;
use crate::clock::SystemClock;
use crate::config::Span;
use crate::testing::TestClock;

const NOON: i64 = 1_780_000_000;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(NOON + minute * 60).unwrap()
}

fn cx() -> Cx {
    Cx::root(TestClock::at(at(600)), Duration::from_secs(30), "0")
}

fn world() -> (TempDir, Workbench, Mirror) {
    let dir = TempDir::new().unwrap();
    let bench = Workbench::new(dir.path()).unwrap();
    let mut repository = Repository::new("shop", bench.bare.to_string_lossy());
    let rule = |prefix: &str, service: &str| PathRule {
        prefix: prefix.into(),
        services: vec![service.into()],
    };
    repository.paths = vec![rule("services/cart/", "cart"), rule("services/pay/", "pay")];
    let config = Config {
        fresh_for: Span::secs(0),
        ..Config::default()
    };
    let mirror = Mirror::new(repository, &dir.path().join("data"), config);
    (dir, bench, mirror)
}

/// The newest `n` changes of the base branch, as text.
async fn changes(mirror: &Mirror, n: usize) -> String {
    let cx = cx();
    let tip = mirror.fetch(&cx).await.unwrap().tip;
    let mut out = String::new();
    for step in mirror.history(&tip, n, &cx).await.unwrap() {
        let change = mirror
            .change(&step, &ReadLimits::default(), &cx)
            .await
            .unwrap();
        let minute = change.at.duration_since(at(0)).as_mins();
        writeln!(
            out,
            "{minute} by {:?}: {:?} {:?} parents {} services {}",
            change.author.expose(),
            change.subject.expose(),
            change.body.expose(),
            change.parents.len(),
            change.services.join(",")
        )
        .unwrap();
        for file in &change.files {
            let diff = file.diff.expose();
            let last = diff.lines().last().unwrap_or_default();
            writeln!(
                out,
                "  {:?} +{:?} -{:?} {last:?}",
                file.path.expose(),
                file.added,
                file.removed
            )
            .unwrap();
        }
    }
    out
}

#[tokio::test]
async fn history_reads_what_people_do() {
    let (_dir, bench, mirror) = world();
    bench
        .commit(
            "Ada",
            at(0),
            "Begin",
            &[
                ("services/cart/pool.toml", Some("max = 50\n")),
                ("README", Some("hi\n")),
            ],
        )
        .unwrap();
    bench
        .commit(
            "Grace",
            at(5),
            "Lower pool size\n\nTo save memory.\n\nReviewed-by: Ada",
            &[("services/cart/pool.toml", Some("max = 5\n"))],
        )
        .unwrap();
    bench.git(&["mv", "README", "READ ME"]).unwrap();
    bench.commit_all("Ada", at(7), "Rename").unwrap();
    bench.git(&["checkout", "-q", "-b", "side"]).unwrap();
    bench
        .commit(
            "Ada",
            at(8),
            "On the side",
            &[("services/pay/a", Some("1\n"))],
        )
        .unwrap();
    bench
        .commit("Ada", at(9), "More", &[("services/pay/b", Some("2\n"))])
        .unwrap();
    bench.git(&["checkout", "-q", "main"]).unwrap();
    bench
        .git(&[
            "-c",
            "user.name=x",
            "merge",
            "-q",
            "--no-ff",
            "-m",
            "Merge side",
            "side",
        ])
        .unwrap();
    bench.push().unwrap();
    let text = changes(&mirror, 10).await;
    // The merge has the machine's own time.
    let (merge, rest) = text.split_once('\n').unwrap();
    assert!(merge.contains("Merge side") && merge.ends_with("parents 2 services pay"));
    insta::assert_snapshot!(rest, @r#"
      "services/pay/a" +Some(1) -Some(0) "+1"
      "services/pay/b" +Some(1) -Some(0) "+2"
    7 by "Ada": "Rename" "" parents 1 services 
      "READ ME" +Some(0) -Some(0) "rename to READ ME"
    5 by "Grace": "Lower pool size" "To save memory.\n\nReviewed-by: Ada" parents 1 services cart
      "services/cart/pool.toml" +Some(1) -Some(1) "+max = 5"
    0 by "Ada": "Begin" "" parents 0 services cart
      "README" +Some(1) -Some(0) "+hi"
      "services/cart/pool.toml" +Some(1) -Some(0) "+max = 50"
    "#);
}

#[tokio::test]
async fn hostile_names_and_bytes_stay_in_their_place() {
    let (_dir, bench, mirror) = world();
    bench
        .commit("Ada", at(0), "Begin", &[("a", Some("1\n"))])
        .unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"new\nline \"q\" \xff\t:x");
    std::fs::write(bench.work.join(odd), "x\n").unwrap();
    std::fs::write(bench.work.join("-rf"), "diff --git a/fake b/fake\n").unwrap();
    std::fs::write(bench.work.join(":(glob)*"), "x\n").unwrap();
    std::fs::write(bench.work.join("binary"), b"\0\x01\x02").unwrap();
    symlink("/etc/passwd", bench.work.join("link")).unwrap();
    std::fs::write(bench.work.join("a"), b"caf\xe9\n".as_slice()).unwrap();
    bench
        .commit_all(
            "Eve\x1b[31m",
            at(5),
            "--output=/tmp/x <!channel>\n\ndiff --git a/x b/x\n\x1b]0;title\x07",
        )
        .unwrap();
    insta::assert_snapshot!(changes(&mirror, 1).await, @r#"
    5 by "Eve\u{1b}[31m": "--output=/tmp/x <!channel>" "diff --git a/x b/x\n\u{1b}]0;title\u{7}" parents 1 services 
      "-rf" +Some(1) -Some(0) "+diff --git a/fake b/fake"
      ":(glob)*" +Some(1) -Some(0) "+x"
      "a" +Some(1) -Some(1) "+caf�"
      "binary" +None -None "Binary files /dev/null and b/binary differ"
      "link" +Some(1) -Some(0) "\\ No newline at end of file"
      "new\nline \"q\" �\t:x" +Some(1) -Some(0) "+x"
    "#);
}

#[tokio::test]
async fn commit_times_that_contradict_the_order_are_not_believed() {
    let (_dir, bench, mirror) = world();
    for (minute, subject) in [
        (0, "one"),
        (10, "two"),
        (-5_000_000, "hidden in the past"),
        (20, "three"),
        (90_000, "in the future"),
    ] {
        bench
            .commit("Eve", at(minute), subject, &[("a", Some(subject))])
            .unwrap();
    }
    let cx = cx();
    let tip = mirror.fetch(&cx).await.unwrap().tip;
    let steps = mirror.history(&tip, 10, &cx).await.unwrap();
    let told: Vec<_> = steps
        .iter()
        .map(|s| (s.at.duration_since(at(0)).as_mins(), s.claim_refuted()))
        .collect();
    assert_eq!(
        told,
        [(20, true), (20, false), (10, true), (10, false), (0, false)]
    );
}

#[tokio::test]
async fn large_changes_are_cut_and_counted() {
    let (_dir, bench, mirror) = world();
    bench
        .commit("Ada", at(0), "Begin", &[("a", Some("1\n"))])
        .unwrap();
    for n in 0..60 {
        let folder = bench.work.join("services/cart");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join(format!("f{n:02}")),
            "line\n".repeat(if n == 0 { 90_000 } else { 100 }),
        )
        .unwrap();
    }
    std::fs::create_dir_all(bench.work.join("zz")).unwrap();
    bench
        .commit("Ada", at(5), "Much", &[("services/pay/z", Some("1\n"))])
        .unwrap();
    let cx = cx();
    let tip = mirror.fetch(&cx).await.unwrap().tip;
    let step = mirror.step(&tip, &cx).await.unwrap();
    let change = mirror
        .change(&step, &ReadLimits::default(), &cx)
        .await
        .unwrap();
    assert_eq!((change.files.len(), change.files_left_out), (40, 21));
    assert_eq!(change.services, ["cart", "pay"]);
    let diff = |n: usize| change.files[n].diff.expose();
    assert!(diff(0).ends_with("[cut]\n") && diff(0).len() < 6200);
    assert!(diff(1).contains("b/services/cart/f01"));
    let total: usize = change.files.iter().map(|f| f.diff.expose().len()).sum();
    assert!(total < 34 * 1024, "{total}");
}

#[tokio::test]
async fn what_the_repository_or_the_machine_configures_does_not_run() {
    let (dir, bench, mirror) = world();
    bench
        .commit(
            "Ada",
            at(0),
            "Begin",
            &[
                (".gitattributes", Some("* filter=evil diff=evil\n")),
                ("a", Some("1\n")),
            ],
        )
        .unwrap();
    bench
        .commit("Ada", at(1), "Next", &[("a", Some("2\n"))])
        .unwrap();
    changes(&mirror, 2).await;
    let mark = dir.path().join("mark");
    let evil = format!("touch {}; cat", mark.display());
    for key in [
        "diff.evil.textconv",
        "diff.external",
        "core.fsmonitor",
        "core.sshCommand",
    ] {
        testing::git(mirror.directory(), &["config", key, &evil]).unwrap();
    }
    let hooks = mirror.directory().join("hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    for hook in ["reference-transaction", "post-fetch", "pre-push"] {
        std::fs::write(
            hooks.join(hook),
            format!("#!/bin/sh\ntouch {}\n", mark.display()),
        )
        .unwrap();
        std::fs::set_permissions(
            hooks.join(hook),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
    }
    bench
        .commit("Ada", at(2), "Again", &[("a", Some("3\n"))])
        .unwrap();
    assert!(changes(&mirror, 1).await.contains("Again"));
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_missing_remote_says_so_and_the_old_mirror_stays() {
    let (dir, bench, mirror) = world();
    bench
        .commit("Ada", at(0), "Begin", &[("a", Some("1\n"))])
        .unwrap();
    let first = mirror.fetch(&cx()).await.unwrap();
    std::fs::rename(&bench.bare, dir.path().join("gone")).unwrap();
    let error = mirror.fetch(&cx()).await.unwrap_err();
    assert_eq!(error.code().0, "E-GIT-005", "{error}");
    assert_eq!(mirror.last(&cx()).await.unwrap(), Some(first));
    std::fs::rename(dir.path().join("gone"), &bench.bare).unwrap();
    mirror.fetch(&cx()).await.unwrap();
}

#[tokio::test]
async fn a_fresh_mirror_is_not_fetched_again() {
    let (dir, bench, slow) = world();
    let mirror = Mirror::new(
        slow.repository().clone(),
        dir.path(),
        Config {
            fresh_for: Span::secs(60),
            ..Config::default()
        },
    );
    bench
        .commit("Ada", at(0), "Begin", &[("a", Some("1\n"))])
        .unwrap();
    let now = cx();
    let first = mirror.fetch(&now).await.unwrap();
    bench
        .commit("Ada", at(1), "Next", &[("a", Some("2\n"))])
        .unwrap();
    assert_eq!(mirror.fetch(&now).await.unwrap(), first);
    let later = Cx::root(TestClock::at(at(700)), Duration::from_secs(30), "0");
    assert_ne!(mirror.fetch(&later).await.unwrap().tip, first.tip);
}

#[tokio::test]
async fn fetches_of_one_mirror_do_not_disturb_each_other() {
    let (_dir, bench, mirror) = world();
    bench
        .commit("Ada", at(0), "Begin", &[("a", Some("1\n"))])
        .unwrap();
    let all = (0..8).map(|_| {
        let mirror = mirror.clone();
        async move { mirror.fetch(&cx()).await.map(|f| f.tip) }
    });
    let tips = futures_util::future::join_all(all).await;
    assert!(
        tips.iter().all(|tip| tip == &tips[0] && tip.is_ok()),
        "{tips:?}"
    );
}

#[tokio::test]
async fn debris_and_damage_heal() {
    let (_dir, bench, mirror) = world();
    bench
        .commit("Ada", at(0), "Begin", &[("a", Some("1\n"))])
        .unwrap();
    mirror.fetch(&cx()).await.unwrap();
    let lock = mirror.directory().join("refs/remotes/origin/main.lock");
    std::fs::write(&lock, "").unwrap();
    age(&lock, 600);
    bench
        .commit("Ada", at(1), "Next", &[("a", Some("2\n"))])
        .unwrap();
    let second = mirror.fetch(&cx()).await.unwrap();
    assert!(!lock.exists());
    let packs = std::fs::read_dir(mirror.directory().join("objects/pack")).unwrap();
    for entry in packs.flatten() {
        std::fs::set_permissions(
            entry.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o644),
        )
        .unwrap();
        std::fs::write(entry.path(), "damaged").unwrap();
    }
    bench
        .commit("Ada", at(2), "Third", &[("a", Some("3\n"))])
        .unwrap();
    let third = mirror.fetch(&cx()).await.unwrap();
    assert_ne!(second.tip, third.tip);
    assert_eq!(
        mirror.history(&third.tip, 10, &cx()).await.unwrap().len(),
        3
    );
}

fn age(path: &Path, seconds: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let old = file.metadata().unwrap().modified().unwrap() - Duration::from_secs(seconds);
    file.set_modified(old).unwrap();
}

#[tokio::test]
async fn the_deadline_ends_git_and_what_it_started() {
    let dir = TempDir::new().unwrap();
    let pid = dir.path().join("pid");
    let script = dir.path().join("slow-git");
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nsleep 600 &\necho $! > {}\nwait\n",
            pid.display()
        ),
    )
    .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let git = Git::new(
        Config {
            executable: script,
            ..Config::default()
        },
        dir.path().to_owned(),
    );
    let cx = Cx::root(SystemClock::new(), Duration::from_millis(1500), "0");
    let error = git
        .run(dir.path(), Call::new("status"), &cx)
        .await
        .unwrap_err();
    assert_eq!(error, GitError::Deadline { what: "status" });
    let child = std::fs::read_to_string(&pid).unwrap();
    let stat = format!("/proc/{}/stat", child.trim());
    let dead = || std::fs::read_to_string(&stat).map_or(true, |s| s.contains(") Z "));
    let clock = SystemClock::new();
    for _ in 0..200 {
        if dead() {
            return;
        }
        incident::ports::Clock::sleep(&*clock, Duration::from_millis(10)).await;
    }
    panic!("the grandchild lives");
}

#[tokio::test]
async fn output_and_cancellation_are_bounded() {
    let (_dir, bench, mirror) = world();
    bench
        .commit("Ada", at(0), "Begin", &[("a", Some(&"x".repeat(200_000)))])
        .unwrap();
    let tip = mirror.fetch(&cx()).await.unwrap().tip;
    let error = mirror.file(&tip, "a", 1000, &cx()).await.unwrap_err();
    assert_eq!(error.code().0, "E-GIT-006");
    assert_eq!(
        mirror
            .file(&tip, "a", 300_000, &cx())
            .await
            .unwrap()
            .unwrap()
            .len(),
        200_000
    );
    assert_eq!(mirror.file(&tip, "b", 1000, &cx()).await.unwrap(), None);
    let call = Call::new("cat-file")
        .flags(&["-p"])
        .oid(&tip)
        .output_max(10, Overflow::Cut);
    let output = mirror.read(call, &cx()).await.unwrap();
    assert!(output.cut && output.stdout.len() == 10);
    let token = crate::CancelToken::new();
    token.cancel();
    let error = mirror
        .read(Call::new("version"), &cx().with_cancel(Arc::new(token)))
        .await
        .unwrap_err();
    assert_eq!(error.code().0, "E-GIT-008");
    let none = Git::new(
        Config {
            executable: "/nowhere/git".into(),
            ..Config::default()
        },
        "/".into(),
    );
    let error = none
        .run(Path::new("/"), Call::new("version"), &cx())
        .await
        .unwrap_err();
    assert_eq!(error.code().0, "E-GIT-001");
}
