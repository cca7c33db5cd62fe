//! The client for addresses that customers choose, against servers that misbehave.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::body::Bytes;
use http::Request;
use server::net::{Answer, Client, Limits, Lookup, NetError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

const LIMITS: Limits = Limits { total: Duration::from_millis(500), body: 64 * 1024 };

/// Names that lead where the test says.
#[derive(Default)]
struct Names {
    answers: Mutex<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Names {
    fn lead_to(&self, addresses: &[&str]) {
        *self.answers.lock().unwrap() = addresses.iter().map(|text| text.parse().unwrap()).collect();
    }
}

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.answers.lock().unwrap().clone())
    }
}

fn client(allow: &[&str]) -> (Client, Arc<Names>) {
    let names = Arc::new(Names::default());
    let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    (Client::with_lookup(allow, names.clone()).unwrap(), names)
}

async fn post(client: &Client, url: &str) -> Result<Answer, NetError> {
    client.send(Request::post(url).body(Bytes::from_static(b"{}")).unwrap(), LIMITS).await
}

/// A server that does `serve` with its connections, one after the other, and counts them.
async fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream));
        }
    });
    (address, count)
}

/// Reads a request to the end of its body of two bytes.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.ends_with("{}") {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the request ends early: {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    text
}

/// A server that reads the request and answers with these bytes, and the first request it got.
async fn answering(answer: impl Into<Vec<u8>>) -> (SocketAddr, oneshot::Receiver<String>) {
    let answer: Arc<[u8]> = answer.into().into();
    let (sender, receiver) = oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let (address, _) = server(move |mut stream| {
        let (answer, sender) = (answer.clone(), sender.clone());
        async move {
            let request = read_request(&mut stream).await;
            if let Some(sender) = sender.lock().unwrap().take() {
                _ = sender.send(request);
            }
            _ = stream.write_all(&answer).await;
        }
    })
    .await;
    (address, receiver)
}

#[tokio::test]
async fn a_name_that_changes_after_the_check_leads_nowhere() {
    let (address, connections) = server(|_| async {}).await;
    let (client, names) = client(&[]);
    let url = "https://changing.example/hook";
    names.lead_to(&["93.184.215.14"]);
    client.check(url).unwrap();
    for inner in
        ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fd00:ec2::254", "64:ff9b::7f00:1"]
    {
        names.lead_to(&[inner]);
        let refused = NetError::Refused("changing.example is not an address of the public internet.".into());
        assert_eq!(post(&client, url).await.unwrap_err(), refused, "{inner}");
    }
    // Each attempt asked once: the addresses that were checked are those that are connected to.
    assert_eq!(names.asked.load(Ordering::Relaxed), 7);
    assert_eq!(connections.load(Ordering::Relaxed), 0, "{address}");
}

#[tokio::test]
async fn of_several_addresses_only_the_good_ones_are_tried() {
    let (address, _) = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let (client, names) = client(&["127.0.0.1/32"]);
    // Were one of the others tried, this would end in a time-out.
    names.lead_to(&["10.255.255.1", "169.254.169.254", "127.0.0.1"]);
    let answer = post(&client, &format!("http://mixed.example:{}/", address.port())).await.unwrap();
    assert_eq!(answer.address, Some(address));
    assert_eq!(&answer.body[..], b"ok");
}

