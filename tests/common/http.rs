//! Just enough HTTP to look at an engine.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::in_time;

/// GETs a path: status and JSON body. `None` if nobody answers.
pub async fn try_get(server: SocketAddr, path: &str) -> Option<(u16, Value)> {
    get_over(TcpStream::connect(server).await.ok()?, path).await
}

/// Like [`try_get`], over an open connection.
pub async fn get_over(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Option<(u16, Value)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let mut answer = Vec::new();
    in_time(path, stream.read_to_end(&mut answer)).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// GETs a path that has to be answered.
pub async fn get(server: SocketAddr, path: &str) -> (u16, Value) {
    try_get(server, path).await.unwrap_or_else(|| panic!("no answer to GET {path}"))
}

/// Sends bytes on a connection of their own, and returns what comes until the server closes it. `and_no_more`: our side of
/// it ends after them.
pub async fn say(server: SocketAddr, bytes: &[u8], and_no_more: bool) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    // A server that has heard enough answers before it has read everything.
    let _ = stream.write_all(bytes).await;
    if and_no_more {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let _ = in_time("the server to close", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    head: String,
    body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self { head: format!("{method} {path} HTTP/1.1\r\nHost: surgetank\r\nConnection: close\r\n"), body: Vec::new() }
    }

    /// Events of type `position`.
    pub fn events(media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", "/v1/events/position").header("Content-Type", media_type).body(body)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        self
    }

    /// Leaves the connection open for another one.
    pub fn lasting(mut self) -> Self {
        self.head = self.head.replace("Connection: close\r\n", "");
        self
    }

    /// The bytes of the request.
    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), b"\r\n", &self.body].concat()
    }

    /// Sends it on a connection of its own. `None` if there is no whole answer.
    pub async fn try_send(&self, server: SocketAddr) -> Option<Answer> {
        let mut stream = TcpStream::connect(server).await.ok()?;
        // A server that has heard enough answers before it has read everything.
        let _ = stream.write_all(&self.bytes()).await;
        Answer::read(&mut stream).await
    }

    /// Sends it, and has to be answered.
    pub async fn send(&self, server: SocketAddr) -> Answer {
        self.try_send(server).await.unwrap_or_else(|| panic!("no answer to {}", self.head))
    }
}

impl Answer {
    /// Reads until the server closes, or until the announced length has come.
    pub async fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        loop {
            if let Some(answer) = Self::parse(&bytes) {
                return Some(answer);
            }
            match in_time("an answer", stream.read_buf(&mut bytes)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The first answer in these bytes, if it is whole.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Self { status, head, body: bytes[end + 4..].to_vec() };
        if status == 100 {
            return Self::parse(&bytes[end + 4..]);
        }
        let len: usize = answer.header("content-length").unwrap_or("0").parse().ok()?;
        (answer.body.len() >= len).then(|| {
            answer.body.truncate(len);
            answer
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    /// Asserts that this is a problem of the given status and type, and returns it.
    pub fn problem(&self, status: u16, slug: &str) -> Value {
        let problem = self.json();
        assert_eq!((self.status, problem["status"].as_u64()), (status, Some(status.into())), "{problem}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        assert_eq!(problem["type"], format!("urn:surgetank:problem:{slug}"), "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        if let Some(retry_after_ms) = problem["retry_after_ms"].as_u64() {
            let seconds: u64 = self.header("retry-after").unwrap().parse().unwrap();
            assert_eq!(seconds, retry_after_ms.div_ceil(1000).max(1));
        }
        problem
    }

    /// Asserts that everything was accepted.
    pub fn accepted(&self, num_events: u64) {
        assert_eq!((self.status, self.json()), (200, serde_json::json!({"accepted": num_events})));
    }
}
