//! Over a real socket, with raw bytes: what a broken or hostile sender can do to a connection.

use std::net::SocketAddr;
use std::time::Duration;

use incident::ports::Clock as _;
use runtime::{Shutdown, Supervisor, SystemClock, TaskKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, alert, body};

struct Served {
    world: World,
    address: SocketAddr,
    supervisor: Supervisor,
}

async fn serve(world: World) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let shutdown = Shutdown::new();
    let supervisor = Supervisor::new(shutdown.clone(), SystemClock::new());
    let router = world.router.clone();
    supervisor.spawn(TaskKind::Service, "hook", async move {
        runtime::http::serve(listener, router, shutdown)
            .await
            .expect("it serves");
    });
    Served {
        world,
        address,
        supervisor,
    }
}

impl Served {
    /// Sends the parts one after another and reads the answer to its end, in at most 20 s.
    async fn exchange(&self, parts: &[&[u8]]) -> String {
        let clock = SystemClock::new();
        let talk = async {
            let stream = TcpStream::connect(self.address).await.expect("it listens");
            let (mut from, mut to) = stream.into_split();
            let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
            let write = async {
                for part in parts {
                    // The server may have answered and closed before it was told everything.
                    if to.write_all(&part).await.is_err() {
                        break;
                    }
                }
                to
            };
            let read = async {
                let mut answer = Vec::new();
                from.read_to_end(&mut answer).await.map(|_| answer)
            };
            let (_to, answer) = tokio::join!(write, read);
            String::from_utf8(answer.expect("the answer arrives whole")).expect("text")
        };
        tokio::select! {
            biased;
            answer = talk => answer,
            () = clock.sleep(Duration::from_secs(20)) => panic!("no answer within 20 s"),
        }
    }

    /// Sends everything before it reads, as simple clients do.
    async fn exchange_in_order(&self, parts: &[&[u8]]) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        for part in parts {
            stream
                .write_all(part)
                .await
                .expect("the server reads it all");
        }
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("the answer arrives whole");
        answer
    }

    async fn end(self) {
        assert!(
            self.supervisor.drain(Duration::from_secs(10)).await,
            "it drains by itself"
        );
    }
}

fn head(rest: &str) -> Vec<u8> {
    format!(
        "POST /webhook/alertmanager HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{rest}\r\n"
    )
    .into_bytes()
}

fn check(answer: &str, status: &str, code: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
    assert!(answer.contains(code), "{answer}");
}

#[tokio::test]
async fn broken_senders_get_an_answer_and_free_their_permit() {
    let world = World::with(|config| {
        config.body_timeout = runtime::config::Span::secs(2);
        config.requests_max = 1;
    });
    let served = serve(world).await;
    let sent = body(&[alert("A")]).to_string();
    let whole = head(&format!("content-length: {}\r\n", sent.len()));
    let (first, second) = sent.as_bytes().split_at(50);

    check(
        &served.exchange(&[&whole, first, second]).await,
        "200",
        "\"accepted\":1",
    );
    // A part of the body, then nothing: bounded by the time a body may take.
    check(
        &served.exchange(&[&whole, first]).await,
        "503",
        "E-HOOK-008",
    );
    // Chunks over the limit, without any promise of a length.
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let chunked = head("transfer-encoding: chunked\r\n");
    let parts = [
        &chunked[..],
        &chunk,
        &chunk,
        &chunk,
        &chunk,
        b"1\r\n \r\n0\r\n\r\n",
    ];
    check(&served.exchange(&parts).await, "413", "E-HOOK-007");
    // Framing that makes no sense.
    check(
        &served.exchange(&[&chunked, b"zzz\r\n"]).await,
        "503",
        "E-HOOK-008",
    );
    // One byte more than may be, honestly told.
    let long = vec![b' '; (4 << 20) + 1];
    let told = head(&format!("content-length: {}\r\n", long.len()));
    check(&served.exchange(&[&told, &long]).await, "413", "E-HOOK-007");
    // Twice of what may be, by a client that does not listen while it speaks.
    let double = vec![b' '; 8 << 20];
    let told = head(&format!("content-length: {}\r\n", double.len()));
    let answer = served.exchange_in_order(&[&told, &double]).await;
    check(&answer, "413", "E-HOOK-007");
    // A length that nobody would send, and no body: refused on the promise alone.
    let promise = head("content-length: 999999999999\r\n");
    check(&served.exchange(&[&promise]).await, "413", "E-HOOK-007");
    // Invalid UTF-8 and a million open brackets.
    let junk = head("content-length: 4\r\n");
    check(
        &served.exchange(&[&junk, b"\xff\xfe{}"]).await,
        "400",
        "E-HOOK-009",
    );
    let nested = head("content-length: 1000000\r\n");
    check(
        &served.exchange(&[&nested, &vec![b'['; 1_000_000]]).await,
        "400",
        "E-HOOK-009",
    );
    // After all that the one permit is free and the first alert is the only one.
    check(
        &served.exchange(&[&whole, first, second]).await,
        "200",
        "\"duplicates\":1",
    );
    assert_eq!(served.world.held().await, 1);
    served.end().await;
}

#[tokio::test]
async fn a_request_that_runs_when_the_drain_starts_is_answered() {
    let served = serve(World::new()).await;
    let sent = body(&[alert("A")]).to_string();
    let whole = head(&format!("content-length: {}\r\n", sent.len()));
    let (first, second) = sent.as_bytes().split_at(50);
    let mut stream = TcpStream::connect(served.address)
        .await
        .expect("it listens");
    stream
        .write_all(&[&whole, first].concat())
        .await
        .expect("it reads");
    // The request has passed the gate once its permit is taken.
    let clock = SystemClock::new();
    let taken = || served.world.count("nightshift_hook_requests_in_flight") == 1;
    for _ in 0..1_000 {
        if taken() {
            break;
        }
        clock.sleep(Duration::from_millis(5)).await;
    }
    assert!(taken(), "the request is being served");
    served.world.drain.cancel();
    served.supervisor.shutdown().drain.cancel();
    stream.write_all(second).await.expect("it still reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    check(&answer, "200", "\"accepted\":1");
    served.end().await;
}