#[tokio::test]
async fn plain_http_and_other_ports_lead_only_where_it_is_allowed() {
    let (client, names) = client(&["10.0.0.0/8"]);
    names.lead_to(&["93.184.215.14", "127.0.0.1"]);
    assert_eq!(
        post(&client, "http://public.example/").await.unwrap_err(),
        NetError::Refused("http:// is not allowed for public.example; use https://.".into())
    );
    assert_eq!(
        post(&client, "https://public.example:8443/").await.unwrap_err(),
        NetError::Refused("Only the usual port of https, 443, is allowed for public.example.".into())
    );
    for inner in [
        "http://127.1/",
        "http://[::ffff:7f00:1]/",
        "https://0x7f.1/",
        "https://169.254.169.254/",
        "https://localhost/",
    ] {
        assert!(matches!(post(&client, inner).await, Err(NetError::Refused(_))), "{inner}");
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let (other, connections) = server(|_| async {}).await;
    let location = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{other}/\r\ncontent-length: 0\r\n\r\n");
    let (address, _) = answering(location).await;
    let (client, _) = client(&["127.0.0.0/8"]);
    let answer = post(&client, &format!("http://{address}/")).await.unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(answer.headers["location"], format!("http://{other}/"));
    assert_eq!(connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_endless_body_is_cut() {
    let (sender, closed) = oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let (address, _) = server(move |mut stream| {
        let sender = sender.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
            _ = sender.lock().unwrap().take().unwrap().send(());
        }
    })
    .await;
    let (client, _) = client(&["127.0.0.0/8"]);
    let answer = post(&client, &format!("http://{address}/")).await.unwrap();
    assert_eq!((answer.status, answer.truncated, answer.body.len()), (200, true, 64 * 1024));
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("the connection is closed").unwrap();
}

#[tokio::test]
async fn silence_ends_at_the_limit() {
    let (silent, _) = server(|mut stream| async move {
        read_request(&mut stream).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    })
    .await;
    let (dripping, _) = server(|mut stream| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let (client, _) = client(&["127.0.0.0/8"]);
    for address in [silent, dripping] {
        let begun = Instant::now();
        let error = post(&client, &format!("http://{address}/")).await.unwrap_err();
        assert_eq!(error, NetError::Lost("There was no whole answer within 0.5 s.".into()));
        assert!((450..1_500).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }
}

/// 10 MB of zeros in 10 kB of gzip, if anybody unpacked them.
#[tokio::test]
async fn nothing_is_decompressed() {
    // The beginning of any gzip stream; only that it stays as it is matters.
    let packed: Vec<u8> = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3].into_iter().chain([0xec; 4_000]).collect();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    )
    .into_bytes();
    answer.extend(&packed);
    let (address, request) = answering(answer).await;
    let (client, _) = client(&["127.0.0.0/8"]);
    let answer = post(&client, &format!("http://{address}/")).await.unwrap();
    assert_eq!(&answer.body[..], packed);
    assert_eq!(answer.headers["content-encoding"], "gzip");
    assert!(!request.await.unwrap().to_lowercase().contains("accept-encoding"));
}

#[tokio::test]
async fn the_url_says_which_host_is_meant() {
    let (address, request) = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let (client, names) = client(&["127.0.0.0/8"]);
    names.lead_to(&["127.0.0.1"]);
    let request_sent = Request::post(format!("http://hooks.example:{}/a?b=c", address.port()))
        .header("host", "169.254.169.254")
        .header("content-length", "7")
        .header("x-own", "1")
        .body(Bytes::from_static(b"{}"))
        .unwrap();
    assert_eq!(client.send(request_sent, LIMITS).await.unwrap().status, 204);
    let text = request.await.unwrap().to_lowercase();
    assert!(text.starts_with("post /a?b=c http/1.1\r\n"), "{text}");
    assert!(text.contains(&format!("host: hooks.example:{}\r\n", address.port())), "{text}");
    assert!(text.contains("content-length: 2\r\n") && text.contains("x-own: 1\r\n"), "{text}");
    assert!(!text.contains("169.254"), "{text}");
}

/// Certain failures and uncertain ones are told apart: a message may be sent again after the first only.
#[tokio::test]
async fn what_was_not_sent_and_what_was_lost() {
    let (client, names) = client(&["127.0.0.0/8"]);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (cut, _) = server(|mut stream| async move { _ = read_request(&mut stream).await }).await;
    let (half, _) = answering("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    let (garbage, _) = answering("220 mail.example ESMTP\r\n").await;
    let (no_tls, _) = server(|mut stream| async move {
        let mut buffer = [0; 100];
        _ = stream.read(&mut buffer).await;
        _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    for (url, not_sent) in [
        (format!("http://{closed}/"), true),
        (format!("https://{no_tls}/"), true),
        (format!("http://{cut}/"), false),
        (format!("http://{half}/"), false),
        (format!("http://{garbage}/"), false),
    ] {
        match post(&client, &url).await.unwrap_err() {
            NetError::NotSent(why) => assert!(not_sent, "{url}: {why}"),
            NetError::Lost(why) => assert!(!not_sent, "{url}: {why}"),
            NetError::Refused(why) => panic!("{url}: {why}"),
        }
    }
    names.lead_to(&[]);
    assert_eq!(
        post(&client, "http://nowhere.example/").await.unwrap_err(),
        NetError::NotSent("The host nowhere.example cannot be found.".into())
    );
}
